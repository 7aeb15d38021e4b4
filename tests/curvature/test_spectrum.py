"""Spectra against dense eigendecompositions, and their summaries against closed forms."""

import os
import subprocess
import sys
import textwrap
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from neoteny import curvature
from neoteny.curvature import Spectrum, hessian_spectrum, lanczos_coefficients, quadrature

SIZE = 12
ROUNDING = 1e-10  # in float64 full depth errs by 1e-13, relative to matrices of norm one


@partial(jax.jit, static_argnames=("num_steps", "num_probes", "batch_probes"))
def coefficients(matrix, key, num_steps=SIZE, num_probes=1, batch_probes=False):
    loss = lambda x: 0.5 * x @ matrix @ x
    params = jnp.zeros(len(matrix), matrix.dtype)
    return lanczos_coefficients(loss, params, key, num_steps, num_probes, batch_probes=batch_probes)


def measure(matrix, key, **options):
    return quadrature(*coefficients(matrix, key, **options))


def symmetric(seed, size=SIZE):
    half = np.random.default_rng(seed).normal(size=(size, size)) / np.sqrt(size)
    return jnp.asarray(half + half.T)


def rotated(values, seed=0):
    """A dense matrix with these eigenvalues: on a diagonal one, random signs all agree."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values),) * 2))[0]
    return jnp.asarray((rotation * np.asarray(values)) @ rotation.T)


def by_hand(*rows):
    nodes = np.asarray(rows, np.float64)
    return Spectrum(nodes, np.full_like(nodes, 1 / nodes.shape[1]))


# --- the spectrum


def test_full_depth_is_the_dense_eigendecomposition_of_a_network_hessian(key):
    inputs = jax.random.normal(jax.random.key(1), (9, 3))
    params = {"in": jax.random.normal(key, (3, 4)), "out": jax.random.normal(key, (4, 3))}

    def loss(p):
        outputs = jax.nn.log_softmax(jnp.tanh(inputs @ p["in"]) @ p["out"])
        return -jnp.mean(outputs[jnp.arange(9), jnp.arange(9) % 3])

    flat, unravel = ravel_pytree(params)
    hessian = jax.jit(jax.hessian(lambda vector: loss(unravel(vector))))
    exact = jnp.linalg.eigvalsh(hessian(flat))
    spectrum = hessian_spectrum(loss, params, key, num_steps=24, num_probes=1)
    # A shift of all biases of the softmax is flat: Lanczos needs fewer than 24 steps, and
    # each distinct eigenvalue appears once.
    found = spectrum.nodes[0][spectrum.weights[0] != 0]
    distance = np.abs(np.asarray(exact)[:, None] - found)
    assert distance.min(axis=0).max() < ROUNDING
    assert distance.min(axis=1).max() < ROUNDING


def test_full_depth_has_every_eigenvalue_of_a_known_matrix(key):
    matrix = symmetric(0)
    spectrum = measure(matrix, key)
    exact = np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(spectrum.nodes[0], exact, rtol=0, atol=ROUNDING)
    assert np.max(spectrum.residuals) < ROUNDING


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_moments_are_exact_up_to_degree_2m_minus_1_and_no_further(key, steps):
    matrix = symmetric(3)
    spectrum = measure(matrix, key, num_steps=steps)
    draw = jax.random.fold_in(key, 0)
    start = jax.random.rademacher(draw, (SIZE,), matrix.dtype) / jnp.sqrt(SIZE)
    for degree in range(2 * steps + 1):
        exact = start @ jnp.linalg.matrix_power(matrix, degree) @ start
        estimate = np.sum(spectrum.weights * spectrum.nodes**degree)
        close = np.isclose(estimate, exact, rtol=1e-9)
        assert close == (degree < 2 * steps), f"degree {degree}: {estimate} vs {exact}"


@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(0.1, 10),
    shift=st.floats(-5, 5),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_scaling_and_shifting_the_hessian_moves_only_the_nodes(seed, scale, shift):
    key, matrix = jax.random.key(0), symmetric(seed)
    before = measure(matrix, key, num_steps=6)
    after = measure(scale * matrix + shift * jnp.eye(SIZE), key, num_steps=6)
    np.testing.assert_allclose(after.nodes, scale * before.nodes + shift, rtol=0, atol=1e-8)
    np.testing.assert_allclose(after.weights, before.weights, rtol=0, atol=1e-8)


@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(0, SIZE))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_weights_sum_to_one_and_padding_never_counts(seed, rank):
    rng = np.random.default_rng(seed)
    matrix = rotated(np.r_[1 + np.arange(rank), np.zeros(SIZE - rank)], seed)
    spectrum = measure(matrix, jax.random.key(seed), num_probes=2)
    np.testing.assert_allclose(spectrum.weights.sum(axis=1), 1, rtol=0, atol=1e-12)
    padded = spectrum.weights == 0
    np.testing.assert_array_equal(spectrum.nodes[padded], 0)
    np.testing.assert_array_equal(spectrum.residuals[padded], 0)
    steps = (~padded).sum(axis=1)
    assert (steps >= min(rank + 1, SIZE) - (rank == SIZE)).all()
    shifted = measure(matrix + 7 * jnp.eye(SIZE), jax.random.key(seed), num_probes=2)
    assert curvature.extreme_eigenvalues(shifted).smallest > 7 - 1e-9
    epsilon = rng.uniform(0.01, 6.9)
    assert curvature.epsilon_rank(shifted, 1, epsilon).value == pytest.approx(1)


def test_the_monte_carlo_error_falls_as_the_square_root_of_the_number_of_probes(key):
    size, most, repeats = 24, 64, 40
    matrix = symmetric(5, size)
    run = lambda k: np.concatenate([*measure(matrix, k, num_steps=2, num_probes=most)], axis=1)
    rows = np.stack([run(jax.random.fold_in(key, repeat)) for repeat in range(repeats)])
    traces = size * np.sum(rows[..., :2] * rows[..., 2:4], axis=-1)
    counts = np.array([1, 4, 16, 64])
    errors = [
        np.sqrt(np.mean((traces[:, :count].mean(axis=1) - np.trace(matrix)) ** 2))
        for count in counts
    ]
    slope = np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.1)  # 40 repeats leave a deviation of 0.04


def test_more_probes_begin_with_the_same_ones_and_batching_changes_nothing(key):
    matrix = symmetric(1)
    few = measure(matrix, key, num_steps=6, num_probes=2)
    many = measure(matrix, key, num_steps=6, num_probes=4)
    batched = measure(matrix, key, num_steps=6, num_probes=4, batch_probes=True)
    np.testing.assert_allclose(few.nodes, many.nodes[:2], rtol=0, atol=1e-12)
    np.testing.assert_allclose(batched.nodes, many.nodes, rtol=0, atol=1e-12)
    assert np.ptp(many.nodes, axis=0).min() > 1e-6


def test_the_shape_of_the_pytree_does_not_matter(key):
    matrix = symmetric(2)
    loss = lambda x: 0.5 * x @ matrix @ x
    join = lambda p: loss(jnp.concatenate([p["a"][0].ravel(), p["b"], p["c"]["d"][None]]))
    tree = {"a": [jnp.zeros((2, 3))], "b": jnp.zeros(5), "c": {"d": jnp.zeros(())}}
    whole = hessian_spectrum(loss, jnp.zeros(SIZE), key, num_steps=5)
    parts = hessian_spectrum(join, tree, key, num_steps=5)
    np.testing.assert_allclose(whole.nodes, parts.nodes, rtol=0, atol=1e-12)


def test_a_jitted_measurement_is_traced_once_for_all_parameters_keys_and_batches(key):
    traces = []

    @jax.jit
    def run(params, batch, key):
        def loss(p):
            traces.append(None)
            return jnp.mean(jnp.tanh(batch @ p) ** 2)

        return lanczos_coefficients(loss, params, key, 3, 2)

    run(jnp.ones(4), jnp.ones((5, 4)), key)
    first = len(traces)
    for seed in range(3):
        run(seed * jnp.ones(4), seed * jnp.ones((5, 4)), jax.random.key(seed))
    assert len(traces) == first


def test_any_operator_has_a_spectrum(key):
    inputs = jax.random.normal(key, (4, 3))
    operator = curvature.ggn_vector_product(lambda p: inputs @ p, jnp.ones((3, 3)))
    run = jax.jit(lambda key: curvature.operator_coefficients(operator, key, 9, 2))
    spectrum = quadrature(*run(key))
    exact = jnp.linalg.eigvalsh(jax.vmap(operator.matvec)(jnp.eye(9)))
    assert curvature.extreme_eigenvalues(spectrum).largest == pytest.approx(float(exact[-1]))


def test_a_loss_gone_to_nan_gives_a_spectrum_of_nan_and_not_an_exception(key):
    spectrum = measure(jnp.full((SIZE, SIZE), jnp.nan), key, num_steps=4)
    assert np.isnan(spectrum.nodes).all()
    assert np.isnan(curvature.epsilon_rank(spectrum, SIZE, 0.1).value)
    assert np.isnan(curvature.effective_rank(spectrum, SIZE).value)
    assert np.isnan(curvature.extreme_eigenvalues(spectrum).largest)


FLOAT32 = """
    import warnings; warnings.simplefilter("error")
    import jax, jax.numpy as jnp, numpy as np
    from neoteny import curvature
    assert not jax.config.jax_enable_x64
    values = jnp.linspace(-1, 2, 30)
    loss = lambda x: 0.5 * jnp.sum(values * x**2)
    spectrum = curvature.hessian_spectrum(loss, jnp.zeros(30), jax.random.key(0), num_steps=30)
    assert spectrum.nodes.dtype == spectrum.weights.dtype == np.float64
    np.testing.assert_allclose(spectrum.nodes, np.tile(values, (4, 1)), rtol=0, atol=1e-4)
    np.testing.assert_allclose(spectrum.weights.sum(axis=1), 1, rtol=0, atol=1e-12)
    alphas, _ = curvature.lanczos_coefficients(loss, jnp.zeros(30), jax.random.key(0), 3, 1)
    assert alphas.dtype == jnp.float32
    assert not jax.config.jax_enable_x64
    assert jax.config.jax_default_matmul_precision is None
"""


def test_in_float32_nodes_are_still_diagonalised_in_float64_and_no_setting_is_changed():
    plain = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    command = [sys.executable, "-c", textwrap.dedent(FLOAT32)]
    result = subprocess.run(command, env=plain, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# --- summaries


def test_summaries_of_a_whole_spectrum_are_their_definitions():
    values = np.array([-3.0, -0.01, 0.0, 0.02, 1.0, 4.0])
    spectrum = by_hand(values)
    share = np.abs(values) / np.abs(values).sum()
    entropy = -sum(p * np.log(p) for p in share if p > 0)
    assert curvature.effective_rank(spectrum, 6).value == pytest.approx(np.exp(entropy))
    assert curvature.trace(spectrum, 6).value == pytest.approx(values.sum())
    np.testing.assert_allclose(
        curvature.epsilon_rank(spectrum, 6, np.array([0, 0.015, 2, 9])).value, [5, 4, 2, 0]
    )
    assert curvature.relative_epsilon_rank(spectrum, 6, 0.5).value == pytest.approx(2)
    assert curvature.negative_share(spectrum).value == pytest.approx(2 / 6)
    assert curvature.negative_share(spectrum, 0.1).value == pytest.approx(1 / 6)
    assert curvature.extreme_eigenvalues(spectrum) == (-3.0, 4.0, 0.0, 0.0)
    assert curvature.budget_epsilon(0.01, 500) == pytest.approx(0.2)


def test_epsilon_rank_counts_a_known_number_with_an_honest_standard_error(key):
    size, large, probes, repeats = 200, 20, 16, 60
    matrix = rotated(np.r_[np.full(large, 5.0), np.zeros(size - large)])
    run = lambda k: measure(matrix, k, num_steps=8, num_probes=probes)
    estimates = [
        curvature.epsilon_rank(run(jax.random.fold_in(key, repeat)), size, 0.1)
        for repeat in range(repeats)
    ]
    value, error = np.asarray(estimates).T
    assert abs(value[0] - large) < 4 * error[0]
    scores = (value - large) / error
    # Student's t of 15 degrees of freedom deviates by 1.07, in 60 draws give or take 0.1.
    assert np.std(scores) == pytest.approx(1.07, abs=0.35)
    assert abs(np.mean(scores)) < 0.5
    # Random signs see r equal eigenvalues with variance 2 (r - sum of squares of the diagonal).
    spread = np.sqrt(2 * (large - np.sum(np.diag(np.asarray(matrix) / 5) ** 2)) / probes)
    assert np.mean(error) == pytest.approx(spread, rel=0.1)


@partial(jax.jit, static_argnames="steps")
def of_diagonal(diagonal, key, steps):
    operator = curvature.Operator(lambda v: diagonal * v, diagonal.size, diagonal.dtype)
    return curvature.operator_coefficients(operator, key, steps, 1)


@pytest.mark.parametrize("epsilon", [0.03, 0.1, 0.5])
@pytest.mark.parametrize("steps", [4, 8, 16, 30])
def test_a_count_is_off_by_no_more_than_its_doubt(steps, epsilon):
    # Random signs see a diagonal matrix without sampling error: what is left is the quadrature's.
    misses = []
    for seed in range(12):
        draw = np.random.default_rng(seed)
        values = np.r_[draw.uniform(1, 9, 10), draw.normal(0, 10 ** draw.uniform(-3, 0), 390)]
        spectrum = quadrature(*of_diagonal(jnp.asarray(values), jax.random.key(seed), steps))
        count = curvature.epsilon_rank(spectrum, 400, epsilon).value
        off = abs(count - np.sum(np.abs(values) > epsilon))
        misses.append(off - curvature.epsilon_rank_doubt(spectrum, 400, epsilon))
    assert max(misses) < 1e-6


def test_there_is_no_doubt_across_a_gap_nor_of_an_exact_spectrum():
    matrix = rotated(np.r_[np.full(20, 5.0), np.zeros(180)])
    spectrum = measure(matrix, jax.random.key(0), num_steps=2)
    assert curvature.epsilon_rank_doubt(spectrum, 200, 0.1) < 1e-9
    assert curvature.epsilon_rank_doubt(by_hand([-1.0, 0.09, 0.11, 3.0]), 4, 0.1) == 0


def test_no_more_is_in_doubt_below_a_threshold_than_can_be_beyond_it():
    draw = np.random.default_rng(0)
    values = jnp.asarray(np.r_[np.geomspace(1e-2, 10, 60), np.abs(draw.normal(0, 0.3, 340))])
    spectrum = quadrature(*of_diagonal(values, jax.random.key(0), 8))
    free = curvature.epsilon_rank_doubt(spectrum, 400, 0.1)
    counted = float(curvature.epsilon_rank(spectrum, 400, 0.1).value)
    known = curvature.epsilon_rank_doubt(spectrum, 400, 0.1, counted + 3)
    beyond = curvature.epsilon_rank_doubt(spectrum, 400, 0.1, 0)
    assert free > known > beyond
    assert known == pytest.approx(beyond + 3)


def test_the_jackknife_error_of_the_effective_rank_is_honest(key):
    size = 60
    matrix = rotated(np.r_[np.linspace(1, 5, 6), np.zeros(size - 6)])
    run = lambda k: measure(matrix, k, num_steps=8, num_probes=8)
    estimates = np.array(
        [curvature.effective_rank(run(jax.random.fold_in(key, i)), size) for i in range(40)]
    )
    exact = curvature.effective_rank(by_hand(np.linalg.eigvalsh(matrix)), size).value
    assert abs(estimates[:, 0].mean() - exact) < 0.2
    assert estimates[:, 1].mean() == pytest.approx(estimates[:, 0].std(), rel=0.35)


def test_ritz_values_stay_inside_the_spectrum_and_within_their_residuals(key):
    matrix = symmetric(8, 40)
    exact = np.linalg.eigvalsh(matrix)
    spectrum = measure(matrix, key, num_steps=9, num_probes=3)
    nearest = np.abs(spectrum.nodes[..., None] - exact).min(axis=-1)
    assert (nearest <= spectrum.residuals + 1e-12).all()
    assert spectrum.residuals.max() > 1e-2
    extremes = curvature.extreme_eigenvalues(spectrum)
    assert exact[0] <= extremes.smallest <= extremes.largest <= exact[-1]


def test_density_integrates_to_one_and_has_the_kernel_in_its_variance():
    grid = np.linspace(-10, 10, 4001)
    curve = curvature.density(by_hand([-1.0, 1.0], [-2.0, 2.0]), grid, 0.5)
    step = grid[1] - grid[0]
    assert curve.value.sum() * step == pytest.approx(1)
    assert (curve.value * grid**2).sum() * step == pytest.approx(2.5 + 0.25)
    assert curve.standard_error.shape == grid.shape


@pytest.mark.parametrize("probes", [1, 3])
def test_a_flat_loss_has_finite_summaries(key, probes):
    spectrum = measure(jnp.zeros((SIZE, SIZE)), key, num_steps=5, num_probes=probes)
    np.testing.assert_array_equal(spectrum.weights, np.eye(5)[[0] * probes])
    summaries = [
        curvature.effective_rank(spectrum, SIZE),
        curvature.epsilon_rank(spectrum, SIZE, 0.0),
        curvature.relative_epsilon_rank(spectrum, SIZE, 1e-3),
        curvature.trace(spectrum, SIZE),
        curvature.negative_share(spectrum),
    ]
    assert [summary.value for summary in summaries] == [0] * 5
    assert curvature.extreme_eigenvalues(spectrum) == (0, 0, 0, 0)
    for summary in summaries:
        assert np.isnan(summary.standard_error) if probes == 1 else summary.standard_error == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: curvature.epsilon_rank(s, 3, -1.0), "`epsilon` is -1.0"),
        (lambda s: curvature.relative_epsilon_rank(s, 3, -0.5), "`ratio` is -0.5"),
        (lambda s: curvature.effective_rank(s, 0), "`size` is 0"),
        (lambda s: curvature.density(s, np.linspace(0, 1, 3), 0.0), "`width` is 0.0"),
        (lambda s: curvature.budget_epsilon(0.0, 10), "`learning_rate` is 0.0"),
    ],
)
def test_impossible_arguments_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call(by_hand([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "`num_steps` is 0.*3 x 3"),
        ({"num_steps": 4}, "`num_steps` is 4.*num_steps=3"),
        ({"num_steps": 2, "num_probes": 0}, "`num_probes` is 0"),
    ],
)
def test_impossible_depths_and_probes_are_refused_with_the_possible_ones(key, options, message):
    with pytest.raises(ValueError, match=message):
        hessian_spectrum(jnp.sum, jnp.ones(3), key, **options)


def test_inside_jit_the_error_names_the_two_halves_to_call_instead(key):
    with pytest.raises(ValueError, match=r"lanczos_coefficients.*quadrature"):
        jax.jit(lambda p: hessian_spectrum(jnp.sum, p, key, num_steps=2).nodes)(jnp.ones(3))
