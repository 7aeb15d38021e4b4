"""Sharpness, imbalance and the flip condition against dense matrices and closed forms."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from neoteny.losses import squared_error, task_loss
from neoteny.networks import mlp
from neoteny.probes import along_top, imbalance, layer_imbalance, sharpness
from neoteny.types import Batch, Snapshot

RATE = 0.3


def seen(network, key):
    batch = Batch(jax.random.normal(key, (9, 5)), jnp.arange(9) % 3)
    params = network.init(key)
    loss = task_loss(network, squared_error, batch)
    return Snapshot(network, batch, params, params, loss, key, RATE)


def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(key):
    snapshot = seen(mlp((5, 4, 3), activation="tanh"), key)
    flat, unravel = ravel_pytree(snapshot.params)
    dense = jax.jit(jax.hessian(lambda x: snapshot.loss(unravel(x))))(flat)
    largest = np.linalg.eigvalsh(dense)[-1]
    found = jax.jit(lambda: sharpness(snapshot))()
    np.testing.assert_allclose(found, (largest, RATE * largest / 2), rtol=1e-8)


def test_gradient_flow_on_a_linear_network_conserves_what_is_measured(key):
    first, second = (
        jax.random.normal(jax.random.fold_in(key, i), s) for i, s in enumerate([(5, 4), (4, 3)])
    )
    data = jax.random.normal(key, (9, 5))
    loss = lambda layers: jnp.sum((data @ layers[0] @ layers[1] - 1.0) ** 2)
    flow = jax.grad(loss)((first, second))
    _, change = jax.jvp(lambda layers: imbalance(*layers), ((first, second),), (flow,))
    assert imbalance(first, second) > 1
    np.testing.assert_allclose(change, 0, atol=1e-10)


def test_each_hidden_layer_stands_between_its_two_kernels(key):
    layers = (4, 6)
    network = mlp((5, *layers, 3))
    snapshot = seen(network, key)
    kernels = [np.asarray(layer["kernel"]) for layer in snapshot.params]
    expected = [np.sqrt(np.sum((b @ b.T - a.T @ a) ** 2)) for a, b in pairwise(kernels)]
    np.testing.assert_allclose(layer_imbalance(snapshot).layer_imbalance, expected, rtol=1e-12)
    fixed = layer_imbalance(seen(mlp((5, *layers, 3), fixed_head=True), key))
    np.testing.assert_allclose(fixed.layer_imbalance, expected[:1], rtol=1e-12)


@pytest.mark.parametrize("a, b", [(0.0, -1.0), (1.5, 2.0), (-1.0, 4.0)])
def test_the_condition_is_that_of_the_polynomial_along_the_steepest_direction(a, b, key):
    curvature = 2.0
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]

    def loss(params):
        x, y, z = jnp.array(turn) @ params
        return curvature * x**2 / 2 + a * x**3 / 6 + b * x**4 / 24 + 0.3 * y**2 + 0.1 * z**2

    found = along_top(loss, jnp.zeros(3), key)
    np.testing.assert_allclose(found, (3 * a**2 - curvature * b, abs(a), b), atol=1e-9)
