"""The bias of wide networks: data and kernel as they are defined, and a judge that says no."""

import numpy as np
import pytest

from neoteny.claims import CLAIMS, Rows
from neoteny.claims import wide_two_layer_bias as claim

CLAIM = CLAIMS["wide-two-layer-bias"]


def test_points_lie_within_their_cluster_and_have_its_label():
    signs = np.arange(9) % 2 * 2.0 - 1
    x, y = claim.points(np.random.RandomState(0), 500, 6, signs)
    cell = np.round((x[:, :2] + 0.5 - 0.125) / 0.375).astype(int)
    centres = 0.125 * (1 + 3 * cell) - 0.5
    assert np.linalg.norm(x[:, :2] - centres, axis=1).max() <= 0.125
    np.testing.assert_array_equal(y, signs[cell[:, 0] * 3 + cell[:, 1]])
    assert (x[:, -1] == 1).all() and np.abs(x[:, 2:-1]).max() <= 0.5 and x.shape == (500, 6)


def test_cuts_are_all_of_a_chess_board_and_few_of_two_halves():
    assert claim.cuts(np.arange(9) % 2 * 2.0 - 1) == 12
    assert claim.cuts(np.repeat([-1.0, 1, 1], 3)) == 3


def test_the_kernel_is_the_mean_over_random_features():
    random = np.random.RandomState(0)
    x, others = random.randn(4, 5), random.randn(3, 5)
    features = lambda x, a: np.maximum(x @ a.T, 0)
    a = random.randn(400_000, 5)
    drawn = features(x, a) @ features(others, a).T / len(a)
    np.testing.assert_allclose(claim.arc_cosine(x, others), drawn, atol=0.05)
    np.testing.assert_allclose(np.diag(claim.arc_cosine(x, x)), np.sum(x**2, 1) / 2)


def test_a_step_of_both_layers_is_ascent_on_the_smooth_margin():
    """One step from the first parameters, by finite differences along it: the margin rises so."""
    import jax
    import jax.numpy as jnp

    x, y = claim.points(np.random.RandomState(1), 30, 4, np.arange(9) % 2 * 2.0 - 1)
    arrays = [jnp.asarray(array) for array in (x, y, x, y)]
    keys = jax.random.split(jax.random.key(0))
    a, b = jax.random.normal(keys[0], (8, 4)), jax.random.normal(keys[1], (8,))

    def margin(a, b):
        return -jnp.log(jnp.mean(jnp.exp(-arrays[1] * (jax.nn.relu(arrays[0] @ a.T) @ b) / 8)))

    by_a, by_b = jax.grad(margin, (0, 1))(a, b)
    a, b = a + 0.5 * 8 * by_a, b + 0.5 * 8 * by_b  # steps are per unit, without the mean
    told = claim._learnt(jax.random.key(0), 0.5, *arrays, width=8, steps=1)
    outputs = jax.nn.relu(arrays[0] @ a.T) @ b
    np.testing.assert_allclose(told["error_train"], jnp.mean(arrays[1] * outputs <= 0))
    again = claim._learnt(jax.random.key(0), 0.5, *arrays, width=8, steps=2)
    after = jnp.min(arrays[1] * outputs) / (jnp.sum(a**2) + jnp.sum(b**2))
    np.testing.assert_allclose(again["margin"], jnp.maximum(told["margin"], after), rtol=1e-9)


def test_a_tiny_size_measures_the_same_again_and_the_kernel_makes_no_error_in_training():
    options = {"dimensions": (5,), "samples": (40,), "widths": (8, 16), "steps": 20, "fresh": 50}
    rows = claim.compare(3, **options)
    assert rows == claim.compare(3, **options)
    assert [row["width"] for row in rows] == [8, 16]
    assert all(row["kernel_error_train"] == 0 for row in rows)
    assert all(1 <= row["support"] <= row["width"] for row in rows)


def made_up():
    def row(
        seed, dimension=15, samples=256, width=256, error=0.01, kernel_error=0.15, margin=0.0177
    ):
        return {"seed": seed, "dimension": dimension, "samples": samples, "width": width,
                "error": error, "kernel_error": kernel_error, "margin": margin, "cuts": 5 + seed,
                "support": 20}  # fmt: skip

    errors, seeds = {5: 0.006, 15: 0.15, 20: 0.22}, range(3)
    needs = {128: (0.04, 0.24), 256: (0.008, 0.15), 512: (0.004, 0.07)}
    margins = {16: 0.0163, 256: 0.0176, 512: 0.0177}
    return {
        "dimension": Rows(
            row(s, d, error=0.003 + d / 2000, kernel_error=error, margin=0.01 + d / 2000)
            for s in seeds for d, error in errors.items()
        ),
        "samples": Rows(
            row(s, samples=n, error=both, kernel_error=kernel)
            for s in seeds for n, (both, kernel) in needs.items()
        ),
        "width": Rows(row(s, width=m, margin=g) for s in seeds for m, g in margins.items()),
    }  # fmt: skip


def outcomes(rows):
    return [finding.outcome for finding in CLAIM.judge(rows)]


def test_the_judge_is_content_with_rows_as_published():
    assert outcomes(made_up()) == ["holds"] * 8


@pytest.mark.parametrize(
    ("part", "where", "column", "value"),
    [
        ("dimension", {"dimension": 20}, "error", 0.1),
        ("dimension", {"dimension": 15, "seed": 1}, "kernel_error", 0.001),
        ("dimension", {"dimension": 5}, "kernel_error", 0.2),
        ("dimension", {"dimension": 20}, "margin", 0.001),
        ("samples", {"samples": 128}, "error", 0.3),
        ("width", {"width": 256}, "margin", 0.0170),
        ("width", {"width": 16}, "margin", 0.0176),
    ],
)
def test_the_judge_says_no_to_rows_that_do_not_show_it(part, where, column, value):
    rows = made_up()
    rows[part] = Rows(
        row | {column: value} if all(row[k] == v for k, v in where.items()) else row
        for row in rows[part]
    )
    assert "fails" in outcomes(rows)


def test_figures_draw_what_there_is():
    assert [figure.name for figure in CLAIM.figures(made_up()) if figure.views] == [
        "errors", "width",
    ]  # fmt: skip
