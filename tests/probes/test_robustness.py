"""How far rows are from being moved across the boundary, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.losses import cross_entropy
from neoteny.networks import mlp
from neoteny.probes import ascended, input_robustness_with, log_odds_against
from neoteny.types import Batch, Network, Snapshot


def linear(key):
    apply = lambda params, x: (x @ params, ())
    return Network(lambda key: jax.random.normal(key, (4, 3)), apply, ())


def snapshot(network, params, batch):
    return Snapshot(network, batch, params, params, lambda params: 0.0, jax.random.key(0))


def test_a_linear_network_of_two_classes_is_fooled_at_its_margin(key):
    params = jax.random.normal(key, (4, 2))
    inputs = jax.random.normal(jax.random.fold_in(key, 1), (200, 4))
    labels = jnp.argmax(inputs @ params, 1)
    away = params[:, 0] - params[:, 1]
    distance = np.abs(inputs @ away) / np.linalg.norm(away)
    told = snapshot(linear(key), params, Batch(inputs, labels))
    for radius in (0.05, 0.3, 1.0):
        for steps in (1, 10):
            probe = input_robustness_with(radius=radius, steps=steps)
            assert probe(told).robust_accuracy == pytest.approx(np.mean(distance > radius))


def test_odds_rise_where_cross_entropy_does(key):
    outputs = 2 * jax.random.normal(key, (6, 4))
    labels = jnp.arange(6) % 4
    p = np.exp(-np.asarray(cross_entropy(outputs, labels)))
    np.testing.assert_allclose(log_odds_against(outputs, labels), np.log((1 - p) / p))
    slope = lambda f: np.asarray(jax.grad(lambda o: f(o, labels).sum())(outputs))
    ours, theirs = slope(log_odds_against), slope(cross_entropy)
    np.testing.assert_allclose(ours * (1 - p)[:, None], theirs, atol=1e-12)


def test_a_row_known_for_sure_is_moved_straight_in_single_precision(key):
    """Cross-entropy's slope is rounded to one that lowers no output, and then to none at all."""
    network, params = linear(key), jnp.eye(4, 3, dtype=jnp.float32)
    for margin in (20.0, 1000.0):
        inputs = jnp.array([[margin, 0.0, -9e9, 0.0]], jnp.float32)
        odds = lambda x: log_odds_against(network.apply(params, x)[0], jnp.array([0])).mean()
        moved = ascended(odds, inputs, 1.0) - inputs
        np.testing.assert_allclose(moved, [[-(0.5**0.5), 0.5**0.5, 0, 0]], atol=1e-4)


def test_small_slopes_have_a_direction_too():
    for size in (1e-30, 1e30):
        loss = lambda x, size=size: jnp.float32(size) * jnp.sum(x @ jnp.array([3, 4], jnp.float32))
        moved = ascended(loss, jnp.zeros((1, 2), jnp.float32), 0.5)
        np.testing.assert_allclose(moved, [[0.3, 0.4]], rtol=1e-6)


def test_bytes_are_moved_as_255ths_and_numbers_have_no_accuracy(key):
    network = mlp((4, 5, 3))
    params = network.init(key)
    rows = jax.random.randint(key, (10, 4), 0, 255)
    labels = jnp.zeros(10, int)
    as_bytes = snapshot(network, params, Batch(rows.astype(jnp.uint8), labels))
    as_floats = snapshot(network, params, Batch(rows.astype(jnp.float32) / 255, labels))
    probe = input_robustness_with(radius=0.1)
    assert probe(as_bytes) == probe(as_floats)
    assert np.isnan(probe(snapshot(network, params, Batch(rows / 255, rows[:, 0] / 1.0)))[0])
