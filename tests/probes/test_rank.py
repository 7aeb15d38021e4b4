import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neoteny.probes import (
    approximate_rank,
    columns,
    effective_rank,
    feature_ranks,
    srank,
    stable_rank,
)

CUT = 2.0**-22
measure = jax.jit(jax.value_and_grad(effective_rank))
all_ranks = jax.jit(feature_ranks)
SHAPES = [(12, 20), (20, 12), (1, 5)]


def with_spectrum(sigma, rows, units, seed=0):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(rows, len(sigma))))[0]
    right = np.linalg.qr(rng.normal(size=(units, len(sigma))))[0]
    return (left * np.asarray(sigma)) @ right.T


def dense(features):
    """Value and gradient of the effective rank from NumPy's singular vectors, in float64."""
    left, sigma, right = np.linalg.svd(np.asarray(features, np.float64), full_matrices=False)
    live = sigma > CUT * sigma[0]
    p = np.where(live, sigma, 0) / sigma[live].sum()
    logs = np.log(np.where(live, p, 1))
    entropy = -p @ logs
    slopes = np.where(live, -np.exp(entropy) * (logs + entropy) / sigma[live].sum(), 0)
    return np.exp(entropy), (left * slopes) @ right


def relative_error(found, exact):
    return np.linalg.norm(np.asarray(found, np.float64) - exact) / np.linalg.norm(exact)


def collapsed(rows, units):
    return with_spectrum(np.exp(-0.15 * np.arange(min(rows, units, 100))), rows, units)


def uncentred(rows, units):
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(rows, 50)) @ rng.normal(size=(50, units)) / 20
    return np.maximum(hidden + 3, 0) + 1e-3 * rng.normal(size=(rows, units))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_orthogonal_features_have_every_rank_equal_to_their_number_of_units(size):
    orthogonal = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    np.testing.assert_allclose(all_ranks(jnp.asarray(3.0 * orthogonal)), size, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_features_of_rank_one_have_every_rank_one(shape):
    outer = jnp.ones(shape) * jnp.arange(1.0, shape[1] + 1)[None, :]
    np.testing.assert_allclose(all_ranks(outer), 1, rtol=1e-6)


def test_ranks_of_a_known_spectrum_are_their_formulas():
    features = jnp.asarray(with_spectrum([8.0, 4.0, 2.0, 1.0, 1.0], 9, 6))
    p = np.array([8, 4, 2, 1, 1]) / 16
    ranks = all_ranks(features)
    np.testing.assert_allclose(ranks.effective_rank, np.prod(p**-p), rtol=1e-12)
    np.testing.assert_allclose(ranks.stable_rank, 86 / 64, rtol=1e-12)
    assert (ranks.srank, ranks.approximate_rank) == (5, 5)
    assert [float(srank(features, d)) for d in (0.0, 1 / 16, 0.1, 2 / 16, 0.3)] == [5, 4, 4, 3, 2]
    assert [float(approximate_rank(features, e)) for e in (1.0, 0.98, 0.9, 0.7)] == [5, 4, 2, 1]
    apart = effective_rank(features), stable_rank(features), 5, 5
    np.testing.assert_allclose(ranks, apart, rtol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-12, 1e12))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_no_rank_depends_on_the_scale_of_the_features(seed, scale):
    features = jax.random.normal(jax.random.key(seed), (8, 13))
    np.testing.assert_allclose(all_ranks(scale * features), all_ranks(features), rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_orthogonal_to_the_features(key, shape):
    features = jax.random.normal(key, shape)
    assert abs(jnp.sum(features * measure(features)[1])) < 1e-12


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_that_of_finite_differences(key, shape):
    features, direction = jax.random.normal(key, (2, *shape))
    step = 1e-6
    ahead, behind = (measure(features + sign * step * direction)[0] for sign in (1, -1))
    slope = jnp.sum(measure(features)[1] * direction)
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)
    forward = jax.jvp(effective_rank, (features,), (direction,))[1]
    np.testing.assert_allclose(forward, slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(12, 12), *SHAPES[:2]])
def test_value_and_gradient_are_those_of_differentiating_a_dense_svd(key, shape):
    @jax.value_and_grad
    def reference(features):
        sigma = jnp.linalg.svd(features, compute_uv=False)
        p = sigma / jnp.sum(sigma)
        return jnp.exp(-jnp.sum(p * jnp.log(p)))

    features = jax.random.normal(key, shape)
    for found, exact in zip(measure(features), reference(features), strict=True):
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10)


def test_the_gradient_of_the_stable_rank_is_that_of_its_formula(key):
    features = jax.random.normal(key, (7, 11))
    formula = lambda f: jnp.sum(f**2) / jnp.linalg.norm(f, 2) ** 2
    np.testing.assert_allclose(
        jax.grad(stable_rank)(features), jax.grad(formula)(features), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(100, 100), (100, 300), (300, 100)])
@pytest.mark.parametrize("features", [collapsed, uncentred])
def test_float32_features_lose_no_accuracy_to_collapse_or_to_a_mean(features, shape):
    # A float32 Gram matrix errs here by up to 90 % of the gradient, a float32 SVD by percents.
    narrow = jnp.asarray(features(*shape), jnp.float32)
    value, gradient = measure(narrow)
    exact, exact_gradient = dense(narrow)
    assert value.dtype == gradient.dtype == jnp.float32
    assert relative_error(value, exact) < 1e-6
    assert relative_error(gradient, exact_gradient) < 1e-3


def test_half_precision_features_are_measured_as_float32(key):
    half = jax.random.normal(key, (10, 20)).astype(jnp.bfloat16)
    value, gradient = measure(half)
    assert (value.dtype, gradient.dtype) == (jnp.float32, jnp.bfloat16)
    assert relative_error(value, dense(half.astype(jnp.float32))[0]) < 1e-6


def test_features_of_zero_have_no_rank_and_no_gradient():
    value, gradient = measure(jnp.zeros((6, 9)))
    assert value == 0 and not np.any(gradient)
    assert all_ranks(jnp.zeros((6, 9))) == (0, 0, 0, 0)


def test_dead_directions_get_no_gradient_and_live_ones_keep_theirs(key):
    features = jax.random.normal(key, (8, 5))
    padded = jnp.concatenate([features, jnp.zeros((8, 4))], axis=1)
    value, gradient = measure(padded)
    exact, exact_gradient = measure(features)
    np.testing.assert_allclose(value, exact, rtol=1e-12)
    np.testing.assert_allclose(gradient[:, :5], exact_gradient, atol=1e-12)
    assert not np.any(gradient[:, 5:])


def test_repeated_singular_values_have_the_gradient_of_their_spectrum():
    features = with_spectrum([3.0, 1.0, 1.0, 1.0], 6, 8)
    value, gradient = measure(jnp.asarray(features))
    exact, exact_gradient = dense(features)
    np.testing.assert_allclose(value, exact, rtol=1e-12)
    np.testing.assert_allclose(gradient, exact_gradient, atol=1e-12)


@pytest.mark.parametrize("factor, counted", [(1.02, 4), (0.98, 3)])
def test_singular_values_count_from_the_cut_upwards(factor, counted):
    features = jnp.asarray(with_spectrum([1.0, 0.5, 0.2, factor * CUT], 6, 6))
    assert srank(features, 0.0) == counted


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_features_that_are_not_finite_have_ranks_that_are_not(key, bad):
    features = jax.random.normal(key, (6, 9)).at[2, 3].set(bad)
    assert np.all(np.isnan(all_ranks(features)))
    assert set(columns(all_ranks(features)).values()) == {None}


def test_a_second_derivative_is_refused(key):
    features = jax.random.normal(key, (4, 6))
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        jax.jvp(jax.grad(effective_rank), (features,), (features,))


def test_impossible_arguments_are_named(key):
    with pytest.raises(ValueError, match=r"`features` has shape \(0, 5\)"):
        effective_rank(jnp.zeros((0, 5)))
    with pytest.raises(ValueError, match=r"`delta` is 1\.5"):
        srank(jnp.eye(3), 1.5)
    with pytest.raises(ValueError, match="`energy` is 99"):
        approximate_rank(jnp.eye(3), 99.0)


WITHOUT_FLOAT64 = """
import jax, jax.numpy as jnp, numpy as np
from neoteny.probes import effective_rank, feature_ranks

rng = np.random.default_rng(0)
left, right = (np.linalg.qr(rng.normal(size=(n, 24)))[0] for n in (24, 40))
one = jnp.asarray((left * np.exp(-0.6 * np.arange(24))) @ right.T, jnp.float32)
two = one.at[:, :9].multiply(2.0)
both = jnp.stack([one, two])

def exact(features):
    u, s, v = np.linalg.svd(np.asarray(features, np.float64), full_matrices=False)
    s = np.where(s > 2.0**-22 * s[0], s, 0)
    p = s / s.sum()
    logs = np.log(np.where(p > 0, p, 1))
    slopes = np.where(p > 0, -np.exp(-p @ logs) * (logs - p @ logs) / s.sum(), 0)
    return np.exp(-p @ logs), (u * slopes) @ v

def check(found, name):
    for value, gradient, features in zip(*found, both):
        wanted, direction = exact(features)
        assert value.dtype == gradient.dtype == jnp.float32, name
        assert abs(value - wanted) < 1e-5 * wanted, name
        error = np.linalg.norm(gradient - direction) / np.linalg.norm(direction)
        assert error < 1e-3, (name, error)

measure = jax.value_and_grad(effective_rank)
frozen = lambda features: jax.lax.scan(lambda c, _: (c, measure(c)), features, None, 2)[1]
last = lambda tree: jax.tree.map(lambda leaf: leaf[:, -1], tree)
check([jnp.stack(f) for f in zip(measure(one), measure(two))], "eager")
check(jax.vmap(measure)(both), "vmap")
check(jax.vmap(jax.jit(measure))(both), "vmap of jit")
check(last(jax.jit(jax.vmap(jax.jit(frozen)))(both)), "jit of vmap of jit of scan")
check(last(jax.jit(lambda b: jax.lax.map(frozen, b))(both)), "scan in map")
nested = jax.vmap(jax.vmap(jax.jit(measure)))(both[None])
check(jax.tree.map(lambda leaf: leaf[0], nested), "vmap of vmap of jit")
total = lambda b: (lambda v: (v.sum(), v))(jax.vmap(jax.jit(effective_rank))(b))
(_, values), gradients = jax.value_and_grad(total, has_aux=True)(both)
check((values, gradients), "grad of vmap of jit")
kept = jax.checkpoint(lambda features: effective_rank(jnp.tanh(features)))
plain = jax.grad(lambda features: effective_rank(jnp.tanh(features)))(one)
np.testing.assert_allclose(jax.jit(jax.grad(kept))(one), plain, atol=1e-3 * abs(plain).max())
assert all(field.dtype == jnp.float32 for field in jax.vmap(jax.jit(feature_ranks))(both))
assert not jax.config.jax_enable_x64 and jnp.ones(1).dtype == jnp.float32
try:
    effective_rank(jnp.zeros((2, 3, 4)))
except ValueError as error:
    assert "`features` has shape (2, 3, 4)" in str(error)
else:
    raise AssertionError("a stack of images passed for a matrix")
"""


def test_values_and_gradients_hold_under_every_transformation_without_float64():
    script = [sys.executable, "-W", "error", "-c", textwrap.dedent(WITHOUT_FLOAT64)]
    environment = os.environ | {"JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("rank", [effective_rank, feature_ranks])
def test_a_list_of_layers_is_refused_in_words(rank, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)  # its hook would speak first
    with pytest.raises(ValueError, match="`features` is a list, but"):
        rank([jnp.ones((3, 2)), jnp.ones((3, 2))])
