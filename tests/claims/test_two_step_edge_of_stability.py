"""Orbits of two steps: what is measured is gradient descent, and the judge sees what is wrong."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.claims import two_step_edge_of_stability as claim
from neoteny.claims.rows import Rows


def test_the_orbit_is_left_and_found_again_by_one_step():
    low, high = claim.orbit(1.1)
    step = lambda x: x - 1.1 * (x * x - 1) * x
    np.testing.assert_allclose([step(low), step(high)], [high, low], rtol=1e-14)


def test_sharpness_is_measured_in_float64_and_is_that_of_the_dense_hessian():
    matrix = np.random.default_rng(0).normal(size=(5, 5))
    found = claim.sharpest(quadratic, np.ones(5), matrix)
    largest = np.linalg.eigvalsh(matrix @ matrix.T)[-1]
    np.testing.assert_allclose(found, largest, rtol=1e-12)


def quadratic(x, matrix):
    return jnp.sum((x @ matrix) ** 2) / 2


def test_the_multiplier_of_the_orbit_is_that_of_the_closed_form():
    for k in (1.08, 1.15, 1.22):
        assert claim._multiplier(k) == pytest.approx(9 - 2 * (1 + k) ** 2, abs=1e-9)


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_neurons_gradient_is_that_of_its_mean_loss(dimension):
    rng = np.random.default_rng(0)
    w, v = np.array([0.7, 0.4, 0.0][:dimension]), 1.3
    points = claim._circle(20_000) if dimension == 2 else rng.normal(size=(400_000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    slope = jax.grad(claim._neuron_loss) if dimension == 2 else None
    exact, along_v = claim._expected_slope(dimension, w, v)
    averaged, other_v = claim._averaged_slope(points, w, v)
    tolerance = 5e-5 if dimension == 2 else 3e-3  # of one angle in a jump, or of drawn points
    np.testing.assert_allclose([*averaged, other_v], [*exact, along_v], atol=tolerance)
    if slope:
        found = slope(jnp.array([*w, v]), points)
        np.testing.assert_allclose(found, [*averaged, other_v], atol=1e-12)


def test_a_symmetric_matrix_is_descended_by_its_gradient():
    target = np.array([1.0, 0.5, 0.2])
    x = np.random.default_rng(1).normal(size=(3, 3))
    slope = jax.grad(partial(claim._one_matrix, target=target))(jnp.array(x))
    np.testing.assert_allclose(slope, (x @ x.T - np.diag(target)) @ x, rtol=1e-12)
    both = jax.grad(partial(claim._two_matrices, target=target))((jnp.array(x), jnp.array(2 * x)))
    rest = 2 * x @ x.T - np.diag(target)
    np.testing.assert_allclose(both[0], rest @ (2 * x), rtol=1e-12)
    np.testing.assert_allclose(both[1], rest.T @ x, rtol=1e-12)


def test_periods_are_told_apart():
    rows = Rows(claim.scalar_orbit(0, rates=[0.95, 1.1, 1.25], starts=20, steps=2000))
    assert list(rows["period_1"]) == [1, 0, 0] and list(rows["period_2"]) == [0, 1, 0]
    assert rows["period_4"][2] == 1 and rows["error"][1] < 1e-9


def test_a_network_is_measured_at_the_same_times_by_all_steps():
    (case, *_) = claim.NETWORKS
    rows = Rows(claim.network(0, factors=[0.5, 1.0], cases=[case], rows=20, looks=3, every=2))
    slow, fast = rows.where(factor=0.5), rows.where(factor=1.0)
    assert list(slow["step"]) == list(fast["step"]) == [0, 2, 4]
    np.testing.assert_allclose([slow["edge"][0], fast["edge"][0]], [0.5, 1.0], rtol=1e-5)
    assert slow["imbalance"][0] == fast["imbalance"][0] == pytest.approx(1)
    assert fast["loss"][-1] < fast["loss"][0]


@cache
def parts():
    return {
        "scalar-orbit": claim.scalar_orbit(
            0, rates=[0.95, 1.1, 1.2375, 1.25], starts=10, steps=6000
        ),
        "stable-range": claim.stable_range(0),
        "two-factors": claim.two_factors(0, rates=[1.1, 1.3], steps=2000),
        "condition": claim.condition(0, steps=8000),
        "matrices": claim.matrices(0, rates=[0.9, 1.1], scales=[1.0], steps=1000),
        "neuron": claim.neuron(0, rates=[0.8, 1.1], dimensions=[2], steps=400, angles=400),
        "network": [
            {"case": case, "factor": factor, "step": step, "loss": 0.1, "edge": 1.0,
             "imbalance": 1.0 if factor < 1 else 0.5}
            for case in claim.NETWORKS for factor in (0.1, 1.5) for step in (0, 10)
        ],
    }  # fmt: skip


def measured(part="", **columns):
    """Small measurements of all parts, with columns of one part set to other values."""
    rows = dict(parts())
    if part:
        rows[part] = [
            row | {name: f(row) for name, f in columns.items() if row.get(name) is not None}
            for row in rows[part]
        ]
    seeds = {part: (0, 1) if part == "network" else (0,) for part in rows}
    return {
        part: Rows(row | {"seed": seed} for seed in seeds[part] for row in own)
        for part, own in rows.items()
    }


def test_the_judge_holds_what_is_as_said():
    assert [one.said() for one in claim.judge(measured()) if one.outcome != "holds"] == []


@pytest.mark.parametrize(
    ("part", "columns"),
    [
        ("scalar-orbit", {"period_2": lambda row: 0.995 * row["period_2"]}),
        ("scalar-orbit", {"error": lambda row: 1e-3}),
        ("scalar-orbit", {"multiplier": lambda row: row["multiplier"] + 0.01}),
        ("scalar-orbit", {"edge": lambda row: 1.01 * row["edge"]}),
        ("stable-range", {"k": lambda row: row["k"] + 0.001}),
        ("two-factors", {"factor": lambda row: row["factor"] + 0.01}),
        ("two-factors", {"apart": lambda row: 1e-3}),
        ("two-factors", {"conserved": lambda row: 0.5}),
        ("two-factors", {"sharpness": lambda row: 2.1}),
        ("condition", {"condition": lambda row: -row["condition"]}),
        ("condition", {"amplitude": lambda row: 1.1 * row["amplitude"]}),
        ("condition", {"range_end": lambda row: 2.0}),
        ("matrices", {"top_error": lambda row: 1e-3}),
        ("matrices", {"tilt": lambda row: 1e-3}),
        ("matrices", {"tilt_half_way": lambda row: 2 * row["tilt"]}),
        ("matrices", {"sharpness": lambda row: 1.1 * row["sharpness"]}),
        ("neuron", {"factor": lambda row: 0.85}),
        ("neuron", {"across_factor": lambda row: 0.2}),
        ("neuron", {"sharpness": lambda row: 1.0}),
        ("network", {"edge": lambda row: 0.5}),
        ("network", {"imbalance": lambda row: 1.0}),
    ],
)
def test_the_judge_fails_what_is_not_as_said(part, columns):
    found = claim.judge(measured(part, **columns))
    assert "fails" in {one.outcome for one in found if one.part == part}


def test_the_figures_draw_what_there_is():
    names = [drawn.name for drawn in claim.figures(measured())]
    assert names == [
        "orbits", "ten-outputs", "one-output", "one-output-large-outer-layer"
    ]  # fmt: skip
