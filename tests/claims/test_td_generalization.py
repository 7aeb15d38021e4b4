"""Temporal differences: exact dynamics, returns of the car's walks, and what would refute it."""

import jax
import numpy as np
import pytest

from neoteny.claims import Rows, td_generalization
from neoteny.claims.td_generalization import DISCOUNT, judge, mountain_car, tabular

RANKS = {"td": (15, 24, 30), "mc": (15, 20, 29), "policy": (15, 16, 17)}


@pytest.fixture(scope="module")
def measured():
    walks = [{"seed": seed} | row for seed in (0, 1) for row in tabular(seed)]
    nets = [
        {"seed": seed, "target": target, "step": step, "update_rank": rank + seed / 10}
        for seed in (0, 1, 2)
        for target, ranks in {
            "td": (15, 24, 30),
            "mc": (15, 20, 29),
            "policy": (15, 16, 17),
        }.items()
        for step, rank in zip((0, 250, 1500), ranks, strict=True)
    ]
    told = {"noise": 0.1, "agreement": 0.9, "teacher": 0.6}
    acts = [told | {"seed": seed, "student": 0.8 + seed / 99} for seed in (0, 1, 2)]
    return {"tabular": walks, "generalisation": nets, "distillation": acts}


def outcomes(measured):
    return [finding.outcome for finding in judge({k: Rows(v) for k, v in measured.items()})]


def test_what_is_claimed_holds_where_it_is_seen(measured):
    assert outcomes(measured) == ["holds"] * 8


def test_and_fails_where_the_opposite_is(measured):
    nets = [row | {"update_rank": 40 - row["update_rank"]} for row in measured["generalisation"]]
    acts = [row | {"student": 0.5 - row["seed"] / 99} for row in measured["distillation"]]
    table = [row | {"error": 1.0} for row in measured["tabular"]]
    spoilt = {"tabular": table, "generalisation": nets, "distillation": acts}
    assert outcomes(spoilt) == ["holds", "holds", *["fails"] * 6]


def test_simulated_fractions_are_those_of_the_closed_form(measured):
    rows = Rows(measured["tabular"])
    assert rows["error"].max() < 1e-10
    late = rows.where(target="td", step=60)
    assert (late["rough"] > 0.99).all() and (late["smooth"] < 0.5).all()


def test_returns_are_the_discounted_rewards_that_follow():
    walks = jax.tree.map(np.asarray, mountain_car(jax.random.key(0), 6, 120))
    shape = (120, 6)
    rewards, going, returns = (
        array.reshape(shape) for array in (walks.rewards, walks.going, walks.returns)
    )
    for walk in range(6):
        total = rewards[-1, walk] / (1 - DISCOUNT) * going[-1, walk]
        for step in reversed(range(120)):
            total = rewards[step, walk] + DISCOUNT * total * going[step, walk]
            np.testing.assert_allclose(returns[step, walk], total, rtol=1e-6)
    np.testing.assert_array_equal(  # a state is where the last one led to
        walks.states.reshape(*shape, 2)[1:], walks.after.reshape(*shape, 2)[:-1]
    )


def test_networks_are_looked_at_before_and_while_they_learn():
    rows = Rows(td_generalization.generalisation(0, width=8, looks=[0, 20]))
    assert len(rows) == 6 and np.isfinite(rows["update_rank"]).all()
    first, second = rows.where(target="td")["update_rank"]
    assert 1 <= first <= 100 and 1 <= second <= 100
    (row,) = td_generalization.distillation(0, steps=20, width=8, noises=[0.1])
    assert 0 <= row["teacher"] <= 1 and 0 <= row["student"] <= 1
