"""Feature purification: the model and its gradient, what is measured, and a judge that can fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.claims import feature_purification as claim
from neoteny.claims import overall
from neoteny.claims.drawing import pictures
from neoteny.claims.rows import Rows

SMALL = {"size": 12, "units": 10, "early": 30, "steps": 40, "linear_steps": 50, "test_rows": 300}


@pytest.fixture(scope="module")
def measured():
    return claim.sparse_code(0, **SMALL)


def test_the_network_is_two_rectified_units_for_each_weight(key):
    w = jax.random.normal(key, (5, 4))
    x = jax.random.normal(jax.random.fold_in(key, 1), (7, 4))
    b = jnp.linspace(0, 1, 5)
    found = claim.outputs_of({"w": w, "b": b}, x)
    for row, value in zip(np.asarray(x), found, strict=True):
        reached = np.asarray(w) @ row
        expected = np.maximum(reached - b, 0).sum() - np.maximum(-reached - b, 0).sum()
        assert value == pytest.approx(expected)
    np.testing.assert_allclose(claim.outputs_of({"w": w, "b": b}, -x), -found)


def test_every_phase_and_the_linear_model_are_measured_once_and_alike(measured):
    assert [row["phase"] for row in measured] == [*claim.PHASES, "linear"]
    assert measured == claim.sparse_code(0, **SMALL)
    assert measured != claim.sparse_code(1, **SMALL)
    start, control = measured[1:3]
    assert start["cos_start"] == pytest.approx(1, abs=1e-6) and start["residual"] < 1e-3
    assert control["cos_start"] < 1
    for row in measured[:-1]:
        assert 0 < row["mixture"] < 1 and 1 / 12 < row["purity"] < 1
        assert row["pgd"] <= row["clean"]


def test_the_dense_move_and_no_random_one_fools_a_readout_of_all_features():
    """`f = readout.z` loses the move times the root of the features from a margin of one."""
    features = claim.streams.dictionary(100)
    readout = jnp.ones(100, jnp.float32)
    rows = claim.streams.sparse_code(jax.random.key(0), 500, features, readout, noise=0.0)
    direction = features @ readout / 10
    linear = lambda x: x @ features @ readout
    found = claim._accuracies(
        linear, rows=rows, direction=direction, radius=0.09, key=jax.random.key(1)
    )
    assert found["clean"] == found["dense"] == found["fgm"] == 1
    found = claim._accuracies(
        linear, rows=rows, direction=direction, radius=0.11, key=jax.random.key(1)
    )
    three_of_one_sign = float(jnp.mean(jnp.abs(linear(rows.inputs)) > 2))
    assert found["dense"] == found["fgm"] == found["pgd"] == pytest.approx(three_of_one_sign)
    assert found["random"] > 0.99


def test_filters_of_a_network_before_and_after():
    rows = claim.filters(0, rows=200, units=6, epochs=1, shown=4)
    phases, pixels = rows[:3], rows[3:]
    assert [row["phase"] for row in phases] == ["start", "control", "adversarial"]
    assert len(pixels) == 4 * 64 and phases[0]["residual"] < 1e-3
    norms = [sum(p["clean"] ** 2 for p in pixels if p["filter"] == f) for f in range(4)]
    assert norms == sorted(norms, reverse=True)


def doctored(**changes):
    """Rows as the paper has them, but for some columns of the adversarial phase."""
    mixtures = {"early": 0.9, "start": 0.5, "control": 0.3, "adversarial": 0.02, "linear": 1.0}
    rows = []
    for seed in range(3):
        for phase, mixture in mixtures.items():
            pure = phase == "adversarial"
            row = {
                "seed": seed,
                "phase": phase,
                "radius": 0.5,
                "clean": 1.0,
                "random": 1.0,
                "mixture": mixture,
            }
            row |= {"dense": 1.0 if pure else 0.2, "fgm": 0.6 if pure else 0.2}
            row |= {"pgd": 0.6 if pure else 0.2, "purity": 0.5 if pure else 0.1}
            row |= {"cos_initial": 0.2, "cos_start": 0.8, "residual": 0.5, "mostly": 0.9}
            rows.append(row | (changes if pure else {}))
    table = Rows(rows)
    return dict.fromkeys(("sparse-code", "purity", "digits-filters", "mnist-filters"), table)


def test_the_judge_holds_what_the_paper_says():
    findings = claim.judge(doctored())
    assert len(findings) == 8 + 1 + 2 * 3 and overall(findings) == "holds"


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({"dense": 0.9}, 1),
        ({"mixture": 0.2}, 2),
        ({"cos_start": 0.6}, 1),
        ({"cos_initial": 0.5}, 3),
        ({"pgd": 0.2}, 3),
        ({"purity": 0.1}, 1),
        ({"mostly": 0.2}, 2),
    ],
)
def test_the_judge_fails_where_it_is_not_so(changes, failing):
    outcomes = [finding.outcome for finding in claim.judge(doctored(**changes))]
    assert outcomes.count("fails") == failing and outcomes.count("holds") == 15 - failing


def test_parts_without_rows_are_not_judged_nor_drawn(measured):
    rows = {part.name: Rows([]) for part in claim.CLAIM.parts}
    assert claim.judge(rows) == []
    rows["sparse-code"] = Rows(row | {"seed": 0} for row in measured)
    assert len(claim.judge(rows)) == 8
    accuracy, weights, filters = claim.figures(rows)
    assert len(accuracy.views[0].panels) == 1 and len(weights.views[0].panels) == 2
    assert not filters.views


def test_pictures_are_tiles_that_start_at_the_top():
    images = np.arange(1.0, 7)[:, None, None] * np.array([[[1.0, -0.5], [0.25, 0.0]]])
    grid = pictures("t", images, "weight", across=5).heat.z
    assert grid.shape == (5, 14)
    np.testing.assert_array_equal(grid[::-1][:2, :2], [[1.0, -0.5], [0.25, 0.0]])
    np.testing.assert_array_equal(grid[::-1][3:, :2], [[1.0, -0.5], [0.25, 0.0]])
    assert np.isnan(grid[::-1][2]).all() and np.isnan(grid[::-1][3:, 2:]).all()
