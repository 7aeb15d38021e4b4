"""Spectral regularisation beside its rivals: lives on digits, and what would refute the claim."""

import numpy as np

from neoteny.claims import Rows
from neoteny.claims.spectral_regularization import judge, regularised

TASKS = 12


def lives(ends, seeds=(0, 1, 2)):
    """Accuracies that go from the first number to the second, and singular values the other way."""
    return [
        {"seed": seed, "by": by, "strength": strength, "task_number": task, "dead": 0.0,
         "accuracy": first + (last - first) * task / (TASKS - 1) + seed / 1000,
         "sigma": 10 - 9 * last}
        for seed in seeds
        for (by, strength), (first, last) in ends.items()
        for task in range(TASKS)
    ]  # fmt: skip


def outcomes(ends):
    rows = {"random-labels": Rows(lives(ends)), "permuted-pixels": Rows(lives(ends))}
    empty = dict.fromkeys(("incremental-classes", "convnet", "resnet"), Rows([]))
    return [finding.outcome for finding in judge(rows | empty)]


def test_what_is_claimed_holds_where_it_is_seen_and_fails_where_the_opposite_is():
    seen = {
        ("bp", 0.0): (0.7, 0.1),
        ("spectral", 1e-3): (0.99, 0.97),
        ("spectral", 1e-2): (0.99, 0.98),
        ("l2", 1e-3): (0.99, 0.7),
        ("l2", 1e-2): (0.9, 0.2),
    }
    assert outcomes(seen) == ["holds"] * 7
    opposite = {
        ("bp", 0.0): (0.7, 0.99),
        ("spectral", 1e-3): (0.9, 0.5),
        ("spectral", 1e-2): (0.9, 0.1),
        ("l2", 1e-3): (0.99, 0.98),
        ("l2", 1e-2): (0.99, 0.97),
    }
    assert outcomes(opposite) == ["fails"] * 5 + ["holds", "fails"]


def test_one_strength_says_nothing_of_sensitivity():
    few = {("bp", 0.0): (0.7, 0.1), ("spectral", 1e-2): (1, 1), ("l2", 1e-3): (1, 0.7)}
    assert len(outcomes(few)) == len(outcomes(few | {("l2", 1e-2): (1, 0.2)})) == 6


def test_each_method_lives_through_the_same_tasks_and_the_regulariser_holds_singular_values():
    options = {"methods": {"spectral": [0.1]}, "tasks": 2, "epochs": 5, "rows": 100}
    rows = Rows(regularised(0, **options))
    assert rows.values("by") == ["bp", "spectral"] and len(rows) == 4
    plain, held = (rows.where(by=by, task_number=1)["sigma"] for by in ("bp", "spectral"))
    assert held < plain and np.all(rows["accuracy"] > 0)
    again = Rows(regularised(0, **options))
    np.testing.assert_array_equal(again["accuracy"], rows["accuracy"])


def test_classes_that_come_in_stages_are_learnt_by_their_rows_alone():
    rows = Rows(
        regularised(0, methods={}, stream="incremental-classes", tasks=2, epochs=3, rows=200)
    )
    assert len(rows) == 2 and np.all(rows["accuracy"] > 0.3)
