"""Tuning: equal budgets, seeds of its own, nothing lost or done twice, and a study that says so.

Lives are quick here (`quick_lives`): what a task comes to follows from the settings.
"""

import json
import os
import pwd
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated

import pytest

import neoteny
import quick_lives
import tiny
from neoteny import cli, loop, store, studies
from neoteny.api import Results, without_password
from neoteny.errors import UserError
from neoteny.methods import METHODS, Method, Range
from neoteny.tuning import search, storage, tuned

pytestmark = pytest.mark.usefixtures("compiled_once")

PLUGIN = Path(quick_lives.__file__)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(loop, "_live_through", quick_lives.live_through)


@pytest.fixture
def postgresql():
    """The URL of a server of this test's own, which asks for a password."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [shutil.which("initdb")]
    if not found[-1]:
        pytest.skip("PostgreSQL's `initdb` is neither in /usr/lib/postgresql nor on the path")
    binaries = Path(found[-1]).parent
    place = Path(tempfile.mkdtemp(prefix="neoteny-postgresql-"))
    other = {}
    if os.geteuid() == 0:  # which the server refuses to run as
        account = pwd.getpwnam("nobody")
        os.chown(place, account.pw_uid, account.pw_gid)
        other = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    (place / "password").write_text("s3cret")
    (place / "password").chmod(0o644)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": place}
    words = ["-A", "scram-sha-256", "-U", "neoteny", f"--pwfile={place / 'password'}", "--no-sync"]
    subprocess.run(
        [binaries / "initdb", "-D", place / "data", *words], check=True, **quiet, **other
    )
    words = ["-h", "127.0.0.1", "-p", str(port), "-k", place, "-F"]
    server = subprocess.Popen(
        [binaries / "postgres", "-D", place / "data", *words], **quiet, **other
    )
    try:
        waiting = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(waiting, **quiet).returncode:
            assert server.poll() is None
            time.sleep(0.05)
        yield f"postgresql://neoteny:s3cret@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(place)


def tune(out, study=None, **options):
    """Three settings of two methods, on a seed; the first four tasks of the tiny study."""
    asked = {"methods": ["bp", "l2"], "trials": 3, "seeds": 1, "sampler": "random"} | options
    return neoteny.tune(study or tiny.study(tasks=4), out=out, **asked)


def told(folder):
    """What each trial was, and what its runs came to: all that must not depend on luck."""
    points = json.loads((folder / "tuning" / "study.json").read_text())["grid"]
    sql = "SELECT stream, method, seed, task, final_accuracy FROM tasks ORDER BY stream, seed, task"
    return points, store.query(folder / "tuning", sql).rows


def test_every_method_has_as_many_trials_on_the_same_seeds_and_tasks(tmp_path, quick):
    found = tune(tmp_path, seeds=2)
    rows = store.query(
        tmp_path / "tuning",
        "SELECT method, count(DISTINCT stream), list(DISTINCT seed ORDER BY seed), count(*) "
        "FROM tasks GROUP BY method ORDER BY method",
    ).rows
    assert rows == [("bp", 3, [1000, 1001], 24), ("l2", 3, [1000, 1001], 24)]
    assert [row["trials"] for row in found.budgets] == [3, 3]
    assert [(row["tasks"], row["seconds"]) for row in found.budgets] == [(24, 12.0)] * 2
    assert found.left == 0 and not found.failed
    rates = {"bp": [], "l2": []}
    for run in store.find_runs(tmp_path / "tuning"):
        config = store.read_record(run)["config"]
        rates[config["method"]].append(config["setting"]["training"]["learning_rate"])
        assert config["setting"]["probes"]["spectrum_every"] == 0
        assert ("weight_decay" in config["hyperparameters"]) == (config["method"] == "l2")
    assert rates["bp"] == rates["l2"] and len(set(rates["bp"])) == 3
    low, high = 0.001 / search.FACTOR, 0.001 * search.FACTOR
    assert all(low * 0.999 <= rate <= high * 1.001 for rate in rates["bp"])


def test_the_best_settings_become_a_study_that_is_not_run_on_the_seeds_that_chose_them(
    tmp_path, quick
):
    study = tiny.study(tasks=4, training_of__l2__learning_rate=0.5, title='"odd"\n\x7f title')
    found = tune(tmp_path, study, seeds=2)
    loaded = studies.load(str(found.path))
    assert loaded == found.study and loaded.title == study.title
    for method in ("bp", "l2"):
        (stream,) = store.query(
            found.folder,
            f"SELECT stream FROM tasks WHERE method = '{method}' GROUP BY stream "
            "ORDER BY avg(final_accuracy) DESC LIMIT 1",
        ).rows[0]
        best = store.read_record(found.folder / stream / method / "seed-1000")["config"]
        setting = loaded.streams["labels"]
        rate = best["setting"]["training"]["learning_rate"]
        assert setting.trained(method).learning_rate == rate
        assert setting.hyperparameters.get(method, {}) == best["hyperparameters"]
    assert loaded.streams["labels"].probes == study.streams["labels"].probes
    assert loaded.tuned_on == (1000, 1001)
    for changes in ({"first_seed": 1001}, {"seeds": 1001}):
        with pytest.raises(UserError, match=r"tuned on seeds 1000, 1001, .*first_seed=\d+`"):
            neoteny.run(str(found.path), changes=changes, out=tmp_path / "run")
    with pytest.raises(UserError, match="would flatter the results"):
        tune(tmp_path / "other", first_seed=0)


def test_the_same_command_again_trains_nothing_and_more_trials_go_on(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("QUICK_LOG", str(tmp_path / "log"))
    tune(tmp_path)
    before, log = told(tmp_path), lives(tmp_path)
    turns = [stream for _, stream, _, task in log if task == "0"]
    assert turns == [f"labels--{name}-00{number}" for number in range(3) for name in ("bp", "l2")]
    assert tune(tmp_path).left == 0
    assert told(tmp_path) == before
    assert lives(tmp_path) == log
    tune(tmp_path, trials=4)
    tune(tmp_path / "at once", trials=4)
    assert told(tmp_path) == told(tmp_path / "at once")
    with pytest.raises(UserError, match=r"another tuning: `trials` is 4 there and 3 here"):
        tune(tmp_path)


def test_a_grid_tries_every_combination_once_and_as_many_for_each_method(tmp_path, quick):
    tune(tmp_path, trials=4, sampler="grid", search={"lr": "1e-3:1e-2:log"})
    settings = Results(tmp_path / "tuning").settings()
    rates = Counter(row["learning_rate"] for row in settings if row["method"] == "bp")
    assert rates == Counter(["0.001", "0.002154", "0.004642", "0.01"])
    pairs = {
        (row["learning_rate"], row["l2.weight_decay"]) for row in settings if row["method"] == "l2"
    }
    assert pairs == {(rate, decay) for rate in ("0.001", "0.01") for decay in ("1e-06", "0.01")}


@pytest.mark.parametrize(
    "pruner",
    [
        "median",
        pytest.param("halving", marks=pytest.mark.further),
        pytest.param("hyperband", marks=pytest.mark.further),
    ],
)
def test_a_pruned_setting_stops_early_and_for_ever(tmp_path, quick, pruner):
    """Of eight the worst are cut before their last task, and none before the warm-up is over."""
    asked = {"methods": ["bp"], "trials": 8, "seeds": 2, "pruner": pruner, "warm_up": 2}
    found = tune(tmp_path, **asked)
    runs = store.status(found.folder)
    pruned = [row for row in runs if row["status"] == "pruned"]
    assert 0 < found.budgets[0]["pruned"] == len(pruned) < 8
    assert all(row["tasks_done"] >= 2 for row in pruned)
    assert any(row["tasks_done"] < 4 for row in pruned)
    assert all(row["reason"].endswith("was too little") for row in pruned)
    assert found.budgets[0]["tasks"] == sum(row["tasks_done"] for row in runs) < 8 * 2 * 4
    cut = {row["stream"] for row in pruned}
    (best,) = store.query(found.folder, "SELECT arg_max(stream, final_accuracy) FROM tasks").rows[0]
    assert best not in cut
    tune(tmp_path, **asked)
    assert store.status(found.folder) == runs


def test_a_run_given_up_keeps_its_tasks_and_is_never_taken_up(tmp_path):
    (config,) = neoteny.api.runs_of(tiny.study(), None)[0]
    why = lambda done, value: f"{value:.3f} at {done}" if done == 2 else None
    assert loop.run(config, tmp_path, on_task=why) == "pruned"
    (row,) = store.status(tmp_path)
    assert (row["status"], row["tasks_done"]) == ("pruned", 2)
    assert row["reason"].endswith(" at 2")
    assert len(store.query(tmp_path, "SELECT task FROM tasks").rows) == 2
    assert loop.run(config, tmp_path) == "pruned"
    assert store.status(tmp_path)[0] == row


def test_what_diverges_is_a_trial_with_the_worst_score_and_its_reason(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("QUICK_LIMIT", "0.002")
    found = tune(tmp_path, methods=["bp"], trials=8, seeds=2)
    (row,) = found.budgets
    assert row["trials"] == 8 and 0 < row["diverged"] < 8
    assert found.study.streams["labels"].trained("bp").learning_rate <= 0.002
    with sqlite3.connect(tmp_path / "tuning.db") as database:
        kept = database.execute(
            "SELECT value_json FROM trial_user_attributes WHERE key = 'diverged'"
        ).fetchall()
    database.close()
    assert len(kept) == row["diverged"]
    assert all("seed 1000: loss not finite in task 0, step 3" in text for (text,) in kept)
    (figure,) = Results(tmp_path / "tuning").sensitivity()
    assert figure.views[0].panels[0].levels  # the line that they lie on


def test_a_failed_trial_is_tried_again_with_the_same_settings(tmp_path, quick, monkeypatch):
    def unlucky(config, *arguments):
        if config.method == "l2" and config.stream.endswith("001"):
            raise ZeroDivisionError("by chance")
        return quick_lives.live_through(config, *arguments)

    monkeypatch.setattr(loop, "_live_through", unlucky)
    found = tune(tmp_path)
    assert found.left == 1 and found.path is None and not (tmp_path / "tuned.toml").exists()
    assert [outcome.config.stream for outcome in found.failed] == ["labels--l2-001"]
    before = told(tmp_path)[0]
    monkeypatch.setattr(loop, "_live_through", quick_lives.live_through)
    assert tune(tmp_path).left == 0
    assert told(tmp_path)[0] == before and len(before) == 6
    (row,) = [row for row in store.status(tmp_path / "tuning") if row["failures"]]
    assert (row["stream"], row["status"]) == ("labels--l2-001", "finished")


WORDS = ["--methods", "bp,l2", "--trials", "3", "--seeds", "2", "--set", "tasks=4"]
LOG = "log"


def start(scratch, tmp_path, out, *words, **variables):
    study = tmp_path / "tiny.toml"
    study.write_text(tiny.TOML)
    command = tiny.command("tune", study, *WORDS, "--out", out, "--plugin", PLUGIN, *words)
    return subprocess.Popen(
        command,
        env=tiny.environment(scratch, QUICK_LOG=str(tmp_path / LOG), **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out + err


def lives(tmp_path):
    """Which process lived through which task of which run, as it came."""
    path = tmp_path / LOG
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(tmp_path, tasks, process):
    while len(lives(tmp_path)) < tasks:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def test_killed_at_any_instant_the_same_command_ends_as_if_it_had_not_been(
    scratch, tmp_path, quick, monkeypatch
):
    """Killed twice, within a run and at whatever it does then; with a sampler that looks back."""
    luck = random.Random(0)
    for least in (5, 19):
        process = start(scratch, tmp_path, tmp_path / "out", "--jobs", 1, "--sampler", "tpe")
        wait_for(tmp_path, least, process)
        time.sleep(0.1 * luck.random())
        process.kill()
        process.communicate()
    tune(tmp_path / "out", seeds=2, sampler="tpe")
    tune(tmp_path / "whole", seeds=2, sampler="tpe")
    assert told(tmp_path / "out") == told(tmp_path / "whole")
    assert trial_states(tmp_path / "out") == {"COMPLETE": 6}
    found = studies.load(str(tmp_path / "out" / "tuned.toml"))
    assert found == studies.load(str(tmp_path / "whole" / "tuned.toml"))


def trial_states(out):
    with sqlite3.connect(out / "tuning.db") as database:
        found = Counter(state for (state,) in database.execute("SELECT state FROM trials"))
    database.close()
    return dict(found)


def tasks_of(trials):
    return Counter(
        (f"labels--{method}-{number:03d}", str(seed), str(task))
        for method in ("bp", "l2")
        for number in range(trials)
        for seed in (1000, 1001)
        for task in range(4)
    )


@pytest.fixture
def watched(tmp_path, quick, monkeypatch):
    """This process writes to the same log as those that it starts, and takes its time, too."""
    monkeypatch.setenv("QUICK_LOG", str(tmp_path / LOG))
    monkeypatch.setenv("QUICK_SECONDS", "0.1")


def test_processes_share_the_trials_and_do_none_twice(scratch, tmp_path, watched):
    """A command with two workers, and this process, all on one file."""
    other = start(scratch, tmp_path, tmp_path / "out", "--jobs", 2, "--sampler", "random")
    wait_for(tmp_path, 1, other)
    tune(tmp_path / "out", seeds=2)
    done(other)
    found = lives(tmp_path)
    assert Counter(tuple(run) for _, *run in found) == tasks_of(3)
    by_process = {process for process, *_ in found}
    assert str(os.getpid()) in by_process and len(by_process) >= 2
    assert str(other.pid) not in by_process
    assert trial_states(tmp_path / "out") == {"COMPLETE": 6}
    assert (tmp_path / "out" / "tuned.toml").exists()


def test_trials_are_shared_over_a_real_postgresql_server(scratch, tmp_path, postgresql, watched):
    """And the password is nowhere that stays: not in the folder, not on the screen."""
    asked = {"seeds": 2}
    words = ["--storage", postgresql, "--jobs", 1, "--sampler", "random"]
    other = start(scratch, tmp_path, tmp_path / "out", *words)
    wait_for(tmp_path, 1, other)
    tune(tmp_path / "out", storage=postgresql, **asked)
    said = done(other)
    found = lives(tmp_path)
    assert Counter(tuple(run) for _, *run in found) == tasks_of(3)
    assert {process for process, *_ in found} == {str(os.getpid()), str(other.pid)}
    assert not (tmp_path / "out" / "tuning.db").exists()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"postgresql://neoteny@127.0.0.1" in kept
    assert b"s3cret" not in kept and "s3cret" not in said
    with pytest.raises(UserError, match="authentication failed") as refused:
        tune(tmp_path / "out", storage=postgresql.replace("s3cret", "wrong"), **asked)
    assert "wrong" not in str(refused.value)
    with pytest.raises(UserError, match=r"lies in another folder.*--set name=NAME"):
        tune(tmp_path / "another", storage=postgresql)


def test_a_database_that_cannot_be_used_is_said_in_a_sentence(tmp_path, quick, monkeypatch):
    with pytest.raises(UserError, match=r"//me@127.0.0.1:1/x` cannot be used: .*refused"):
        tune(tmp_path / "a", storage="postgresql://me:s3cret@127.0.0.1:1/x")
    for url in ("nonsense", "no-such-kind://x"):
        with pytest.raises(UserError, match="It takes a URL"):
            tune(tmp_path / "b", storage=url)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "tuning.db").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"tuning.db` cannot be used: file is not a database"):
        tune(tmp_path / "c")
    tune(tmp_path / "d", trials=1)
    monkeypatch.setattr(storage, "PATIENCE", 0.05)
    held = sqlite3.connect(tmp_path / "d" / "tuning.db", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=r"locked. Another program holds it"):
        tune(tmp_path / "d", trials=2)
    held.close()
    tune(tmp_path / "d", trials=2)


def test_tuning_without_optuna_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"needs Optuna.*pip install 'neoteny\[tune\]'"):
        tune(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 0}, "`trials` is 0"),
        ({"seeds": 0}, "`seeds` is 0"),
        ({"warm_up": 0}, "`warm_up` is 0"),
        ({"first_seed": -1}, "seeds are from 0"),
        ({"sampler": "tpee"}, "no sampler `tpee`. Did you mean `tpe`"),
        ({"pruner": "mean"}, "no pruner `mean`. Did you mean `median`"),
        ({"methods": ["l3"]}, "no method `l3`"),
        ({"search": {"cbp.replacement_rate": "1e-4:1e-2"}}, "`cbp` is not tuned. Add it"),
        ({"search": {"l2.decay": "1e-4:1e-2"}}, "of `l2` called `decay`"),
        (
            {"search": {"lr": "1e-1:1e-4:log"}},
            "higher number: `learning_rate=0.0001:0.1",
        ),
        ({"search": {"lr": "0:1:log"}}, "no 0. Begin above 0"),
        ({"search": {"lr": "0:1"}}, "learning_rate"),
        ({"search": {"lr": "1:2:lg"}}, "a range is two numbers"),
        ({"search": {"lr": "a:b"}}, "a range is two numbers"),
        ({"search": {"lr": ""}}, "learning_rate"),
        ({"search": {"lr": "0.1,0.10"}}, "one or more, each once"),
        ({"search": {"lr": "0.1", "learning_rate": "0.2"}}, "one field twice"),
        ({"search": {"optimiser": "1:2"}}, "it is no number, as 'sgd'"),
        ({"search": {"batch": "1.5:8"}}, "give whole numbers"),
        ({"search": {"network.widths": "[8],[9]"}}, "`network.widths`, which all methods share"),
        ({"search": {"batch": "8:4096"}}, "`training.batch` is 4096"),
        ({"trials": 7, "sampler": "grid"}, "Pass `--trials 8`"),
    ],
)
def test_what_is_no_tuning_is_refused(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        tune(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_runs_or_settings_is_refused(tmp_path, quick):
    tune(tmp_path / "a", trials=1)
    with pytest.raises(UserError, match=r"`seeds` is \[1000\] there and \[1000, 1001\] here"):
        tune(tmp_path / "a", trials=1, seeds=2)
    with pytest.raises(UserError, match="`storage` is None there and postgresql://me@host/x here"):
        tune(tmp_path / "a", trials=1, storage="postgresql://me:pw@host/x")
    neoteny.run(tiny.study(), methods=["bp"], out=tmp_path / "b" / "tuning")
    with pytest.raises(UserError, match="holds runs that are of no tuning"):
        tune(tmp_path / "b", trials=1)


def test_runs_of_a_tuning_are_seen_in_their_folder_and_not_from_above(tmp_path, quick):
    found = tune(tmp_path / "x", trials=2)
    assert len(store.find_runs(found.folder)) == 4
    assert Results(found.folder).report().exists()
    with pytest.raises(UserError, match=r"but those of a tuning. Name the folder `.*x/tuning"):
        store.status(tmp_path)
    neoteny.run(str(found.path), out=tmp_path / "x")
    assert {row["study"] for row in store.status(tmp_path)} == {"tiny-tuned"}
    page = Results(tmp_path / "x").report().read_text()
    assert 'id="over-all--settings-labels"' in page
    drawn = Results(tmp_path / "x").figures(["png"])
    assert (tmp_path / "x" / "figures" / "settings-labels.png") in drawn


def test_a_method_of_ones_own_says_where_it_is_searched(tmp_path, quick, monkeypatch):
    def mine(*, gain: Annotated[float, Range(0.5, 0.9, log=False)] = 0.7, every: int = 3) -> Method:
        return Method()

    monkeypatch.setitem(METHODS, "mine", mine)
    found = tune(tmp_path, methods=["mine"], search={"mine.every": "1:9"})
    settings = Results(found.folder).settings()
    assert all(0.5 <= float(row["mine.gain"]) <= 0.9 for row in settings)
    assert all(int(row["mine.every"]) in range(1, 10) for row in settings)


@pytest.mark.parametrize(
    ("number", "parts", "levels"),
    [(20, 1, (20,)), (20, 2, (5, 4)), (20, 3, (5, 2, 2)), (27, 2, (9, 3)), (64, 3, (4, 4, 4)),
     (7, 2, None), (12, 4, None), (1, 1, None), (1, 0, ()), (2, 0, None)],
)  # fmt: skip
def test_a_grids_levels_multiply_to_the_number_of_trials(number, parts, levels):
    assert search._factors(number, parts) == levels


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me@host/db"),
        ("--storage=postgresql://me:p@ss/w@host:5/db", "--storage=postgresql://me@host:5/db"),
        ("postgresql://host/db?user=me&password=s3cret", "postgresql://host/db?user=me&"),
        ("lr=1e-4:1:log", "lr=1e-4:1:log"),
    ],
)
def test_no_password_is_kept(word, shown):
    assert without_password(word) == shown


def test_toml_gives_back_what_was_written():
    found = tiny.study(title='a "b"\\ é\t\x7f', **{"tuned_on": [7, 8]})
    text = tuned.toml(found, ["heading"])
    assert neoteny.config.validated(neoteny.Study, tomllib.loads(text)) == found


def command(monkeypatch, capsys, *words):
    """The command line in this process: its exit status, and what it prints."""
    monkeypatch.setattr(sys, "argv", ["neoteny", "tune", *map(str, words), "--jobs", "1"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out + said.err


@pytest.fixture
def toml(tmp_path, scratch, monkeypatch):
    for name, value in tiny.environment(scratch).items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "tiny.toml"
    path.write_text(tiny.TOML)
    return path


def test_the_command_tunes_and_reports_on_other_seeds_at_once(
    tmp_path, toml, quick, monkeypatch, capsys
):
    out = tmp_path / "out"
    status, said = command(monkeypatch, capsys, toml, *WORDS, "--out", out, "--report")
    assert status == 0
    assert "Budgets" in said and f"Tuned study: {out / 'tuned.toml'}" in said and "Verdict" in said
    rows = store.status(out)
    assert {(row["study"], row["seed"]) for row in rows} == {("tiny-tuned", 0)}
    assert {row["method"] for row in rows} == {"bp", "l2"}
    words = [out / "tuned.toml", "--set", "first_seed=1000", "--out", tmp_path / "flattered"]
    monkeypatch.setattr(sys, "argv", ["neoteny", "run", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "The settings were tuned on seeds 1000, 1001" in capsys.readouterr().err


def test_a_report_on_what_was_found_may_be_stopped(tmp_path, toml, quick, monkeypatch, capsys):
    def lives(config, *rest):
        if config.seed < 1000:
            raise KeyboardInterrupt
        return quick_lives.live_through(config, *rest)

    monkeypatch.setattr(loop, "_live_through", lives)
    out = tmp_path / "out"
    status, said = command(monkeypatch, capsys, toml, *WORDS, "--out", out, "--report")
    assert status == 130
    assert "Stopped. The same command continues" in said and (out / "tuned.toml").exists()


def test_where_all_diverges_the_command_says_so_and_fails(
    tmp_path, toml, quick, monkeypatch, capsys
):
    monkeypatch.setenv("QUICK_LIMIT", "1e-9")
    status, said = command(monkeypatch, capsys, toml, *WORDS, "--out", tmp_path / "out")
    assert status == 1
    assert "No setting of bp on labels, l2 on labels came through: all diverged" in said
    assert not (tmp_path / "out" / "tuned.toml").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--trials", 0], "`--trials` is 0"),
        (["--search", "lr"], "`--search` is 'lr', but takes NAME=LOW:HIGH"),
        (["--search", "lr=1:0"], "`--search` has `learning_rate` from 1 to 0"),
        (["--search", "lr=1", "--search", "lr=2"], "`--search` names a field twice"),
    ],
)
def test_what_was_typed_in_vain_is_said_in_its_own_words(
    tmp_path, toml, monkeypatch, capsys, words, sentence
):
    status, said = command(monkeypatch, capsys, toml, *words, "--out", tmp_path / "out")
    assert status == 2 and sentence in said and "Traceback" not in said
