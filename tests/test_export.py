"""Tables as files for other programs."""

import csv
import shutil
import subprocess

import duckdb
import pytest

import neoteny
import tiny
from neoteny import store
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
