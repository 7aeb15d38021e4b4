"""Killed at any instant and started again, a study ends with the bits of one left alone."""

import random
import signal
import subprocess
import time

import pytest

import neoteny
import tiny
from neoteny import loop, store

LONG = [
    *("--set", "tasks=900"),
    *("--set", "probes.spectrum_every=100"),
    *("--set", "probes.fresh_every=200"),
    *("--methods", "l2_init"),
    *("--seeds", "2"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "tiny.toml"
    path.write_text(tiny.TOML)
    return path


@pytest.fixture(scope="module")
def uninterrupted(scratch, study, tmp_path_factory):
    """The folder of a study that nobody disturbed, in one process."""
    out = tmp_path_factory.mktemp("uninterrupted")
    done = tiny.neoteny(scratch, "run", study, "--out", out, "--jobs", 1, *LONG)
    assert done.returncode == 0, done.stderr
    return out


def _start(scratch, study, out, jobs):
    words = ("run", study, "--out", out, "--jobs", jobs, *LONG)
    return subprocess.Popen(
        tiny.command(*words),
        env=tiny.environment(scratch),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _await(condition, process, seconds=60):
    """Wait for a sign of life of a run, or its end."""
    limit = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.01)


KILLS = [
    (1, signal.SIGTERM, ".lock"),  # after a run was taken up, and before it may have committed
    (1, signal.SIGKILL, "checkpoint.npz"),  # after a commit
    (2, signal.SIGINT, "checkpoint.npz"),
    (2, signal.SIGKILL, ".lock"),
]


def test_a_study_killed_at_random_instants_ends_with_the_same_bits(
    scratch, study, uninterrupted, tmp_path
):
    instants = random.Random(0)
    interrupted = 0
    for jobs, kind, sign in KILLS:
        before = _written(tmp_path, sign)
        process = _start(scratch, study, tmp_path, jobs)
        _await(lambda before=before, sign=sign: _written(tmp_path, sign) != before, process)
        time.sleep(instants.uniform(0, 0.3))
        process.send_signal(kind)
        _, complaint = process.communicate(timeout=60)
        if process.returncode:
            assert process.returncode == (130 if kind == signal.SIGINT else -kind)
            said = "neoteny: Stopped. The same command continues where this one stood."
            assert complaint.strip() == (said if kind == signal.SIGINT else "")
        _await_workers(tmp_path)
        runs = _recorded(tmp_path)
        interrupted += any(0 < run["tasks_done"] < run["tasks_asked"] for run in runs)
    assert interrupted, "no run was killed on its way: make them longer"
    last = tiny.neoteny(scratch, "run", study, "--out", tmp_path, "--jobs", 2, *LONG)
    assert last.returncode == 0, last.stderr
    assert tiny.contents(tmp_path) == tiny.contents(uninterrupted)


def test_two_processes_at_one_folder_mix_nothing(scratch, study, uninterrupted, tmp_path):
    """Whoever comes second to a run is refused, and says so; the rest they share."""
    both = [_start(scratch, study, tmp_path, 1) for _ in range(2)]
    for process in both:
        _, complaint = process.communicate(timeout=120)
        refused = process.returncode and "is being run by another process (pid " in complaint
        assert process.returncode == 0 or refused, complaint
    last = tiny.neoteny(scratch, "run", study, "--out", tmp_path, "--jobs", 1, *LONG)
    assert last.returncode == 0, last.stderr
    assert tiny.contents(tmp_path) == tiny.contents(uninterrupted)


def _written(out, name):
    """When the files of that name were last written."""
    return {path: path.stat().st_mtime_ns for path in out.rglob(name)}


def _await_workers(out, seconds=10):
    """Orphaned workers find out by themselves that their parent is gone."""
    limit = time.monotonic() + seconds
    while any(row["status"] == "running" for row in _recorded(out)):
        assert time.monotonic() < limit, "a worker outlived its parent"
        time.sleep(0.05)


def _recorded(out):
    """The runs that there is a record of: a process killed early has locked one and no more."""
    return store.status(out) if _written(out, "run.json") else []


def _stamps(out):
    """When each file of a run was last written; the lock is no result."""
    files = (path for path in (out / "labels").rglob("*") if path.is_file())
    return {path: path.stat().st_mtime_ns for path in files if path.name != ".lock"}


@pytest.fixture
def finished(tmp_path, compiled_once):
    """The folder of a small study that is done."""
    neoteny.run(tiny.study(), out=tmp_path)
    return tmp_path


def test_a_finished_study_is_not_computed_again(finished, monkeypatch):
    before = _stamps(finished)
    monkeypatch.setattr(loop, "_continue", None)
    results = neoteny.run(tiny.study(), out=finished)
    assert [outcome.status for outcome in results.outcomes] == ["finished"]
    assert _stamps(finished) == before


def test_a_finished_study_takes_new_methods_and_seeds(finished):
    before, contents = _stamps(finished), tiny.contents(finished)
    results = neoteny.run(tiny.study(), methods=["l2_init", "bp"], seeds=2, out=finished)
    assert {outcome.status for outcome in results.outcomes} == {"finished"}
    assert before.items() <= _stamps(finished).items()
    assert contents.items() <= tiny.contents(finished).items()
    runs = results.query("SELECT method, seed, count(*) FROM tasks GROUP BY ALL ORDER BY ALL").rows
    assert runs == [(method, seed, 3) for method in ("bp", "l2_init") for seed in (0, 1)]


def test_another_configuration_is_refused_and_touches_nothing(finished):
    before = _stamps(finished)
    with pytest.raises(neoteny.UserError, match=r"`setting.training.learning_rate` is 0.001 there"):
        neoteny.run(tiny.study(training__learning_rate=0.002), out=finished)
    assert _stamps(finished) == before
