"""What a person who waits is told."""

import io

import pytest

import tiny
from neoteny import progress
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
