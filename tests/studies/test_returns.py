"""The verdict on agents, on returns made so that each claim must hold, fail or stay open."""

import json

import duckdb
import numpy as np
import pytest

from neoteny.studies import judge
from neoteny.studies.returns import middle_mean

TASKS = 9
SETTING = {"tasks": TASKS, "setting": {"metric": "online_return"}}


def _tables(tasks=TASKS, fresh=110.0, untrained=10.0, **gains):
    """Seeds of each method that in the last third gain so much, as a share of a fresh agent's."""
    connection = duckdb.connect(":memory:")
    connection.execute(
        "CREATE TABLE runs (study TEXT, stream TEXT, method TEXT, seed INT, config TEXT)"
    )
    connection.execute(
        "CREATE TABLE tasks (study TEXT, stream TEXT, method TEXT, seed INT, task INT, "
        "online_return DOUBLE, fresh_online_return DOUBLE, untrained_return DOUBLE, "
        "final_entropy DOUBLE)"
    )
    for method, shares in gains.items():
        for seed, share in enumerate(shares):
            run = ["s", "x", method, seed]
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?)", [*run, json.dumps(SETTING)]
            )
            for task in range(tasks):
                late = task >= 2 * TASKS // 3
                value = 10 + 100 * share if late else 110
                row = [*run, task, value, fresh, untrained, 0.5]
                connection.execute(f"INSERT INTO tasks VALUES ({', '.join('?' * len(row))})", row)
    return connection


def _outcome(method="bp", **gains):
    claim = "bp loses plasticity" if method == "bp" else f"{method} keeps its plasticity"
    return {v.claim: v for v in judge(_tables(**gains))}[claim]


@pytest.mark.parametrize(
    ("shares", "outcome"),
    [
        ((0.5, 0.52, 0.51), "holds"),
        ((1.0, 1.02, 0.98), "fails"),
        ((0.2, 1.4, 0.9), "undecided"),
        ((0.5,), "undecided"),
        ((0.5, float("nan"), 0.5), "undecided"),
    ],
)
def test_bp_loses_plasticity_where_it_gains_less_than_a_fresh_agent(shares, outcome):
    assert _outcome(bp=shares).outcome == outcome
    opposite = {"holds": "fails", "fails": "holds"}.get(outcome, outcome)
    assert _outcome("l2", l2=shares).outcome == opposite


def test_the_evidence_has_the_score_and_what_is_gained_against_bp():
    said = _outcome("l2_er", bp=(0.5, 0.5, 0.5), l2_er=(0.9, 0.95, 1.0)).evidence
    assert "0.95" in said and "against bp +0.45" in said and "entropy at a task's end 0.50" in said


def test_early_tasks_do_not_count():
    assert "0.50 [0.50, 0.50]" in _outcome(bp=(0.5, 0.5, 0.5)).evidence


def test_lives_that_are_not_whole_leave_it_open():
    (verdict,) = judge(_tables(tasks=8, bp=(0.5, 0.5, 0.5)))
    assert verdict.outcome == "undecided"


def test_where_a_fresh_agent_gains_nothing_there_is_no_score():
    (verdict,) = judge(_tables(fresh=10.0, bp=(0.5, 0.5, 0.5)))
    assert verdict.outcome == "undecided" and "not measured" in verdict.evidence


def test_the_middle_half_leaves_out_what_is_far_away_and_resamples_each_task():
    table = np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 50.0], [1.0, np.nan, 1.0]])
    found = middle_mean(table)
    assert found.mean == 1.0 and found.count == 11
    tasks = np.arange(8.0)[None].repeat(3, 0)  # no seed differs from another
    same = middle_mean(tasks)
    assert same.low == same.mean == same.high == 3.5
