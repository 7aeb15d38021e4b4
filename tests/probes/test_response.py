"""Feature responses, against a dense decomposition and cases where they are known."""

import jax
import jax.numpy as jnp
import numpy as np

from neoteny.losses import cross_entropy, task_loss
from neoteny.networks import mlp
from neoteny.probes import feature_response, responses
from neoteny.probes.response import ROWS
from neoteny.types import Batch, Snapshot


def test_responses_of_two_classes_are_margins_in_the_left_vectors_of_the_signed_features(key):
    features = jax.random.normal(key, (9, 4))
    outputs = jax.random.normal(jax.random.key(1), (9, 2))
    labels = jnp.arange(9) % 2
    signs = np.where(np.arange(9) % 2 == 1, 1, -1)
    known = np.concatenate([features, np.ones((9, 1))], 1)
    left, strengths, _ = np.linalg.svd(signs[:, None] * known, full_matrices=False)
    expected = left.T @ (signs * np.asarray(outputs[:, 1] - outputs[:, 0]))
    found = np.abs(responses(features, outputs, labels))
    np.testing.assert_allclose(found[: len(strengths)], np.abs(expected), atol=1e-10)


def test_what_a_linear_head_makes_of_the_features_is_all_in_their_responses(key):
    network = mlp((6, 5, 3))
    params = network.init(key)
    params[-1]["bias"] = jnp.array([0.3, -0.2, 0.1])
    inputs, labels = jax.random.normal(key, (40, 6)), jnp.arange(40) % 3
    outputs, (features,) = network.apply(params, inputs)
    chosen = np.take_along_axis(np.asarray(outputs), np.asarray(labels)[:, None], 1)[:, 0]
    margins = 1.5 * (chosen - np.asarray(outputs).mean(1))  # to the mean of the two others
    z = responses(features, outputs, labels)
    np.testing.assert_allclose(jnp.sum(z**2), np.sum(margins**2), rtol=1e-9)


def test_outputs_that_do_not_count_leave_the_responses_as_if_they_were_not_there(key):
    features = jax.random.normal(key, (12, 4))
    outputs = jax.random.normal(jax.random.key(1), (12, 3))
    labels, counted = jnp.arange(12) % 2, jnp.array([True, True, False])
    masked = jnp.where(counted[None], outputs, -1e9)
    with_mask = jnp.abs(responses(features, masked, labels, counted))
    without = jnp.abs(responses(features, outputs[:, :2], labels))
    np.testing.assert_allclose(with_mask[:5], without[:5], atol=1e-9)  # beyond is no feature


def probe(params, inputs, labels, network):
    batch = Batch(inputs, labels)
    loss = task_loss(network, cross_entropy, batch)
    told = Snapshot(network, batch, params, params, loss, jax.random.key(0))
    return float(feature_response(told).response_participation)


def test_one_feature_in_use_participates_alone_and_equal_ones_all():
    """Orthogonal inputs, each two rows' own, are features without another layer."""
    network = mlp((4, 2))
    inputs = jnp.repeat(jnp.eye(4), 2, axis=0) * jnp.array([4.0, 3, 2, 1]).repeat(2)[:, None]
    labels = jnp.array([0, 1] * 4)
    kernel = lambda used: jnp.stack([jnp.zeros(4), used], 1)
    one = ({"kernel": kernel(jnp.array([1.0, 0, 0, 0])), "bias": jnp.zeros(2)},)
    signed = ({"kernel": kernel(1 / jnp.array([4.0, 3, 2, 1])), "bias": jnp.zeros(2)},)
    few, many = (probe(params, inputs, labels, network) for params in (one, signed))
    assert few < many
    assert 1 <= few <= 2.01 and many <= 8


def test_only_the_first_rows_are_looked_at(key):
    network = mlp((3, 4, 2))
    params = network.init(key)
    inputs = jax.random.normal(key, (ROWS + 50, 3))
    labels = jnp.arange(len(inputs)) % 2
    found = probe(params, inputs, labels, network)
    assert found == probe(params, inputs[:ROWS], labels[:ROWS], network)
