"""Saturation and margins, against what they are for two classes and along a scaling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.losses import cross_entropy, task_loss
from neoteny.networks import mlp
from neoteny.probes import margins, normalised_margin, saturation
from neoteny.types import Batch, Snapshot, View, bound


def snapshot(network, params, batch):
    loss = task_loss(network, cross_entropy, batch)
    return Snapshot(network, batch, params, params, loss, jax.random.key(1))


@pytest.fixture
def batch(key):
    return Batch(jax.random.normal(key, (20, 5)), jnp.arange(20, dtype=jnp.int32) % 3)


def test_saturation_is_the_mean_sigmoid_of_minus_the_signed_output_for_two_classes(key, batch):
    network = mlp((5, 7, 2))
    params, two = network.init(key), batch._replace(labels=batch.labels % 2)
    outputs = network.apply(params, two.inputs)[0]
    signed = (2 * two.labels - 1) * (outputs[:, 1] - outputs[:, 0])
    found = saturation(snapshot(network, params, two)).residual_probability
    np.testing.assert_allclose(found, np.mean(1 / (1 + np.exp(signed))), rtol=1e-12)


def test_saturation_sees_what_is_left_where_probabilities_round_to_one():
    network = mlp((1, 2))
    params = ({"kernel": jnp.zeros((1, 2)), "bias": jnp.array([60.0, 0.0])},)
    rows = Batch(jnp.ones((3, 1)), jnp.zeros(3, jnp.int32))
    found = saturation(snapshot(network, params, rows)).residual_probability
    np.testing.assert_allclose(found, np.exp(-60), rtol=1e-9)


def test_a_margin_is_the_label_less_the_best_other_and_is_negative_where_a_row_is_wrong():
    outputs, labels = jnp.array([[3.0, 1, 2], [0, 1, 5], [4, 4, 1]]), jnp.array([0, 1, 0])
    assert margins(outputs, labels).tolist() == [1.0, -4.0, 0.0]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_normalised_margin_does_not_change_as_a_network_without_biases_is_scaled(
    key, batch, depth
):
    network = mlp((5, *[6] * (depth - 1), 3))
    params = network.init(key)
    larger = jax.tree.map(lambda leaf: 3.0 * leaf, params)
    small, large = (
        normalised_margin(snapshot(network, one, batch)).normalised_margin
        for one in (params, larger)
    )
    np.testing.assert_allclose(large, small, rtol=1e-10)
    deeper = network.apply(larger, batch.inputs)[0] / network.apply(params, batch.inputs)[0]
    np.testing.assert_allclose(deeper, 3.0**depth, rtol=1e-6)


def test_outputs_that_do_not_count_bound_no_margin(key, batch):
    network = mlp((5, 6, 3))
    params, two = network.init(key), batch._replace(labels=batch.labels % 2)
    seen = bound(network, View(classes=jnp.array([True, True, False])))
    outputs = network.apply(params, two.inputs)[0][:, :2]
    size = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(params)))
    found = normalised_margin(snapshot(seen, params, two)).normalised_margin
    np.testing.assert_allclose(found, margins(outputs, two.labels).min() / size**2, rtol=1e-10)
