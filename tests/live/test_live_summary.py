"""What the page is told: which runs are to come, how fast they go, and their curves."""

import numpy as np
import pytest
from growing import add_tasks, open_run, whole

import tiny
from neoteny import api
from neoteny.grid import expand
from neoteny.live.board import Board
from neoteny.live.pace import Pace, Work
from neoteny.live.planned import planned

A, B = ("s", "labels", "bp"), ("s", "labels", "l2")


def test_tasks_are_counted_over_the_last_two_minutes():
    pace = Pace()
    for now in range(0, 300, 2):
        since = max(0, now - 150)  # when they began
        pace.note({A: Work(since, 0.0, 0), B: Work(since // 4, 0.0, 0)}, float(now))
    assert pace.tasks_per_second()[A] == 1.0
    assert pace.tasks_per_second()[B] == pytest.approx(0.25, abs=0.01)


def test_there_is_no_pace_at_first_and_none_when_nothing_happens():
    pace, work = Pace(), {A: Work(0, 0.0, 10)}
    for now in (0.0, 5.0):
        pace.note(work, now)
        assert pace.tasks_per_second() == {}
        assert pace.seconds_left(work) is None
    pace.note(work, 20.0)
    assert pace.tasks_per_second() == {A: 0.0}
    assert pace.seconds_left(work) is None


def test_what_is_left_is_weighed_by_what_its_tasks_cost():
    """A task of A trains 2 seconds, one of B 10; A does one a second: 60 s for 10 of each."""
    pace = Pace()
    pace.note({A: Work(0, 0.0, 30), B: Work(1, 10.0, 10)}, 0.0)
    work = {A: Work(20, 40.0, 10), B: Work(1, 10.0, 10)}
    pace.note(work, 20.0)
    assert pace.seconds_left(work) == pytest.approx(60.0)
    unknown = ("s", "labels", "new")  # taken for one as slow as those on its stream
    assert pace.seconds_left({A: work[A], unknown: Work(0, 0.0, 5)}) == pytest.approx(15.0)


GRIDS = {
    "none": {},
    "for all": {"lr": [0.1, 0.01]},
    "for one": {"l2.weight_decay": [0.1, 0.01]},
    "both": {"lr": [0.1, 0.01], "l2.weight_decay": [0.1, 0.01], "batch": [5, 10]},
}


@pytest.mark.parametrize("axes", GRIDS.values(), ids=GRIDS)
def test_the_runs_to_come_are_those_that_the_sweep_makes(tmp_path, axes):
    study = tiny.study(methods=["bp", "l2"], seeds=2)
    runs, points = expand(study, axes) if axes else api.runs_of(study, None)
    api.remember(study, tmp_path, points)
    assert planned(tmp_path) == {
        (run.study, run.stream, run.method, run.seed): run.tasks for run in runs
    }


@pytest.mark.parametrize("text", ["{", "[]", '{"study": {"name": 5}}', '{"study": {}, "grid": 3}'])
def test_a_study_that_cannot_be_read_plans_nothing(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    assert planned(tmp_path) == {}


def test_a_curve_is_the_mean_of_the_runs_that_have_come_so_far(tmp_path):
    whole(tmp_path, 0.2, 0.4, seed=0)
    whole(tmp_path, 0.4, status="diverged", seed=1)
    whole(tmp_path, 0.9, seed=0, method="l2", metric=None)
    (section,) = Board(tmp_path).answer([0])["sections"]
    (curve,) = section["curves"]
    assert curve == {
        "method": "bp", "task": [0.0, 1.0], "mean": [0.3, 0.4], "low": [0.2, 0.4],
        "high": [0.4, 0.4], "runs": [2, 1],
    }  # fmt: skip
    assert [row["method"] for row in section["methods"]] == ["bp", "l2"]


def test_the_states_of_a_sweep_follow_each_other(tmp_path, impatient):
    out = tmp_path / "out"
    board = Board(out)
    state = lambda: board.answer()["state"]
    assert state() == "absent"
    api.remember(tiny.study(seeds=2, tasks=1), out, {})
    assert state() == "empty"
    with open_run(out, study="tiny", tasks=1) as run:
        add_tasks(run, 0.5)
        assert state() == "running"
        run.finish("finished")
    told = board.answer()
    assert (told["total"]["waiting"], told["total"]["asked"], told["total"]["done"]) == (1, 2, 1)
    assert told["state"] == "running"  # the next begins in a moment
    board._running_at = -np.inf
    assert state() == "idle"
    whole(out, 0.5, study="tiny", tasks=1, seed=1, status="diverged", reason="why")
    told = board.answer()
    assert told["state"] == "done"
    assert told["reasons"]["shown"] == [
        {"folder": "labels/bp/seed-1", "status": "diverged", "reason": "why"}
    ]


def test_runs_that_were_given_up_are_counted_and_explained(tmp_path):
    whole(tmp_path, 0.5, status="pruned", reason="worse than the median")
    told = Board(tmp_path).answer()
    assert (told["state"], told["total"]["pruned"], told["total"]["finished"]) == ("done", 1, 0)
    assert told["reasons"]["shown"] == [
        {"folder": "labels/bp/seed-0", "status": "pruned", "reason": "worse than the median"}
    ]
