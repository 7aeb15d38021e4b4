"""Learning in the null space: what a life of tasks leaves, and a judge that can fail."""

import numpy as np
import pytest

from neoteny.claims import null_space_dropout as claim
from neoteny.claims import overall
from neoteny.claims.rows import Rows

SMALL = {"side": 8, "rows": 100, "tasks": 3, "widths": [6, 5], "epochs": 1}


@pytest.fixture(scope="module")
def measured():
    return claim.sequence(0, kinds=["sgd", "both"], threshold=0.9, later=0.9, **SMALL)


def test_each_kind_has_a_row_for_each_task(measured):
    kinds = [(row["kind"], row["number"]) for row in measured]
    assert kinds == [(kind, task) for kind in ("sgd", "both") for task in range(3)]
    for row in measured:
        assert ("left_1" in row) == (row["kind"] == "both")
        assert ("overlap_2" in row) == (row["number"] > 0)
        assert 0 <= row["final"] <= 1 and 0 <= row.get("overlap_1", 0) <= 1 + 1e-9
    last = [row for row in measured if row["number"] == 2]
    assert all(row["final"] == row["learnt"] for row in last)


def test_the_null_space_only_ever_gets_smaller(measured):
    rows = Rows(row | {"seed": 0} for row in measured).where(kind="both")
    for layer in (1, 2, 3):
        left = rows[f"left_{layer}"]
        assert np.all(np.diff(left) <= 1e-12) and 0 <= left[-1] <= left[0] < 1


def doctored(**changes):
    """Rows of three seeds and eight tasks as the paper has them, but for some of `both`."""
    kinds = {
        "sgd": {"final": 0.1, "learnt": 0.95},
        "dense": {"final": 0.92, "learnt": 0.96, "left_1": 0.0, "left_2": 0.0, "left_3": 0.2},
        "winners": {"final": 0.92, "learnt": 0.96, "left_1": 0.0, "left_2": 0.3, "left_3": 0.4},
        "both": {"final": 0.94, "learnt": 0.95, "left_1": 0.0, "left_2": 0.1, "left_3": 0.2},
    }
    overlaps = {"sgd": 0.5, "dense": 0.9, "winners": 0.9, "both": 0.8}
    rows = [
        {"seed": seed, "kind": kind, "number": task, "overlap_1": overlaps[kind]}
        | (values | changes if kind == changes.get("kind", "both") else values)
        for seed in range(3)
        for kind, values in kinds.items()
        for task in range(8)
    ]
    return Rows(rows)


def stuck(late=0.3, **changes):
    """As above where `dense` learns the first task and `late` of the others."""
    rows = [dict(row) for row in doctored(**changes)]
    for row in rows:
        if row["kind"] == "dense" and row["number"]:
            row["learnt"] = late
    return Rows(rows)


def judged(permuted=None, raw=None):
    rows = {"permuted-digits": permuted, "raw-digits": raw, "mnist": permuted}
    return claim.judge({part: Rows([]) if one is None else one for part, one in rows.items()})


def test_the_judge_holds_what_the_paper_says():
    findings = judged(doctored(), stuck())
    assert len(findings) == 7 + 3 + 1 and overall(findings) == "holds"
    assert judged() == []


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({"final": 0.89}, 4),  # forgets, more than without, and is less accurate than both others
        ({"overlap_1": 0.89}, 1),
        ({"final": 0.925}, 2),  # forgets more than half, and gains too little over dense
        ({"kind": "sgd", "final": 0.9}, 1),
        ({"kind": "winners", "left_2": 0.05}, 1),
        ({"kind": "winners", "left_3": 0.25}, 1),
    ],
)
def test_the_judge_fails_where_it_is_not_so(changes, failing):
    outcomes = [finding.outcome for finding in judged(doctored(**changes))]
    assert outcomes.count("fails") == failing and outcomes.count("holds") == 8 - failing


def test_learning_that_goes_on_or_room_that_is_left_is_no_exhaustion():
    outcomes = [finding.outcome for finding in judged(raw=stuck(late=0.9))]
    assert outcomes == ["holds", "fails", "fails"]
    left = stuck(kind="dense", left_1=0.1, final=0.9, learnt=0.96)
    assert [finding.outcome for finding in judged(raw=left)] == ["fails", "holds", "holds"]


def test_figures_of_what_there_is(measured):
    own = Rows(row | {"seed": 0} for row in measured)
    rows = {"permuted-digits": own, "raw-digits": own, "mnist": Rows([])}
    digits, exhausted = claim.figures(rows)
    assert len(digits.views[0].panels) == 6 and len(exhausted.views[0].panels) == 2
