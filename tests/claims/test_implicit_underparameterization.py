"""Fitted values: the kernel recursion, the grid world's true values, and what would refute it."""

import numpy as np
import pytest

from neoteny.claims import Rows
from neoteny.claims.implicit_underparameterization import (
    DISCOUNT,
    SIDE,
    _grid,
    fitted_q,
    judge,
    kernel,
)


def made(own, true, rounds, penalties):
    """Rows of three seeds whose ranks end at these, a little apart."""
    row = lambda seed, end, **which: [
        {"seed": seed, "step": step, "srank": rank + seed / 10, "error": 0.01, **which}
        for step, rank in ((0, 57), (100, end))
    ]
    seeds = (0, 1, 2)
    return {
        "kernel": kernel(0),
        "fitted-q": [
            one
            for seed in seeds
            for targets, end in (("own", own), ("true", true))
            for one in row(seed, end, targets=targets)
        ],
        "rounds": [
            one
            for seed in seeds
            for inner, end in rounds.items()
            for one in row(seed, end * (1 + seed / 100), inner=inner, targets="own")
        ],
        "penalties": [
            one
            for seed in seeds
            for (name, strength), end in ({("none", 0.0): 30} | penalties).items()
            for one in row(seed, end, penalty=name, strength=strength)
        ],
    }


def outcomes(measured):
    return [finding.outcome for finding in judge({k: Rows(v) for k, v in measured.items()})]


def test_what_is_claimed_holds_where_it_is_seen_and_fails_where_the_opposite_is():
    kept = {("srank", 1e-3): 40, ("srank", 1e-4): 20, ("er", 1e-3): 50}
    assert outcomes(made(30, 45, {10: 30, 100: 50}, kept)) == ["holds"] * 7
    lost = {("srank", 1e-3): 20, ("er", 1e-3): 10}
    spoilt = made(45, 30, {10: 50, 100: 30}, lost)
    spoilt["kernel"] = [row | {"srank": 100 - row["srank"]} for row in spoilt["kernel"]]
    assert outcomes(spoilt) == ["fails", "fails", "holds", *["fails"] * 4]


@pytest.mark.parametrize("discount", [0.99, 0.0])
def test_the_recursion_is_fitted_value_iteration(discount):
    """Of Gaussian kernel ridge regression onto `r + g P Q`, written out with any rewards."""
    rounds, width, ridge = 6, 0.15, 0.1
    places = np.array([(x, y) for x in range(SIDE) for y in range(SIDE)]) / (SIDE - 1)
    gram = np.exp(-((places[:, None] - places[None]) ** 2).sum(-1) / (2 * width**2))
    chain = np.zeros_like(gram)
    for state in range(SIDE**2):
        for place in _grid()[0][state]:
            chain[state, place] += 0.25
    np.testing.assert_allclose(chain.sum(1), 1.0)
    fit = lambda targets: gram @ np.linalg.solve(ridge * np.eye(len(gram)) + gram, targets)
    basis = np.eye(len(gram))  # as many rewards as states
    values = fit(basis)
    for _ in range(rounds - 1):
        values = fit(basis + discount * chain @ values)
    singular = np.linalg.svd(values, compute_uv=False)
    expected = 1 + np.sum(np.cumsum(singular) / singular.sum() < 0.99)
    (row,) = [
        row for row in kernel(0, rounds=[rounds], discounts=[discount]) if row["round"] == rounds
    ]
    assert row["srank"] == expected


def test_true_values_solve_bellmans_equation():
    after, rewards, values = _grid()
    np.testing.assert_allclose(values, rewards + DISCOUNT * values.max(1)[after], atol=1e-12)
    assert rewards.max() == 1.0 and after[0, 1] == 0  # a wall is stayed at


def test_networks_are_told_at_each_look_and_approach_the_true_values():
    rows = Rows(fitted_q(0, steps=400, looks=2, penalties={"er": [1e-3]}))
    assert len(rows) == 9 and rows.values("step") == [0, 200, 400]
    fixed = rows.where(targets="true")["error"]
    assert fixed[-1] < 0.1 * fixed[0]
    assert len(rows.where(penalty="er")) == 3 and (rows["srank"] >= 1).all()
