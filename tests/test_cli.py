"""The command line: what it prints, where, and with which exit status."""

import csv
import io
import json
import re

import pytest
import typer

import neoteny
import tiny
from neoteny import api, catalogue, cli, loop, methods
from neoteny.cli.about import KINDS

pytestmark = pytest.mark.usefixtures("compiled_once")


COMMANDS = typer.main.get_command(cli.app).commands


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(tiny.TOML)
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a study that is done: two methods, two seeds."""
    out = tmp_path_factory.mktemp("done")
    neoteny.run(tiny.study(), methods=["bp", "l2"], seeds=2, out=out)
    return out


def _refused(answer, *words):
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("neoteny: ")
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.err
    for word in words:
        assert word in answer.err


BAD_RUNS = {
    "unknown study": (["spectral-colapse-digits"], ["Did you mean `spectral-collapse-digits`"]),
    "study file that is not there": (["nowhere.toml"], ["Cannot read the study nowhere.toml"]),
    "unknown method": (["tiny.toml", "--methods", "bp,l2er"], ["no method `l2er`"]),
    "no methods": (["tiny.toml", "--methods", ","], ["`methods` is ()"]),
    "no seeds": (["tiny.toml", "--seeds", "0"], ["`seeds` is 0"]),
    "no processes": (["tiny.toml", "--jobs", "0"], ["`--jobs` is 0"]),
    "unknown field": (["tiny.toml", "--set", "training.bach=1"], ["Did you mean", "batch"]),
    "no value": (["tiny.toml", "--set", "tasks"], ["'tasks'", "KEY=VALUE"]),
    "negative rate": (["tiny.toml", "--set", "training.learning_rate=-1"], ["rate` is -1"]),
    "no tasks": (["tiny.toml", "--set", "tasks=0"], ["tasks` is 0"]),
    "typo for a method not run": (
        ["tiny.toml", "--set", "hyperparameters.l2_er.evry=5"],
        ["`evry`", "Did you mean `every`"],
    ),
    "no hidden layers to rank": (
        ["tiny.toml", "--methods", "er", "--set", "network.widths=[]"],
        ["has none", "network.widths"],
    ),
    "no hidden units to replace": (
        ["tiny.toml", "--methods", "cbp", "--set", "network.widths=[]"],
        ["has none", "network.widths"],
    ),
    "width 0": (["tiny.toml", "--set", "network.widths=[8,0]"], ["widths.1` is 0"]),
    "large batch": (["tiny.toml", "--set", "training.batch=61"], ["is 61", "60 training rows"]),
    "out below a file": (["tiny.toml", "--out", "tiny.toml/out"], ["tiny.toml/out", "--out"]),
    "data without files": (
        ["tiny.toml", "--set", "stream.dataset=mnist", "--data", "."],
        ["mnist"],
    ),
    "plugin that is not there": (["tiny.toml", "--plugin", "no.py"], ["no.py", "existing"]),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_run_that_cannot_work_gets_one_sentence_and_status_2(call, study, tmp_path, name):
    words, said = BAD_RUNS[name]
    _refused(call("run", *words), *said)
    assert sorted(path.name for path in tmp_path.iterdir()) == [study.name]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks = ", ["bad.toml is not TOML"]),
        ("taskz = 3\n" + tiny.TOML, ["`taskz`"]),
        (tiny.TOML.replace("rows = 20\n", "rovs = 20\n"), ["rovs", "Did you mean"]),
    ],
    ids=["malformed", "unknown key", "unknown key below"],
)
def test_a_study_file_with_faults_gets_one_sentence(call, tmp_path, text, words):
    (tmp_path / "bad.toml").write_text(text)
    _refused(call("run", "bad.toml"), *words)


def test_a_plugin_that_fails_gets_one_sentence(call, study, tmp_path):
    (tmp_path / "faulty.py").write_text("'fine'.nonsense")
    said = ["faulty.py does not load: AttributeError"]
    _refused(call("run", study, "--plugin", "faulty.py"), *said)
    _refused(call("list", "methods", "--plugin", "faulty.py"), *said)


def test_a_method_without_defaults_gets_one_sentence(call, tmp_path):
    (tmp_path / "bare.py").write_text(
        "from neoteny.methods import METHODS, Method\n"
        "def bare(*, strength):\n    return Method()\n"
        "METHODS['bare'] = bare\n"
    )
    try:
        said = ["`bare` cannot be made from its defaults", "strength"]
        _refused(call("list", "methods", "--plugin", "bare.py"), *said)
    finally:
        methods.METHODS.pop("bare", None)


def test_a_folder_of_another_configuration_is_refused(call, study, done):
    answer = call("run", study, "--out", done, "--set", "training.learning_rate=0.1")
    _refused(answer, "another configuration", "learning_rate` is 0.001 there and 0.1 here")


def test_a_corrupt_checkpoint_is_refused_and_kept(call, study, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    options = ("run", study, "--out", "out", "--jobs", 1)
    monkeypatch.setattr(loop, "_live_through", stop)
    answer = call(*options)
    assert answer.code == 130
    assert answer.err == "neoteny: Stopped. The same command continues where this one stood.\n"
    (path,) = (tmp_path / "out").rglob("seed-0")
    (path / "checkpoint.npz").write_bytes(b"not an archive")
    _refused(call(*options), "checkpoint.npz", "is damaged")
    assert (path / "checkpoint.npz").read_bytes() == b"not an archive"


@pytest.mark.parametrize("command", [("status",), ("query", "SELECT 1"), ("report",)])
def test_a_folder_without_runs_is_refused(call, tmp_path, command):
    name, *rest = command
    _refused(call(name, "nowhere", *rest), "nowhere")
    (tmp_path / "empty").mkdir()
    _refused(call(name, "empty", *rest), "holds no runs")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", ["syntax error"]),
        ("SELECT nonsense FROM tasks", ["nonsense", "final_accuracy"]),
        ("SELECT * FROM 'tiny.toml'", []),
        ("", []),
    ],
)
def test_bad_sql_is_refused_in_one_sentence(call, done, sql, words):
    _refused(call("query", done, sql), *words)


def test_unknown_formats_of_figures_are_refused(call, done):
    _refused(call("report", done, "--figures", "png,gif"), "`--figures` is png,gif")


def test_a_run_prints_methods_and_verdict_and_writes_the_report(call, study, done):
    answer = call("run", study, "--out", done, "--jobs", 1, "--seeds", 2, "--methods", "bp,l2")
    assert answer.code == 0
    assert answer.err == ""
    assert "bp loses plasticity" in answer.out
    assert answer.out.splitlines()[-1] == f"Report: {done / 'report.html'}"
    assert (done / "report.html").stat().st_size > 10_000


def test_seeds_go_together_or_apart(call, study, tmp_path):
    """Together in one program, which is what a run's record says, whatever `--jobs`."""
    for option, said in {"--together": {2}, "--apart": {None}, "--seeds": {None}}.items():
        out, jobs = tmp_path / option, 2 if option == "--together" else 1
        words = ("--seeds", 2) if option == "--seeds" else (option, "--seeds", 2)
        assert call("run", study, "--out", out, "--jobs", jobs, *words).code == 0
        records = [json.loads(path.read_text()) for path in out.rglob("run.json")]
        assert {record["provenance"].get("together") for record in records} == said


def test_on_an_accelerator_seeds_go_together_if_nothing_else_is_said(call, study, monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "on_cpu", lambda: False)
    monkeypatch.setattr(api.sweep, "run_all", lambda *_, **options: seen.append(options) or [])
    for words in ((), ("--apart",)):
        call("run", study, "--out", "out", "--jobs", 3, *words)
    assert [(options["together"], options["jobs"]) for options in seen] == [(True, 1), (False, 1)]


def test_a_run_that_would_measure_too_seldom_says_beforehand_what_to_type(call, study):
    answer = call("run", study, "--out", "out", "--jobs", 1, "--set", "probes.fresh_every=3")
    assert answer.code == 0
    assert "`--set streams.labels.probes.fresh_every=1`" in answer.err
    assert answer.err.count("\n") == 1
    assert "`--set probes.fresh_every=1`" in answer.out


def test_a_runs_json_is_json_whatever_the_numbers(call, study, done):
    answer = call("run", study, "--out", done, "--jobs", 1, "--format", "json")
    document = json.loads(answer.out, parse_constant=pytest.fail)
    assert {row["method"] for row in document["methods"]} == {"bp", "l2"}
    assert {row["outcome"] for row in document["verdict"]} <= {"holds", "fails", "undecided"}


def test_a_loss_that_is_no_number_is_a_finding_and_no_failure(call, study, tmp_path):
    answer = call(
        *("run", study, "--out", "out", "--jobs", 1, "--set", "training.optimiser=sgd"),
        *("--set", "training.learning_rate=1e200", "--format", "json"),
    )
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(answer.out, parse_constant=pytest.fail)["methods"]
    (status,) = json.loads(call("status", "out", "--format", "json").out)
    assert status["status"] == "diverged"
    assert re.fullmatch(r"loss not finite in task 0, step \d+", status["reason"])
    assert "diverged" in (tmp_path / "out" / "report.html").read_text()


def test_a_failed_run_is_named_and_gives_status_1_after_the_others(call, study, monkeypatch):
    live = loop._live_through

    def unlucky(config, *arguments):
        if config.seed == 0:
            raise ZeroDivisionError("by chance")
        return live(config, *arguments)

    monkeypatch.setattr(loop, "_live_through", unlucky)
    answer = call("run", study, "--out", "out", "--jobs", 1, "--seeds", 2)
    assert answer.code == 1
    assert answer.err.startswith("neoteny: labels/bp/seed-0 failed: ZeroDivisionError: by chance")
    assert "Report: " in answer.out
    statuses = call("query", "out", "SELECT seed, status FROM runs", "--format", "csv").out
    assert statuses == "seed,status\n0,failed\n1,finished\n"


def test_status_says_how_far_each_run_is(call, done):
    rows = json.loads(call("status", done, "--format", "json").out)
    assert [(row["method"], row["seed"]) for row in rows] == [
        (method, seed) for method in ("bp", "l2") for seed in (0, 1)
    ]
    assert {(row["status"], row["tasks_done"], row["tasks_asked"]) for row in rows} == {
        ("finished", 3, 3)
    }
    assert "finished" in call("status", done).out


def test_stored_runs_are_judged_again_by_their_own_claim_or_anothers(call, done):
    own = json.loads(call("judge", done, "--format", "json").out)
    assert "bp loses plasticity" in [row["claim"] for row in own]
    (other,) = json.loads(call("judge", done, "--study", "early-warning", "--format", "json").out)
    assert (other["stream"], other["outcome"]) == ("all", "undecided")
    _refused(call("judge", done, "--study", "early"), "Did you mean `early-warning`")


def test_methods_are_ranked_over_what_is_stored(call, done, tmp_path):
    page = tmp_path / "page.html"
    answer = call("leaderboard", done, "--out", page)
    assert answer.code == 0 and "One stream says nothing of others" in answer.out
    assert page.is_file() and {"bp", "l2"} <= set(answer.out.split())
    rows = json.loads(call("leaderboard", done, "--out", page, "--format", "json").out)
    assert sum(row["rank"] for row in rows) == 3  # they may tie
    answer = call("leaderboard", done, "--methods", "bp,l3", "--out", page)
    assert answer.code == 2 and "no method with runs here `l3`" in answer.err


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("`folder` is `x`, or pass `folder=DIR`.", "`--data` is `x`, or pass `folder=DIR`."),
        ("`gram_rows` is 0", "`--rows` is 0"),
        ("`streams.labels.stream.rows` is 0", "`streams.labels.stream.rows` is 0"),
    ],
)
def test_a_sentence_about_an_argument_names_the_option_that_was_typed(sentence, said):
    assert cli._in_options(sentence) == said


def test_a_query_is_answered_as_table_csv_and_json(call, done):
    sql = "SELECT method, count(*) AS n, NULL AS nothing FROM tasks GROUP BY method ORDER BY ALL"
    table = call("query", done, sql).out.splitlines()
    assert [line.split() for line in table if "bp" in line or "l2" in line] == [
        ["bp", "6"],
        ["l2", "6"],
    ]
    rows = list(csv.reader(io.StringIO(call("query", done, sql, "--format", "csv").out)))
    assert rows == [["method", "n", "nothing"], ["bp", "6", ""], ["l2", "6", ""]]
    assert json.loads(call("query", done, sql, "--format", "json").out) == [
        {"method": "bp", "n": 6, "nothing": None},
        {"method": "l2", "n": 6, "nothing": None},
    ]


@pytest.mark.parametrize("methods", ["bp", " bp , l2", ["bp", "l2"]])
def test_methods_are_a_list_or_a_text_with_commas(methods):
    asked = api.plan(tiny.study(), methods=methods)
    assert asked.methods == (("bp",) if methods == "bp" else ("bp", "l2"))


def test_columns_of_one_name_are_kept_apart_and_no_number_is_null(call, done):
    answer = call("query", done, "SELECT 1 AS a, 2 AS a, 'nan'::DOUBLE AS b", "--format", "json")
    assert json.loads(answer.out, parse_constant=pytest.fail) == [{"a": 1, "a_2": 2, "b": None}]


def test_a_query_without_rows_still_has_its_columns(call, done):
    sql = "SELECT task FROM tasks WHERE task > 99"
    assert call("query", done, sql, "--format", "csv").out == "task\n"
    assert json.loads(call("query", done, sql, "--format", "json").out) == []
    assert call("query", done, sql).out.split()[0] == "task"


def test_a_report_and_its_figures_go_where_they_are_asked(call, done, tmp_path):
    answer = call("report", done, "--out", tmp_path / "here.html")
    assert answer.out.splitlines() == [str(tmp_path / "here.html")]
    assert "<html" in (tmp_path / "here.html").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_every_noun_is_listed_with_a_sentence_for_each_member(call, kind):
    rows = json.loads(call("list", kind, "--format", "json").out)
    assert rows
    assert all(row["name"] and row["what"] for row in rows)
    table = call("list", kind).out
    assert all(row["name"] in table for row in rows)


def test_all_nouns_are_listed_together(call):
    rows = json.loads(call("list", "--format", "json").out)
    assert {row["kind"] for row in rows} == set(KINDS)
    assert call("list").code == 0


def test_the_list_of_methods_says_what_can_be_set_and_who_needs_the_boundary(call):
    rows = {row["name"]: row for row in json.loads(call("list", "methods", "--format", "json").out)}
    assert rows["l2"]["hyperparameters"] == "weight_decay=0.001"
    assert {name for name, row in rows.items() if row["needs_boundary"]} == {
        "snp", "gpm", "heterogeneous_dropout", "reset"
    }  # fmt: skip


def test_the_doctor_finds_this_machine_well_and_a_broken_one_ill(call, monkeypatch, tmp_path):
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path))
    answer = call("doctor", "--format", "json")
    states = {row["check"]: row["state"] for row in json.loads(answer.out)}
    assert answer.code == 0
    assert states["jax"] == states["compiler"] == states["data: digits"] == "ok"
    assert states["data: mnist"] == "absent"
    monkeypatch.setattr(
        catalogue, "health", lambda data: [{"check": "jax", "state": "broken", "detail": ""}]
    )
    assert call("doctor").code == 1


def test_version_and_help_are_there(call):
    assert call("--version").out == f"{neoteny.__version__}\n"
    words = call("--help").out
    assert all(name in words for name in ("list", "run", "report", "status", "query", "doctor"))
    assert "--set" in call("run", "--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_every_word_of_its_options(call, monkeypatch, name):
    """Brackets, which the library that draws the help takes for markup, included."""
    monkeypatch.setenv("COLUMNS", "400")
    shown = " ".join(call(name, "--help").out.split())
    for parameter in COMMANDS[name].params:
        assert " ".join(getattr(parameter, "help", "").split()) in shown


def test_a_process_of_its_own_keeps_what_it_says_apart(scratch, study, done):
    """Once through a real process: nothing but JSON on standard output, no control characters."""
    answer = tiny.neoteny(scratch, "query", done, "SELECT 1 AS one", "--format", "json")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout) == [{"one": 1}]
    refusal = tiny.neoteny(scratch, "run", "nonsense", cwd=study.parent)
    assert (refusal.returncode, refusal.stdout) == (2, "")
    assert refusal.stderr.startswith("neoteny: There is no study `nonsense`")
    assert refusal.stderr.count("\n") == 1
