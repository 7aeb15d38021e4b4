"""What weights consist of: pure features, dense mixtures, and what another network shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.probes import dense_mixture, purity, residual_share

SIZE = 9


@pytest.fixture
def features(key):
    return jnp.linalg.qr(jax.random.normal(key, (SIZE, SIZE)))[0]


def test_a_feature_is_pure_and_an_even_mixture_is_not(features):
    readout = jnp.ones(SIZE)
    weights = jnp.stack([3 * features[:, 4], features.sum(1), features[:, 0] - features[:, 1]])
    np.testing.assert_allclose(purity(weights, features), [1, 1 / SIZE, 0.5])
    mixed = [0, (SIZE - 1) / SIZE, 1 / np.sqrt(2 * SIZE)]
    np.testing.assert_allclose(dense_mixture(weights, features, readout), mixed, atol=1e-12)


def test_the_mixture_is_the_cosine_of_what_is_left_to_the_readout(features, key):
    weights = jax.random.normal(jax.random.fold_in(key, 1), (5, SIZE))
    readout = jax.random.normal(jax.random.fold_in(key, 2), (SIZE,))
    found = dense_mixture(weights, features, readout)
    for unit, value in zip(np.asarray(weights), found, strict=True):
        along = np.asarray(features).T @ unit
        best = np.argmax(np.abs(along))
        rest = unit - along[best] * np.asarray(features)[:, best]
        dense = np.asarray(features @ readout)
        size = np.linalg.norm(dense) * np.linalg.norm(unit)
        assert value == pytest.approx(abs(rest @ dense) / size)


def test_what_is_not_along_the_reference_is_the_sine_of_the_angle(key):
    weights, reference = jax.random.normal(key, (2, 6, SIZE))
    cosines = np.sum(weights * reference, 1) / (
        np.linalg.norm(weights, axis=1) * np.linalg.norm(reference, axis=1)
    )
    np.testing.assert_allclose(residual_share(weights, reference), np.sqrt(1 - cosines**2))
    np.testing.assert_allclose(residual_share(weights, -2 * weights), 0, atol=1e-12)
