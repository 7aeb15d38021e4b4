"""Verdicts on predictors and alarms, of runs whose truth is known."""

import json

import duckdb
import numpy as np
import pytest

from neoteny import studies
from neoteny.errors import UserError
from neoteny.studies import early_warning
from neoteny.studies import what_predicts_plasticity as prediction

METHODS, STREAMS, SEEDS, TASKS = ("bp", "l2", "cbp", "snp"), ("a", "b"), 3, 12
CONFIG = json.dumps({"setting": {"metric": "final_accuracy"}})


def _tables(study, gap, **columns):
    """A store in which each task's gap and measurements are functions of its place."""
    connection = duckdb.connect(config={"threads": 1})
    names = "".join(f', "{name}" DOUBLE' for name in columns)
    connection.execute(
        "CREATE TABLE tasks (study VARCHAR, stream VARCHAR, method VARCHAR, seed BIGINT, "
        "task BIGINT, online_accuracy DOUBLE, fresh_online_accuracy DOUBLE, "
        f"final_accuracy DOUBLE, fresh_accuracy DOUBLE{names})"
    )
    connection.execute(
        "CREATE TABLE runs (study VARCHAR, stream VARCHAR, method VARCHAR, seed BIGINT, "
        "config VARCHAR, status VARCHAR)"
    )
    draw = np.random.default_rng(0)
    for stream in STREAMS:
        for method in METHODS:
            for seed in range(SEEDS):
                connection.execute(
                    "INSERT INTO runs VALUES (?, ?, ?, ?, ?, 'finished')",
                    [study, stream, method, seed, CONFIG],
                )
                for task in range(TASKS):
                    lost = gap(method, task)
                    values = [make(method, task, lost, draw) for make in columns.values()]
                    row = [study, stream, method, seed, task, None, None, 0.5 + lost, 0.5]
                    connection.execute(
                        f"INSERT INTO tasks VALUES ({', '.join('?' * (9 + len(values)))})",
                        row + values,
                    )
    return connection


def _losing(method, task):
    """`bp` and `l2` lose half of their accuracy from task 6 on; others none."""
    rate = {"bp": 1.0, "l2": 0.7}.get(method, 0.0)
    return -0.5 * rate * max(0, task - 5) / 6


perfect = lambda method, task, lost, draw: 100 * np.exp(3 * lost)
noise = lambda method, task, lost, draw: draw.normal()
inverse = lambda method, task, lost, draw: -lost
constant = lambda method, task, lost, draw: 1.0
unknown = lambda method, task, lost, draw: None


@pytest.fixture(scope="module")
def predicted():
    connection = _tables(
        "what-predicts-plasticity",
        _losing,
        ggn_rank_start=perfect,
        hessian_legacy_rank_start=noise,
        weight_norm_start=inverse,
        chance_start=noise,
        fixed_start=constant,
        lost_start=unknown,
        ggn_rank_start_se=perfect,
        dead_start=inverse,
        dead_1_start=perfect,
        ntk_rank_99_start=inverse,
        norm_end=perfect,
    )
    return {verdict.claim: verdict for verdict in studies.judge(connection)}


def test_a_measurement_that_decides_the_gap_predicts_unseen_methods_and_streams(predicted):
    verdict = predicted["`ggn_rank` before a task predicts the gap on it"]
    assert verdict.outcome == "holds"
    assert "rank correlation +1.00" in verdict.evidence
    assert predicted["`weight_norm` before a task predicts the gap on it"].outcome == "holds"


def test_noise_predicts_nothing(predicted):
    assert predicted["`chance` before a task predicts the gap on it"].outcome != "holds"


def test_a_better_predictor_is_said_to_be_better_and_an_equal_one_is_not(predicted):
    (published,) = (v for claim, v in predicted.items() if "published" in claim)
    assert published.outcome == "holds"
    (central,) = (v for claim, v in predicted.items() if claim.startswith("central claim"))
    assert central.outcome != "holds"
    assert "`weight_norm`" in central.evidence


def test_only_whole_network_measurements_from_before_the_task_are_judged(predicted):
    judged = " ".join(predicted)
    for name in ("se`", "dead_1", "norm_end", "fixed", "lost"):
        assert f"{name}" not in judged
    assert "`ntk_rank_99`" in judged


def test_telling_one_stream_from_another_predicts_nothing():
    lost = {"a": -0.3, "b": 0.0}
    connection = _tables("what-predicts-plasticity", _losing, own_start=noise)
    for place, stream in enumerate(STREAMS):
        connection.execute(
            "UPDATE tasks SET final_accuracy = 0.5 + ?, own_start = own_start + ? WHERE stream = ?",
            [lost[stream], 100 * place, stream],
        )
    connection.execute("UPDATE tasks SET final_accuracy = final_accuracy + 0.01 * (task % 3)")
    verdict = studies.judge(connection)[0]
    assert verdict.outcome != "holds"


@pytest.mark.parametrize("kept", ["method = 'bp'", "method = 'bp' AND stream = 'a'"])
def test_of_too_few_methods_or_streams_every_claim_is_undecided_and_says_so(kept):
    connection = _tables(
        "what-predicts-plasticity",
        _losing,
        ggn_rank_start=noise,
        ggn_legacy_rank_start=noise,
        norm_start=noise,
        chance_start=noise,
    )
    connection.execute(f"DELETE FROM tasks WHERE NOT ({kept})")
    verdicts = studies.judge(connection)
    assert [verdict.outcome for verdict in verdicts] == ["undecided"] * 6
    assert all("too few methods" in verdict.evidence for verdict in verdicts)


def test_runs_that_diverged_are_left_out_and_counted():
    connection = _tables("what-predicts-plasticity", _losing, own_start=perfect)
    connection.execute("UPDATE runs SET status = 'diverged' WHERE method = 'snp' AND seed = 0")
    tasks = prediction.gather(connection, "what-predicts-plasticity")
    assert tasks.left_out == 2
    assert len(tasks.gap) == (len(METHODS) * len(STREAMS) * SEEDS - 2) * (TASKS - 1)
    assert "2 runs unfinished or diverged, left out" in studies.judge(connection)[0].evidence


def test_r_squared_is_that_of_predictions_made_without_the_group():
    connection = _tables("what-predicts-plasticity", _losing, own_start=perfect)
    tasks = prediction.gather(connection, "what-predicts-plasticity")
    errors = prediction._errors(tasks, tasks.values["own_start"], tasks.method)
    out = tasks.method == "bp"
    centred = np.array(tasks.gap)
    for stream in STREAMS:
        here = tasks.stream == stream
        centred[here] -= centred[here & ~out].mean()
    np.testing.assert_allclose(errors[1, out], centred[out] ** 2)
    # l2 has lost at most 0.35, and what was never seen is not foretold
    assert errors[0, out].max() == pytest.approx((0.5 - 0.35) ** 2)


def test_an_early_probe_warns_and_a_late_one_does_not():
    losing = ("bp", "l2")
    early = lambda method, task, lost, draw: 80.0 if method in losing and task > 3 else 100.0
    late = lambda method, task, lost, draw: 100.0 - 50 * (lost < -0.2)
    wobble = lambda make: lambda *place: make(*place) * np.exp(0.01 * place[-1].normal())
    connection = _tables("early-warning", _losing, early_start=wobble(early), late_start=late)
    found = {verdict.claim: verdict for verdict in studies.judge(connection)}
    warns = found["`early` warns before accuracy has fallen by five points"]
    assert warns.outcome == "holds"
    assert "alarms when it falls" in warns.evidence
    assert found["`late` warns before accuracy has fallen by five points"].outcome == "fails"


def test_runs_of_one_study_are_judged_by_the_claim_of_another():
    columns = {"own_start": inverse}
    there, here = (
        _tables(name, _losing, **columns) for name in ("what-predicts-plasticity", "early-warning")
    )
    assert studies.judge(there, "early-warning") == studies.judge(here)
    assert studies.judge(there, "what-predicts-plasticity") == studies.judge(there)
    assert studies.judge(there) != studies.judge(here)
    with pytest.raises(UserError, match=r"no study `early`.*`early-warning`"):
        studies.judge(there, "early")


@pytest.mark.parametrize(
    ("gaps", "place"),
    [
        ([0.0, -0.1, 0.0, -0.1, -0.1], 3),
        ([-0.06, -0.06], 0),
        ([0.0, -0.04, -0.049], None),
        ([0.0, 0.0, -0.9], None),
    ],
)
def test_plasticity_is_lost_from_the_first_of_two_low_tasks(gaps, place):
    assert early_warning.onset(np.array(gaps)) == place


def test_without_runs_of_both_kinds_no_alarm_is_judged():
    connection = _tables("early-warning", lambda method, task: 0.0, own_start=noise)
    (verdict,) = studies.judge(connection)
    assert verdict.outcome == "undecided"
    assert "both needed" in verdict.evidence
