"""The comparison with a published table, on runs made so that each claim must hold or fail."""

import json

import duckdb
import pytest

from neoteny.studies import COMPARED, judge, published
from neoteny.studies.published import Published

TASKS = 20
TABLE = Published(
    "heldout_accuracy",
    800,
    {"l2_er": (0.9, 0.9), "er": (0.9, 0.6), "bp": (0.9, 0.6)},
    "permuted-pixels",
    "mnist",
)


def _tables(*, study="s", tasks=TASKS, dataset="mnist", **last):
    """Runs that begin at 0.9 and end each seed at the values of `last`, by method."""
    connection = duckdb.connect(":memory:")
    connection.execute(
        "CREATE TABLE runs (study TEXT, stream TEXT, method TEXT, seed INT, config TEXT)"
    )
    connection.execute(
        "CREATE TABLE tasks (study TEXT, stream TEXT, method TEXT, seed INT, task INT, "
        "heldout_accuracy DOUBLE, online_accuracy DOUBLE, fresh_heldout_accuracy DOUBLE, "
        "fresh_online_accuracy DOUBLE, chance_accuracy DOUBLE)"
    )
    stream = {"rule": "permuted-pixels", "dataset": dataset}
    setting = {"metric": "heldout_accuracy", "stream": stream}
    config = json.dumps({"tasks": TASKS, "setting": setting})
    for method, ends in last.items():
        for seed, end in enumerate(ends):
            run = [study, "x", method, seed]
            connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", [*run, config])
            for task in range(tasks):
                value = 0.9 if task < TASKS / 2 else end
                row = [*run, task, value, 0.1, 0.9, 0.9, 0.1]
                connection.execute(f"INSERT INTO tasks VALUES ({', '.join('?' * len(row))})", row)
    return connection


def _outcomes(**last):
    return {v.claim: v.outcome for v in published.judge(_tables(**last), "s", TABLE)}


def _of(method, ends, bp=(0.5, 0.52, 0.51)):
    word = "above" if "l2_er" in method else "level with"
    return _outcomes(bp=bp, **{method: ends})[f"as published, {method} ends {word} bp"]


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ((0.6, 0.62, 0.61), "holds"),
        ((0.4, 0.42, 0.41), "fails"),
        ((0.4, 0.62, 0.51), "undecided"),
        ((0.6,), "undecided"),  # one seed has no interval
    ],
)
def test_a_published_lead_holds_where_the_whole_interval_lies_on_its_side(ends, outcome):
    assert _of("l2_er", ends) == outcome


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ((0.501, 0.519, 0.51), "holds"),
        ((0.6, 0.62, 0.61), "fails"),
        ((0.4, 0.42, 0.41), "fails"),
        ((0.4, 0.62, 0.51), "undecided"),
    ],
)
def test_published_as_level_holds_within_two_points_and_fails_beyond(ends, outcome):
    assert _of("er", ends) == outcome


def test_a_rival_that_the_table_leaves_out_can_beat_the_best_of_it():
    best = "l2_er ends above every other method"
    assert _outcomes(l2_er=(0.8, 0.81, 0.82), bp=(0.5, 0.51, 0.52))[best] == "holds"
    rival = {"spectral": (0.85, 0.86, 0.87)}
    found = _outcomes(l2_er=(0.8, 0.81, 0.82), bp=(0.5, 0.51, 0.52), **rival)
    assert found[best] == "fails"
    # the yardstick is no competitor
    reset = {"reset": (0.85, 0.86, 0.87)}
    assert _outcomes(l2_er=(0.8, 0.81, 0.82), bp=(0.5, 0.51, 0.52), **reset)[best] == "holds"


def test_the_evidence_has_both_tables_and_both_orders():
    found = published.judge(_tables(bp=(0.5, 0.51), l2_er=(0.8, 0.81), er=(0.7, 0.71)), "s", TABLE)
    lead = next(v for v in found if v.claim.startswith("as published, l2_er"))
    assert "published 0.900 to 0.900 against 0.900 to 0.600 over 800 tasks (+30.0" in lead.evidence
    assert "here 0.900 to 0.805 against 0.900 to 0.505: +30.0 points" in lead.evidence
    assert "order here l2_er > er > bp, published l2_er > er > bp" in found[-1].evidence


def test_the_papers_own_continual_backprop_is_compared_with_its_row():
    table = TABLE._replace(ends=TABLE.ends | {"cbp": (0.9, 0.8)})
    found = published.judge(_tables(bp=(0.5, 0.51), published_cbp=(0.8, 0.81)), "s", table)
    assert [v.claim for v in found] == ["as published, published_cbp ends above bp"]


def test_runs_of_another_data_set_than_the_published_ones_say_so_in_every_verdict():
    ends = {"bp": (0.5, 0.51), "l2_er": (0.8, 0.81)}
    same = published.judge(_tables(**ends), "s", TABLE)
    other = published.judge(_tables(dataset="digits", **ends), "s", TABLE)
    said = "; but these runs learnt permuted-pixels of digits, and the published ones "
    said += "permuted-pixels of mnist: another problem"
    assert [v.evidence for v in other] == [v.evidence + said for v in same]
    assert [v.outcome for v in other] == [v.outcome for v in same]


def test_runs_that_are_not_done_leave_the_comparison_open():
    found = published.judge(_tables(tasks=TASKS - 1, bp=(0.5, 0.5), l2_er=(0.8, 0.8)), "s", TABLE)
    assert {v.outcome for v in found} == {"undecided"}
    assert "nan" not in found[0].evidence


def test_a_study_with_a_published_table_is_judged_on_plasticity_as_well():
    found = judge(_tables(study="continual-imagenet", bp=(0.5, 0.51), l2_er=(0.8, 0.81)))
    claims = [verdict.claim for verdict in found]
    assert "bp loses plasticity" in claims
    assert "as published, l2_er ends above bp" in claims
    assert {name for name in COMPARED if name.startswith("continual")} == {
        "continual-imagenet",
        "continual-imagenet-smoke",
        "continual-imagenet-paper",
        "continual-imagenet-published",
        "continual-imagenet-smoke-published",
        "continual-imagenet-paper-published",
    }
    by_claim = judge(_tables(bp=(0.5, 0.51), l2_er=(0.8, 0.81)), "continual-imagenet")
    assert [verdict.claim for verdict in by_claim] == claims
