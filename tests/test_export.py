"""Tables as files for other programs."""

import csv
import shutil
import subprocess

import duckdb
import pytest

import neoteny
import tiny
from neoteny import store
from neoteny.cli.export import export as command
from neoteny.errors import UserError
from neoteny.export import FORMATS, TABLES, _line, export

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def done(tmp_path_factory, compiled_once):
    out = tmp_path_factory.mktemp("done")
    neoteny.run(tiny.study(), methods=["bp", "l2"], seeds=1, out=out)
    return out


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("form", FORMATS)
def test_every_table_is_written_in_every_format(done, tmp_path, table, form):
    path = tmp_path / "new" / "it's a file"
    assert export(done, path, table=table, form=form) == path
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.stat().st_size > 0


def test_what_is_written_is_what_is_stored(done, tmp_path):
    stored = store.query(done, "FROM tasks")
    back = duckdb.sql(f"FROM '{export(done, tmp_path / 'tasks.parquet')}'")
    assert back.columns == stored.columns and back.fetchall() == stored.rows
    with export(done, tmp_path / "tasks.csv").open(newline="") as file:
        names, *rows = csv.reader(file)
    assert names == stored.columns and len(rows) == len(stored.rows)
    place = names.index("online_accuracy")
    assert [float(row[place]) for row in rows] == [row[place] for row in stored.rows]


def test_the_columns_that_are_asked_for_are_written_in_that_order(done, tmp_path):
    chosen = ["task", "final_accuracy", "seed", "task"]
    back = duckdb.sql(f"FROM '{export(done, tmp_path / 'tasks.parquet', columns=chosen)}'")
    stored = store.query(done, "SELECT task, final_accuracy, seed FROM tasks")
    assert back.columns == stored.columns and back.fetchall() == stored.rows
    text = export(done, tmp_path / "tasks.tex", columns=["task", "final_accuracy"]).read_text()
    assert text.startswith("\\begin{tabular}{rr}\n\\toprule\ntask & final accuracy \\\\")
    assert (
        export(done, tmp_path / "tasks.csv", columns=["seed"]).read_text() == "seed\n" + 6 * "0\n"
    )


def test_a_table_for_a_paper_is_aligned_and_escaped(done, tmp_path):
    text = export(done, tmp_path / "methods.tex", table="methods").read_text()
    head, *body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert head.startswith("stream & method & seeds & first & last") and len(body) == 2
    assert text.startswith(r"\begin{tabular}{llr")
    counted = duckdb.sql(f"FROM '{export(done, tmp_path / 'm.PARQUET', table='methods')}'")
    assert dict(zip(counted.columns, counted.types, strict=True))["seeds"] == "BIGINT"
    assert _line(["50 % of a_b", "-0.25", "-x", r"\^~"]) == (
        r"50 \% of a\_b & $-$0.25 & -x & \textbackslash{}\textasciicircum{}\textasciitilde{} \\"
    )


def test_latex_takes_it(done, tmp_path):
    if not (latex := shutil.which("pdflatex")):
        pytest.skip("pdflatex is not installed")
    table = export(done, tmp_path / "methods.tex", table="methods").read_text()
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    (tmp_path / "page.tex").write_text(head + table + r"\end{document}")
    subprocess.run([latex, "-interaction=nonstopmode", "page.tex"], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"table": "task"}, "no table `task`. Did you mean `tasks`"),
        ({"form": "xlsx"}, "no format `xlsx`"),
        ({"path": "tasks.xls"}, "ends in none of .csv, .parquet, .tex"),
        ({"folder": "nowhere"}, "no folder"),
        (
            {"columns": ["final_acuracy"]},
            "no column of `tasks` `final_acuracy`. Did you mean `final_ac",
        ),
        ({"columns": []}, "`columns` has none"),
    ],
)
def test_what_cannot_be_written_is_refused(done, tmp_path, changes, words):
    asked = {"folder": done, "path": tmp_path / "tasks.csv"} | changes
    with pytest.raises(UserError, match=words):
        export(asked.pop("folder"), asked.pop("path"), **asked)


def test_a_place_that_cannot_be_written_is_named(done, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "tasks.csv", "/proc/tasks.csv"):
        with pytest.raises(UserError, match="cannot be written"):
            export(done, place)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "csv"}, "Type `--format csv` instead"),
        ({"to": "wandb", "form": "csv"}, "`--format` is for files"),
        ({"to": "wandb", "columns": "task"}, "`--columns` is for files"),
        ({"to": "wandb", "table": "runs"}, "`--table` is for files"),
        ({"project": "mine"}, "`--project` is for trackers"),
        ({"online": True}, "`--online` is for trackers"),
        ({"to": "wandbb"}, "Did you mean `wandb`"),
        ({"columns": " , "}, "`columns` has none"),
    ],
)
def test_options_that_do_not_go_together_are_refused(done, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        command(done, tmp_path / "out.csv", **options)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_what_is_asked_for(done, tmp_path, capsys):
    command(done, tmp_path / "runs.csv", table="runs", columns="method, seed")
    assert (tmp_path / "runs.csv").read_text() == "method,seed\nbp,0\nl2,0\n"
    assert capsys.readouterr().out == f"{tmp_path / 'runs.csv'}\n"
