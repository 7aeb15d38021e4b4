"""Extreme eigenpairs against dense ones, and residuals that say what a pair is worth."""

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

from neoteny.curvature import Operator, hessian_vector_product
from neoteny.curvature.eigenpairs import extreme_eigenpairs, unravel_vectors

SIZE = 30
EXACT = 1e-10


@partial(jax.jit, static_argnames=("count", "num_steps", "which"))
def measure(matrix, key, **options):
    operator = Operator(lambda v: matrix @ v, len(matrix), matrix.dtype)
    return extreme_eigenpairs(operator, key, **options)


def with_eigenvalues(values, seed=0, dtype=jnp.float64):
    size = len(values)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return jnp.asarray((rotation * np.asarray(values)) @ rotation.T, dtype)


def overlaps(vectors, exact):
    return np.abs(np.sum(np.asarray(vectors) * np.asarray(exact), axis=1))


def network_loss(key):
    inputs = jax.random.normal(jax.random.fold_in(key, 1), (9, 3))
    params = {"in": jax.random.normal(key, (3, 4)), "out": jax.random.normal(key, (4, 3))}

    def loss(p):
        outputs = jax.nn.log_softmax(jnp.tanh(inputs @ p["in"]) @ p["out"])
        return -jnp.mean(outputs[jnp.arange(9), jnp.arange(9) % 3])

    return loss, params


def test_both_ends_of_a_network_hessian_are_the_dense_ones(key):
    loss, params = network_loss(key)
    flat, unravel = ravel_pytree(params)
    values, vectors = jnp.linalg.eigh(jax.jit(jax.hessian(lambda v: loss(unravel(v))))(flat))
    run = lambda key: extreme_eigenpairs(
        hessian_vector_product(loss, params), key, count=2, num_steps=24, which="both"
    )
    pairs = jax.jit(run)(key)
    order = [-1, -2, 0, 1]
    np.testing.assert_allclose(pairs.eigenvalues, values[jnp.array(order)], rtol=0, atol=EXACT)
    assert (overlaps(pairs.eigenvectors, vectors.T[jnp.array(order)]) > 1 - EXACT).all()
    assert (pairs.residuals < EXACT).all()


@pytest.mark.parametrize("which", ["largest", "smallest", "both"])
def test_pairs_come_outermost_first_and_orthonormal(key, which):
    matrix = with_eigenvalues(np.linspace(-1, 2, SIZE) ** 3)
    exact = np.linalg.eigvalsh(matrix)
    pairs = measure(matrix, key, count=3, num_steps=SIZE, which=which)
    ends = {"largest": exact[::-1][:3], "smallest": exact[:3]}
    expected = np.concatenate(list(ends.values())) if which == "both" else ends[which]
    np.testing.assert_allclose(pairs.eigenvalues, expected, rtol=0, atol=EXACT)
    products = pairs.eigenvectors @ pairs.eigenvectors.T
    np.testing.assert_allclose(products, np.eye(len(expected)), rtol=0, atol=EXACT)


@given(seed=st.integers(0, 2**32 - 1), steps=st.sampled_from([4, 8, 16]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_residuals_are_true_and_an_eigenvalue_lies_within_each(seed, steps):
    half = np.random.default_rng(seed).normal(size=(SIZE, SIZE))
    matrix = jnp.asarray(half + half.T)
    pairs = measure(matrix, jax.random.key(seed), count=2, num_steps=steps, which="both")
    vectors = np.asarray(pairs.eigenvectors)
    left = vectors @ np.asarray(matrix) - np.asarray(pairs.eigenvalues)[:, None] * vectors
    np.testing.assert_allclose(pairs.residuals, np.linalg.norm(left, axis=1), rtol=1e-6, atol=1e-9)
    exact = np.linalg.eigvalsh(half + half.T)
    nearest = np.abs(exact[:, None] - np.asarray(pairs.eigenvalues)).min(axis=0)
    assert (nearest <= np.asarray(pairs.residuals) + 1e-9).all()
    if steps == 4:
        assert pairs.residuals.max() > 0.1  # far from converged, and it says so


def test_a_rough_pair_errs_by_its_residual_squared_over_the_gap(key):
    values = np.r_[np.linspace(-1, 1, SIZE - 1), 3.0]
    matrix = with_eigenvalues(values)
    pairs = measure(matrix, key, num_steps=5)
    residual, error = pairs.residuals[0], 3.0 - pairs.eigenvalues[0]
    assert 1e-4 < residual < 1
    assert 0 <= error <= residual**2 / (pairs.eigenvalues[0] - 1)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_low_rank_matrix_gives_its_pairs_then_zero_then_nothing(key, rank):
    values = np.r_[np.zeros(SIZE - rank), 1.0 + np.arange(rank)]
    pairs = measure(with_eigenvalues(values), key, count=rank + 3, num_steps=12)
    expected = [*(1.0 + np.arange(rank))[::-1], 0.0]
    np.testing.assert_allclose(pairs.eigenvalues[: rank + 1], expected, rtol=0, atol=EXACT)
    assert (pairs.residuals[: rank + 1] < EXACT).all()
    assert np.isnan(pairs.eigenvalues[rank + 1 :]).all()
    assert np.isnan(pairs.residuals[rank + 1 :]).all()
    assert (pairs.eigenvectors[rank + 1 :] == 0).all()


def test_of_a_repeated_eigenvalue_one_pair_is_found(key):
    values = np.r_[np.full(10, -2.0), np.full(12, 1.0), np.full(8, 5.0)]
    matrix = with_eigenvalues(values)
    pairs = measure(matrix, key, count=4, num_steps=10)
    np.testing.assert_allclose(pairs.eigenvalues[:3], [5, 1, -2], rtol=0, atol=EXACT)
    assert (pairs.residuals[:3] < EXACT).all()
    assert np.isnan(pairs.eigenvalues[3])


def test_no_pair_is_given_at_both_ends(key):
    matrix = with_eigenvalues(np.r_[np.full(10, -2.0), np.full(12, 1.0), np.full(8, 5.0)])
    pairs = measure(matrix, key, count=2, num_steps=10, which="both")
    np.testing.assert_allclose(pairs.eigenvalues[:3], [5, 1, -2], rtol=0, atol=EXACT)
    assert np.isnan(pairs.eigenvalues[3])


@pytest.mark.parametrize("which", ["largest", "smallest", "both"])
def test_a_zero_matrix_has_one_pair_of_zero(key, which):
    pairs = measure(jnp.zeros((SIZE, SIZE)), key, num_steps=4, which=which)
    assert pairs.eigenvalues[0] == 0
    assert pairs.residuals[0] == 0
    assert jnp.linalg.norm(pairs.eigenvectors[0]) == pytest.approx(1)
    assert np.isnan(pairs.eigenvalues[1:]).all()


def test_one_step_gives_the_rayleigh_quotient_of_the_start(key):
    matrix = with_eigenvalues(np.linspace(-1, 2, SIZE))
    pairs = measure(matrix, key, num_steps=1)
    start = jax.random.normal(key, (SIZE,))
    assert pairs.eigenvalues[0] == pytest.approx(float(start @ matrix @ start / (start @ start)))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e10])
def test_in_float32_pairs_err_by_rounding_relative_to_the_largest(key, scale):
    values = np.r_[0.01 * np.linspace(-1, 1, 95), -0.5, 0.2, 0.4, 0.7, 1.0]
    matrix = with_eigenvalues(values, dtype=jnp.float32) * jnp.float32(scale)
    pairs = measure(matrix, key, count=3, num_steps=30)
    assert pairs.eigenvectors.dtype == pairs.eigenvalues.dtype == jnp.float32
    exact = np.array([1.0, 0.7, 0.4]) * scale
    np.testing.assert_allclose(pairs.eigenvalues, exact, rtol=0, atol=1e-5 * scale)
    assert (pairs.residuals < 1e-5 * scale).all()


def test_a_matrix_of_nan_gives_nan(key):
    pairs = measure(jnp.full((SIZE, SIZE), jnp.nan), key, num_steps=4)
    assert np.isnan(pairs.eigenvalues).all()
    assert np.isnan(pairs.residuals).all()


def test_eigenvectors_take_the_shape_of_the_parameters(key):
    params = network_loss(key)[1]
    vectors = jax.random.normal(key, (2, 24))
    trees = unravel_vectors(vectors, params)
    assert trees["in"].shape == (2, 3, 4)
    for index in range(2):
        tree = jax.tree.map(lambda leaf, index=index: leaf[index], trees)
        np.testing.assert_array_equal(ravel_pytree(tree)[0], vectors[index])
    with pytest.raises(ValueError, match=r"rows of 5 numbers.*holds 24"):
        unravel_vectors(vectors[:, :5], params)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"which": "top"}, "`which` is 'top'.*'largest'"),
        ({"count": 0}, "`count` is 0.*from 1 to 8"),
        ({"count": 9}, "`count` is 9.*8 Lanczos steps"),
        ({"count": 5, "which": "both"}, "`count` is 5.*from 1 to 4 pairs at each end"),
        ({"num_steps": 31}, "`num_steps` is 31.*30 x 30"),
    ],
)
def test_impossible_arguments_are_refused_by_name(key, options, message):
    with pytest.raises(ValueError, match=message):
        measure(jnp.eye(SIZE), key, **{"num_steps": 8, **options})


FLOAT32 = """
    import warnings; warnings.simplefilter("error")
    import jax, jax.numpy as jnp, numpy as np
    from neoteny.curvature import hessian_vector_product
    from neoteny.curvature.eigenpairs import extreme_eigenpairs
    values = jnp.linspace(-1, 2, 30)
    loss = lambda x: 0.5 * jnp.sum(values * x**2)
    run = jax.jit(lambda x, key: extreme_eigenpairs(
        hessian_vector_product(loss, x), key, count=2, num_steps=30, which="both"))
    alone = run(jnp.zeros(30), jax.random.key(0))
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.vmap(run, (None, 0))(jnp.zeros(30), keys)
    for pairs in (alone, many):
        assert all(part.dtype == jnp.float32 for part in pairs)
        exact = np.broadcast_to(values[jnp.array([29, 28, 0, 1])], pairs.eigenvalues.shape)
        np.testing.assert_allclose(pairs.eigenvalues, exact, rtol=0, atol=1e-5)
        assert pairs.residuals.max() < 1e-4
    assert not jax.config.jax_enable_x64
"""


def test_with_float64_off_it_works_alone_and_batched_and_changes_no_setting():
    plain = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    command = [sys.executable, "-c", textwrap.dedent(FLOAT32)]
    result = subprocess.run(command, env=plain, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
