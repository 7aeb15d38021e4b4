"""The verdict, on tables made so that each claim must hold, fail or stay open."""

import json
import re

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoteny.api import plan
from neoteny.studies import advise, judge, plasticity
from neoteny.sweep import expand

TASKS, CHANCE = 30, 0.1
LOSES = "bp loses plasticity"
FIRST = "bp's spectrum collapses before its accuracy does"


def _ramp(start, end, begins, ends):
    """A quantity that falls in a straight line from `start` to `end` between two tasks."""
    return lambda task: float(np.interp(task, [begins, ends], [start, end]))


steady = lambda value: lambda task: value
collapsing = _ramp(0.9, 0.2, 15, 25)
emptying = _ramp(100.0, 10.0, 3, 12)


def _run(accuracy, fresh=None, rank=None, tasks=TASKS):
    fresh, rank = fresh or steady(0.9), rank or steady(100.0)
    return {"accuracy": accuracy, "fresh": fresh, "rank": rank, "tasks": tasks}


def _tables(*, metric="final_accuracy", spectrum=True, jitter=0.002, **methods):
    """A connection with the tables of `methods`: name to a list of runs, one for each seed."""
    connection = duckdb.connect(":memory:")
    connection.execute(
        "CREATE TABLE runs (study TEXT, stream TEXT, method TEXT, seed BIGINT, config TEXT)"
    )
    rank = ", hessian_rank_start DOUBLE" if spectrum else ""
    connection.execute(
        "CREATE TABLE tasks (study TEXT, stream TEXT, method TEXT, seed BIGINT, task BIGINT, "
        "online_accuracy DOUBLE, final_accuracy DOUBLE, fresh_accuracy DOUBLE, "
        f"fresh_online_accuracy DOUBLE, chance_accuracy DOUBLE{rank})"
    )
    config = json.dumps({"tasks": TASKS, "setting": {"metric": metric}})
    for method, runs in methods.items():
        for seed, run in enumerate(runs):
            connection.execute(
                "INSERT INTO runs VALUES ('a', 's', ?, ?, ?)", [method, seed, config]
            )
            for task in range(run["tasks"]):
                accuracy = run["accuracy"](task) + jitter * seed
                fresh = run["fresh"](task) if task % 5 == 0 else None
                spread = [0.5, accuracy, fresh, None]
                if metric == "online_accuracy":
                    spread = [accuracy, 0.5, None, fresh]
                row = ["a", "s", method, seed, task, *spread, CHANCE]
                row += [run["rank"](task) if task % 3 == 0 else None] if spectrum else []
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO tasks VALUES ({marks})", row)
    return connection


def _verdicts(**methods):
    return {verdict.claim: verdict for verdict in judge(_tables(**methods))}


def _keeps(method):
    return f"{method} keeps accuracy and spectrum"


LOST = [_run(collapsing, rank=emptying)] * 3
KEPT = [_run(steady(0.9))] * 3


@pytest.mark.parametrize("metric", ["final_accuracy", "online_accuracy"])
def test_all_claims_hold_where_all_is_lost_by_one_and_kept_by_the_other(metric):
    found = _verdicts(metric=metric, bp=LOST, l2_er=KEPT)
    assert [verdict.outcome for verdict in found.values()] == ["holds"] * 3
    assert "3 seeds" in found[LOSES].evidence
    # rank 100 -> 10 over tasks 3..12 passes 80 at task 5: first measured at 6. accuracy 0.9 ->
    # 0.2 over tasks 15..25 passes chance + 80 % of the way down from 0.9, 0.74, after task 17
    assert "at task 6.0, accuracy at 18.0" in found[FIRST].evidence
    assert "lead 12.0 tasks" in found[FIRST].evidence
    assert "+70.0 points" in found[_keeps("l2_er")].evidence


def test_all_claims_fail_where_the_opposite_is_seen():
    late = _ramp(100.0, 10.0, 20, 26)
    early = _ramp(0.9, 0.2, 2, 9)
    found = _verdicts(bp=[_run(early, rank=late)] * 3, l2_er=LOST)
    assert found[FIRST].outcome == found[_keeps("l2_er")].outcome == "fails"
    assert _verdicts(bp=KEPT)[LOSES].outcome == "fails"


@pytest.mark.parametrize("loses", ["accuracy", "spectrum"])
def test_a_method_that_loses_either_does_not_keep_both(loses):
    accuracy = collapsing if loses == "accuracy" else steady(0.9)
    rank = emptying if loses == "spectrum" else steady(100.0)
    found = _verdicts(bp=LOST, l2=[_run(accuracy, rank=rank)] * 3)
    assert found[_keeps("l2")].outcome == "fails"


def test_seeds_that_disagree_decide_nothing():
    mixed = [_run(collapsing, rank=emptying), _run(steady(0.9), rank=emptying)] * 2
    found = _verdicts(bp=mixed, l2_er=[_run(collapsing), _run(steady(0.9))] * 2)
    assert {verdict.outcome for verdict in found.values()} == {"undecided"}
    assert "alone fell by 20% in 0, accuracy and the eigenvalue count in 2" in found[FIRST].evidence


def test_one_seed_leaves_all_undecided_and_says_why():
    found = _verdicts(bp=LOST[:1], l2_er=KEPT[:1])
    assert {verdict.outcome for verdict in found.values()} == {"undecided"}
    assert all("nan" not in verdict.evidence for verdict in found.values())
    # fresh networks are met at tasks 20 and 25 of the last third, 35 and 70 points ahead
    assert "-52.5 points [no interval], 1 seed" in found[LOSES].evidence


@pytest.mark.parametrize("missing", ["column", "values"])
def test_without_a_spectrum_accuracy_is_judged_and_the_spectrum_left_open(missing):
    nothing = [run | {"rank": steady(None)} for run in LOST]
    runs = nothing if missing == "values" else LOST
    found = _verdicts(spectrum=missing == "values", bp=runs, l2_er=runs)
    assert found[LOSES].outcome == "holds"
    assert found[FIRST].outcome == "undecided"
    assert "no spectrum measured" in found[FIRST].evidence
    assert "eigenvalues left not measured" in found[_keeps("l2_er")].evidence
    assert found[_keeps("l2_er")].outcome == "fails"  # of accuracy, which is known


def test_without_a_fresh_network_late_in_the_stream_the_gap_is_left_open():
    early = lambda task: 0.9 if task == 0 else None
    found = _verdicts(bp=[_run(collapsing, early)] * 3)
    assert found[LOSES].outcome == "undecided"
    assert "not measured" in found[LOSES].evidence


def test_what_was_not_measured_late_comes_with_what_to_type():
    early = lambda value: lambda task: value if task == 0 else None
    found = _verdicts(bp=[_run(collapsing, early(0.9))] * 3, l2=[_run(collapsing, rank=early(9.0))])
    assert "not measured (`--set probes.fresh_every=3` under a new" in found[LOSES].evidence
    assert "left not measured (`--set probes.spectrum_every=3`" in found[_keeps("l2")].evidence
    cut = _verdicts(bp=[_run(collapsing, early(0.9), tasks=4)] * 3)
    assert "--set" not in cut[LOSES].evidence


def test_what_too_few_steps_could_not_tell_comes_with_how_to_count_it():
    early = lambda task: 9.0 if task == 0 else None
    connection = _tables(bp=LOST, l2=[_run(collapsing, rank=early)] * 2)
    connection.execute("ALTER TABLE tasks ADD COLUMN hessian_max_start DOUBLE DEFAULT 1.0")
    found = {verdict.claim: verdict for verdict in judge(connection)}
    assert "few Lanczos steps do not tell it" in found[_keeps("l2")].evidence
    assert "probes.ggn_route=gram" in found[_keeps("l2")].evidence


@given(tasks=st.integers(1, 500), every=st.integers(1, 500))
def test_a_cadence_is_too_seldom_if_it_meets_no_task_of_the_last_third(tasks, every):
    met = any(task % every == 0 for task in range(2 * tasks // 3, tasks))
    assert plasticity.seldom(tasks, every) == (not met)
    assert not plasticity.seldom(tasks, plasticity.cadence(tasks))


def test_a_study_made_too_short_for_its_cadences_is_told_what_to_set():
    short = plan("spectral-collapse-digits", changes={"tasks": 20})
    (sentence,) = advise(expand(short))
    assert "`permuted-pixels` would not measure a fresh network nor a spectrum" in sentence
    typed = re.findall(r"`--set (\S+)=(\d+)`", sentence)
    assert len(typed) == 2
    assert advise(expand(plan(short, changes=dict(typed)))) == []
    assert advise(expand(plan("spectral-collapse-digits"))) == []
    assert advise(expand(plan(short, changes={f: 0 for f, _ in typed}))) == []


def test_a_run_that_diverged_early_is_counted_and_decides_nothing():
    broken = [*LOST[:2], _run(collapsing, rank=emptying, tasks=4)]
    found = _verdicts(bp=broken, l2_er=[*KEPT[:2], _run(steady(0.9), tasks=4)])
    assert {verdict.outcome for verdict in found.values()} == {"undecided"}
    assert "3 seeds, 1 of them without all tasks" in found[LOSES].evidence


def test_values_that_are_no_numbers_decide_nothing_and_break_nothing():
    undefined = lambda task: float("nan")
    found = _verdicts(bp=[_run(undefined, rank=undefined)] * 3, l2=[_run(undefined)] * 3)
    assert {verdict.outcome for verdict in found.values()} == {"undecided"}


def test_noise_in_a_single_task_is_no_onset():
    dip = lambda task: 0.2 if task in (7, 29) else 0.9
    found = _verdicts(bp=[_run(dip, rank=emptying)] * 3)
    assert found[FIRST].outcome == "undecided"
    assert "accuracy and the eigenvalue count in 0" in found[FIRST].evidence


def test_a_network_that_starts_at_chance_cannot_fall():
    found = _verdicts(bp=[_run(steady(0.05), rank=emptying)] * 3)
    assert found[FIRST].outcome == "undecided"


def test_accuracy_that_falls_under_a_spectrum_that_stays_refutes_the_order():
    found = _verdicts(bp=[_run(collapsing)] * 3)
    assert found[FIRST].outcome == "fails"
    assert "of 3 seeds, accuracy alone fell by 20% in 3" in found[FIRST].evidence
    assert _verdicts(bp=[_run(collapsing)])[FIRST].outcome == "undecided"


def test_a_fall_is_seen_from_the_peak_even_if_it_ends_above_the_first_value():
    swelling = lambda task: float(np.interp(task, [0, 6, 12], [50.0, 200.0, 100.0]))
    found = _verdicts(bp=[_run(collapsing, rank=swelling)] * 3)
    assert found[FIRST].outcome == "holds"
    assert "at task 9.0, accuracy at 18.0" in found[FIRST].evidence


def test_methods_with_other_seeds_than_bp_are_compared_on_the_common_ones():
    found = _verdicts(jitter=0.0, bp=LOST, l2=[*KEPT, *KEPT])
    assert "against bp +70.0 points [+70.0, +70.0], 6 seeds" in found[_keeps("l2")].evidence


def test_methods_alone_are_judged_without_the_control_and_l2_er_comes_first():
    claims = [verdict.claim for verdict in judge(_tables(er=KEPT, l2_er=KEPT))]
    assert claims == [_keeps("l2_er"), _keeps("er")]
    assert judge(_tables()) == []


def test_a_spectrum_that_was_not_measured_late_is_not_called_kept():
    early = lambda task: 100.0 if task < 6 else None
    found = _verdicts(bp=LOST, l2=[_run(steady(0.9), rank=early)] * 3)
    assert found[_keeps("l2")].outcome == "undecided"
    assert "eigenvalues left not measured" in found[_keeps("l2")].evidence


def test_lives_cut_short_do_not_decide_what_falls_first():
    short = [_run(_ramp(0.9, 0.2, 5, 8), rank=_ramp(100.0, 10.0, 0, 4), tasks=16)] * 3
    found = _verdicts(bp=short)
    assert found[FIRST].outcome == "undecided"
    assert "lead" in found[FIRST].evidence


def test_studies_below_one_folder_are_judged_apart():
    connection = _tables(bp=LOST, l2_er=KEPT)
    for table in ("runs", "tasks"):
        connection.execute(f"INSERT INTO {table} SELECT * REPLACE ('b' AS study) FROM {table}")
    streams = [verdict.stream for verdict in judge(connection)]
    assert streams == ["a: s"] * 3 + ["b: s"] * 3
