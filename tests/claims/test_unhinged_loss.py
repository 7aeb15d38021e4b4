"""The unhinged loss: its descent is that of the loss itself, and its judge sees what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import losses
from neoteny.claims import unhinged_loss as claim
from neoteny.claims.rows import Rows

SMALL = {"classes": 3, "units": 5, "each": 4}


def test_a_step_descends_the_mean_unhinged_loss_with_decay():
    state, rate, decay, ratio = claim.Peeled(0, 3, 5, 4), 0.3, 0.1, 2.0
    before = jnp.array(state.weights), jnp.array(state.features)

    def objective(weights, features):
        logits = (weights @ features).T
        mean = losses.unhinged(logits, jnp.array(state.labels)).mean()
        return mean + decay / 2 * (jnp.sum(weights**2) + jnp.sum(features**2))

    slopes = jax.grad(objective, (0, 1))(*before)
    state.step(rate, decay, ratio)
    np.testing.assert_allclose(state.weights, before[0] - rate * slopes[0], rtol=1e-12)
    np.testing.assert_allclose(state.features, before[1] - ratio * rate * slopes[1], rtol=1e-12)


def test_the_closed_form_holds_for_few_classes_and_grows_only_without_much_decay():
    rows = claim.closed_form(0, steps=40, **SMALL)
    assert max(row["weights_error"] for row in rows) < 1e-12
    assert max(row["features_error"] for row in rows) < 1e-12
    assert all((row["decay_over_growth"] > 1) == (row["growth"] < 1) for row in rows)
    (rescaled,) = [row for row in rows if row["ratio"] != 1]
    assert rescaled["balance"] == pytest.approx(1, rel=1e-3)


def test_the_limit_is_that_of_the_start_and_two_starts_have_two():
    gaps = [claim.limit(seed, units=[6], steps=40, rate=10.0, each=4)[0] for seed in range(2)]
    for row in gaps:
        np.testing.assert_allclose([row["gap"], row["gap_later"]], row["from_start"], rtol=1e-6)
    assert abs(gaps[0]["gap"] - gaps[1]["gap"]) > 1e-3


def test_nc1_is_the_ratio_of_variances_of_the_probe():
    from neoteny.probes import class_geometry

    state = claim.Peeled(1, 3, 5, 4)
    features, weights = jnp.array(state.features.T), jnp.array(state.weights.T)
    found = class_geometry(features, jnp.array(state.labels), weights)
    between = found.within_between * state.rows / state.classes / state.each
    np.testing.assert_allclose(state.collapse(), between, rtol=1e-12)


def test_logits_leave_the_straight_line_little_by_little():
    rows = Rows(claim.linear_growth(0, widths=[32], heads=["trained"], rows=50, steps=5))
    assert (np.diff(rows["error"]) > 0).all() and rows["error"][0] < 0.1


def test_networks_are_chosen_by_rows_that_they_do_not_learn_from():
    rows = claim.network(0, rates=[0.1, 0.5], variants=[claim.BEST], epochs=1)
    (best,) = claim.chosen(Rows(row | {"seed": 0} for row in rows), claim.BEST)
    assert best["checked"] == max(row["checked"] for row in rows) > 0.3


def measured(**doctored):
    """Small measurements of all parts, with columns of one part set to other values."""
    rows = {
        "closed-form": claim.closed_form(0, steps=40, **SMALL),
        "collapse": claim.collapse(0, steps=100, every=10, **SMALL),
        "limit": [
            {"units": units} | dict.fromkeys(("gap", "gap_later", "from_start"), units**-0.5)
            for units in (16, 64)
        ],
        "sphere": claim.sphere(0, rates=[0.05, 0.01], time=4.0, classes=4, each=5),
        "fixed-head": claim.fixed_head(0, steps=30, classes=4, units=8, each=5),
        "network": [
            {"variant": name, "rate": 0.1, "checked": 0.9, "test": 0.97 - place / 100,
             "within_between": 0.4 - place / 4}
            for place, name in enumerate([claim.PLAIN, claim.BEST])
        ],
        "linear-growth": [
            {"head": "trained", "width": width, "growth": growth, "error": growth / width}
            for width in (32, 128) for growth in claim.GROWTHS
        ],
    }  # fmt: skip
    for part, columns in doctored.items():
        part = part.replace("_", "-")
        rows[part] = [row | {k: f(row) for k, f in columns.items()} for row in rows[part]]
    by_chance = ("limit", "sphere", "network", "linear-growth")
    return {
        part: Rows(
            row | {"seed": s} for s in ((0, 1) if part in by_chance else (0,)) for row in own
        )
        for part, own in rows.items()
    }


@pytest.mark.parametrize(
    ("part", "columns"),
    [
        ("closed_form", {"features_error": lambda row: 1e-6}),
        ("closed_form", {"growth": lambda row: 2.0}),
        ("collapse", {"nc1": lambda row: 1.1 * row["nc1"]}),
        ("collapse", {"nc1": lambda row: row["nc1"] ** 0.9}),
        ("collapse", {"alignment": lambda row: 0.99}),
        ("limit", {"gap": lambda row: 0.1}),
        ("limit", {"gap_later": lambda row: row["gap"] / 2}),
        ("sphere", {"error_over_rate": lambda row: 0.3}),
        ("fixed_head", {"spread": lambda row: 0.5}),
        ("network", {"test": lambda row: 0.9 if row["variant"] == claim.BEST else 0.97}),
        ("network", {"within_between": lambda row: 0.5 if row["variant"] == claim.BEST else 0.4}),
        ("linear_growth", {"error": lambda row: 0.2}),
    ],
)
def test_the_judge_fails_what_is_not_as_said(part, columns):
    found = claim.judge(measured(**{part: columns}))
    assert "fails" in {one.outcome for one in found if one.part == part.replace("_", "-")}


def test_the_judge_holds_what_is_as_said():
    assert {one.outcome for one in claim.judge(measured())} == {"holds"}


def test_the_figures_draw_what_there_is():
    assert [drawn.name for drawn in claim.figures(measured())] == [
        "free-features", "networks", "linear-growth"
    ]  # fmt: skip
