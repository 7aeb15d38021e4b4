"""Sparse perceptrons: winners, heterogeneous dropout, features of length one, a fixed frame."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.errors import UserError
from neoteny.interventions import count_tasks
from neoteny.losses import cross_entropy
from neoteny.networks import mlp, sparse
from neoteny.training import trainer
from neoteny.types import Batch


def inputs_of(key, rows=50, width=10):
    return jax.random.normal(key, (rows, width))


def test_the_largest_share_of_a_row_wins_and_the_gradient_goes_through_winners_alone(key):
    hidden = inputs_of(key)
    won = sparse.winners(hidden, 0.3)
    assert np.all((np.asarray(won) > 0).sum(1) <= 3)
    order = np.sort(np.asarray(hidden), axis=1)[:, -3:]
    np.testing.assert_allclose(np.sort(won, axis=1)[:, -3:], np.maximum(order, 0))
    slope = jax.grad(lambda hidden: sparse.winners(hidden, 0.3).sum())(hidden)
    np.testing.assert_array_equal(np.asarray(slope) > 0, np.asarray(won) > 0)


def test_a_network_of_winners_starts_from_the_kernels_of_one_without(key):
    plain, thin = mlp((10, 20, 20, 3)), mlp((10, 20, 20, 3), winners=0.25)
    for a, b in zip(*map(jax.tree.leaves, (plain.init(key), thin.init(key))), strict=True):
        np.testing.assert_array_equal(a, b)
    _, features = thin.apply(thin.init(key), inputs_of(key))
    assert all((np.asarray(layer) > 0).sum(1).max() <= 5 for layer in features)
    whole, all_of_them = plain.apply(plain.init(key), inputs_of(key))
    again, _ = mlp((10, 20, 20, 3), winners=1.0).apply(plain.init(key), inputs_of(key))
    np.testing.assert_array_equal(whole, again)
    assert (np.asarray(all_of_them[0]) > 0).sum(1).max() > 5


def test_units_are_kept_with_the_probability_of_their_counts(key):
    counts = jnp.array([0.0, 5.0, 10.0])
    kept = sparse.kept(counts, 1.5, 40_000, key)
    expected = np.exp(-1.5 * np.array([0, 0.5, 1]))
    deviation = np.sqrt(expected * (1 - expected) / 40_000)
    assert np.all(np.abs(kept.mean(0) - expected) <= 4 * deviation)
    assert np.all(sparse.kept(jnp.zeros(3), 1.5, 100, key))


def test_wins_are_counted_and_move_to_the_past_with_the_task(key):
    network = mlp((10, 20, 3), winners=0.2, dropout=1.0)
    rows = Batch(inputs_of(key), jnp.zeros(50, int))
    parts = trainer(network, cross_entropy, optax.sgd(0.0), (), (count_tasks(network),), batch=10)
    learner, _ = jax.jit(parts.learn)(parts.initialise(network.init(key)), rows, key)
    _, features = network.apply(network.init(key), rows.inputs)
    counts = (np.asarray(features[0]) > 0).sum(0)
    np.testing.assert_array_equal(learner.network_state["task"][0], counts)
    assert not np.any(learner.network_state["past"][0])
    learner = jax.jit(parts.begin)(learner, rows, key)
    np.testing.assert_array_equal(learner.network_state["past"][0], counts)
    assert not np.any(learner.network_state["task"][0])
    dropped, _, _ = network.train(learner.params, rows.inputs, learner.network_state, key)
    whole, _ = network.apply(learner.params, rows.inputs, learner.network_state)
    assert np.any(dropped != whole)
    other, _, _ = network.train(
        learner.params, rows.inputs, learner.network_state, jax.random.fold_in(key, 9)
    )
    assert np.any(dropped != other)


def test_features_of_length_one(key):
    network = mlp((10, 20, 20, 3), unit_features=True)
    _, (first, last) = network.apply(network.init(key), inputs_of(key))
    np.testing.assert_allclose(np.linalg.norm(last, axis=1), 1.0)
    assert not np.allclose(np.linalg.norm(first, axis=1), 1.0)


@pytest.mark.parametrize(("width", "classes"), [(20, 3), (10, 10), (2, 2)])
def test_a_fixed_head_is_an_equiangular_frame_without_parameters(key, width, classes):
    frame = np.asarray(sparse.equiangular(width, classes))
    cosines = frame.T @ frame
    expected = np.where(np.eye(classes) > 0, 1.0, -1 / (classes - 1))
    np.testing.assert_allclose(cosines, expected, atol=1e-12)
    network = mlp((10, width, classes), fixed_head=True)
    params = network.init(key)
    assert len(params) == 1 and network.head == ()
    outputs, features = network.apply(params, inputs_of(key))
    np.testing.assert_allclose(outputs, features[0] @ frame, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"winners": 0.0}, "winners"),
        ({"winners": 1.5}, "winners"),
        ({"dropout": -1.0}, "dropout"),
        ({"widths": (4, 3), "dropout": 1.0}, "hidden"),
        ({"widths": (4, 2, 3), "fixed_head": True}, "fixed_head"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    widths = options.pop("widths", (4, 5, 3))
    with pytest.raises(UserError, match=said):
        mlp(widths, **options)


def test_counting_needs_counts():
    with pytest.raises(UserError, match="dropout"):
        count_tasks(mlp((4, 5, 3)))
