"""What a person who waits is told."""

import io

import pytest

import tiny
from neoteny import progress, store, tables
from neoteny.config import Setting
from neoteny.sweep import expand


@pytest.fixture
def told(monkeypatch):
    """What the tasks of the first of some runs write to a terminal, or to none."""

    def tell(runs, values, *, watched=True):
        written = io.StringIO()
        written.isatty = lambda: watched
        monkeypatch.setattr("sys.stderr", written)  # here, for pytest sets it anew for each phase
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("TERM", "xterm")
        with progress.Progress() as bar:
            bar.start(runs)
            for done, value in enumerate(values, start=1):
                bar.task_done(runs[0], done, value)
        return written.getvalue()

    return tell


def test_tasks_are_counted_and_the_last_ones_metric_told(told):
    runs = expand(tiny.study(seeds=2))
    text = told(runs, [0.25, 0.5])
    assert f"2/{2 * runs[0].tasks}" in text
    assert "bp/seed-0 · accuracy 0.5" in text


def test_of_agents_steps_are_counted(told):
    agent = {"seats": 2, "rollout": 50, "iterations": 3}
    acting = Setting.model_validate(
        {"stream": {"environment": "cartpole", "rule": "stationary"}, "agent": agent, "tasks": 4,
         "metric": "final_return"}
    )  # fmt: skip
    study = tiny.study().model_copy(update={"streams": {"poles": acting}, "seeds": 1})
    runs = expand(study)[:1]
    text = told(runs, [20.0, None])
    assert "600/1200" in text
    assert "steps/s" in text
    assert "seed-0 · return 20" in text


def test_nobody_is_told_where_nobody_watches(told):
    assert told(expand(tiny.study()), [0.5], watched=False) == ""


def _row(method, status, done=1, **more):
    row = {"study": "a", "stream": "s", "method": method, "status": status, "tasks_done": done}
    return row | {"tasks_asked": 4, "seconds": 2.0, "reason": None} | more


def test_runs_of_a_method_are_seen_together():
    rows = [_row("bp", "finished", 4), _row("bp", "running"), _row("l2", "failed", seconds=None)]
    first, second = progress.together(rows)
    assert (first["runs"], first["finished"], first["running"]) == (2, 1, 1)
    assert (first["tasks_done"], first["tasks_asked"], first["seconds"]) == (5, 8, 4.0)
    assert (second["stopped"], second["seconds"]) == (1, 0)


def test_studies_are_kept_apart():
    rows = progress.together([_row("bp", "finished"), _row("bp", "finished", study="b")])
    assert [(row["study"], row["runs"]) for row in rows] == [("a", 1), ("b", 1)]


def test_columns_that_tell_nothing_are_left_out():
    rows = [_row("bp", "finished", folder="x"), _row("l2", "failed", folder="y", reason="why")]
    assert list(progress.telling(rows)[0]) == [
        "stream", "method", "status", "tasks_done", "tasks_asked", "seconds", "reason"
    ]  # fmt: skip
    assert "reason" not in progress.telling(rows[:1])[0]


def test_runs_are_followed_until_none_is_running(monkeypatch, tmp_path):
    looks = iter([[_row("bp", "running")], [_row("bp", "running", 2)], [_row("bp", "finished", 4)]])
    monkeypatch.setattr(store, "status", lambda folder: next(looks))
    seen = [rows[0]["tasks_done"] for rows in progress.follow(tmp_path, seconds=0.0)]
    assert seen == [1, 2, 4]


def test_what_is_followed_is_drawn_in_one_place(monkeypatch):
    written = io.StringIO()
    written.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", written)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")

    def looks():
        yield progress.together([_row("bp", "running")])
        raise KeyboardInterrupt

    tables.show(looks())
    assert "bp" in written.getvalue() and "runni" in written.getvalue()
