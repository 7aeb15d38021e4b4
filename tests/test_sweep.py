"""Many runs: every one is carried to its end, whatever becomes of the others."""

import os
import signal
import textwrap
from pathlib import Path

import pytest

import neoteny
import tiny
from neoteny import loop, store, sweep
from neoteny.errors import UserError
from neoteny.methods import METHODS
from neoteny.plugins import load

pytestmark = pytest.mark.usefixtures("compiled_once")

PLAIN = {"probes__spectrum_every": 0, "probes__fresh_every": 0, "probes__names": []}

PLUGIN = '''
    """Methods with faults that show only once a run is under way."""

    import os
    import signal

    import jax

    from neoteny.interventions import Intervention, at_task_start
    from neoteny.methods import METHODS, Method


    def at_boundary(act):
        def apply(learner, state, *, key, batch, features):
            jax.debug.callback(act, ordered=True)
            return learner, state

        part = at_task_start(Intervention(lambda params: (), apply))
        return Method(interventions=lambda network, optimiser: (part,))


    def killed():
        """Its process dies at the first boundary, as when memory runs out."""
        return at_boundary(lambda: os.kill(os.getpid(), signal.SIGKILL))


    def fine():
        """Plain backprop by another name."""
        return Method()


    METHODS["killed"] = killed
    METHODS["fine"] = METHODS["cut"] = fine
'''


@pytest.fixture
def processes(scratch, monkeypatch):
    """Workers that share compiled code with the other processes of this test session."""
    for name, value in tiny.environment(scratch).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    for name in ("killed", "fine", "cut"):  # what the file adds to this process goes again
        monkeypatch.setitem(METHODS, name, None)
    path = tmp_path / "faults.py"
    path.write_text(textwrap.dedent(PLUGIN))
    return path


def test_a_process_that_dies_fails_its_run_alone(tmp_path, plugin, processes):
    """And one that is told to give up a run gives up that one."""
    study = tiny.study(methods=["killed", "fine", "cut"], **PLAIN)
    seen = []

    def on_task(config, done, value):
        seen.append((config.method, done))
        return "enough" if (config.method, done) == ("cut", 1) else None

    results = neoteny.run(
        study,
        out=tmp_path / "out",
        jobs=2,
        plugins=[plugin],
        on_task=on_task,
    )
    ended = {outcome.config.method: outcome for outcome in results.outcomes}
    assert list(ended) == ["killed", "fine", "cut"]
    status = {"killed": "failed", "fine": "finished", "cut": "pruned"}
    for method, outcome in ended.items():
        assert outcome.status == status[method]
        assert (outcome.reason or "").startswith("its process ended") == (method == "killed")
        assert (method, 3) in seen
    kept = {row["method"]: row for row in store.status(tmp_path / "out")}
    assert {name: row["status"] for name, row in kept.items()} == status | {"killed": "interrupted"}
    assert (kept["cut"]["tasks_done"], kept["cut"]["reason"]) == (1, "enough")
    assert "fine" in METHODS  # the plugin was loaded here, and its method ran in the workers


def test_an_error_that_nobody_foresaw_fails_its_run_alone(tmp_path, monkeypatch):
    live = loop._live_through

    def unlucky(config, *arguments):
        if config.seed == 1:
            raise ZeroDivisionError("by chance")
        return live(config, *arguments)

    monkeypatch.setattr(loop, "_live_through", unlucky)
    results = neoteny.run(tiny.study(seeds=3, **PLAIN), out=tmp_path)
    assert [outcome.status for outcome in results.outcomes] == ["finished", "failed", "finished"]
    reason = results.outcomes[1].reason
    assert reason.startswith("ZeroDivisionError: by chance (test_sweep.py, line ")


def test_methods_of_this_process_alone_cannot_go_to_others(tmp_path):
    def mine():
        return METHODS["bp"]()

    with pytest.raises(UserError, match=r"`jobs` is 2, but `mine` lives in this process alone"):
        neoteny.run(tiny.study(), methods=["bp", mine], jobs=2, out=tmp_path)


def test_the_cores_are_shared_out_evenly(monkeypatch):
    if not hasattr(os, "sched_getaffinity"):
        assert sweep.shares(3) == [None] * 3
        return
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 4, 5, 6})
    assert sweep.shares(1) == [{0, 1, 4, 5, 6}]
    assert sweep.shares(2) == [{0, 4}, {1, 5}]
    assert sweep.shares(5) == [{0}, {1}, {4}, {5}, {6}]
    crowded = sweep.shares(7)
    assert all(len(share) == 1 for share in crowded)
    assert set().union(*crowded) == {0, 1, 4, 5, 6}


def test_runs_live_below_the_folder_by_stream_method_and_seed():
    places = {sweep.folder_of(Path("out"), run) for run in sweep.expand(tiny.study(seeds=2))}
    assert places == {Path("out/labels/bp/seed-0"), Path("out/labels/bp/seed-1")}


def test_a_worker_prefers_runs_whose_code_it_holds_then_those_nobody_holds():
    runs = sweep.expand(tiny.study(methods=["bp", "l2", "er"], seeds=2))
    pool = sweep.Pool(sweep.Listed(runs), Path("out"), None, (), lambda config, done: None)
    pool.workers = {"a": sweep.Member(None, None, {("labels", "bp")})}
    taken = [pool._take(held) for held in ({("labels", "l2")}, set(), {("labels", "bp")}, set())]
    assert [(run.method, run.seed) for run in taken] == [("l2", 0), ("l2", 1), ("bp", 0), ("er", 0)]


def test_two_plugins_may_share_a_file_name(tmp_path, monkeypatch):
    for index in (1, 2):
        monkeypatch.setitem(METHODS, f"plugged_{index}", None)
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "mine.py").write_text(
            f"from neoteny.methods import METHODS, bp\nMETHODS['plugged_{index}'] = lambda: bp()\n"
        )
        load(folder / "mine.py")
        first = METHODS[f"plugged_{index}"]
        load(folder / "mine.py")
        assert METHODS[f"plugged_{index}"] is first is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError"),
        (None, "needs an existing Python file"),
    ],
)
def test_a_plugin_that_does_not_load_says_why(tmp_path, text, words):
    path = tmp_path / "faulty.py"
    if text:
        path.write_text(text)
    for _ in range(2):  # a second attempt is one, not a success
        with pytest.raises(UserError, match=words):
            load(path)


def test_an_interrupt_of_the_whole_group_is_left_to_the_parent():
    """A worker must not print a traceback of its own beside what the parent says."""
    before = signal.getsignal(signal.SIGINT)

    class Line:
        def recv(self):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            raise EOFError

    try:
        sweep._worker(Line(), None, None, None, ())
    finally:
        signal.signal(signal.SIGINT, before)
