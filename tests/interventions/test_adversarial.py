"""Attacks: how far rows move, that the loss rises, and that training sees the moved rows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.errors import UserError
from neoteny.interventions import gradient_attack
from neoteny.losses import cross_entropy
from neoteny.networks import mlp
from neoteny.training import trainer
from neoteny.types import Batch

NETWORK = mlp((6, 8, 3))


@pytest.fixture
def setting(key):
    params = NETWORK.init(key)
    inputs = jax.random.normal(jax.random.fold_in(key, 1), (20, 6))
    labels = jax.random.randint(jax.random.fold_in(key, 2), (20,), 0, 3)
    loss = lambda inputs: cross_entropy(NETWORK.apply(params, inputs)[0], labels).mean()
    return params, Batch(inputs, labels), loss


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("steps", [1, 10])
def test_rows_move_by_no_more_than_the_radius_and_the_loss_rises(setting, key, norm, steps):
    _, rows, loss = setting
    moved = gradient_attack(0.3, steps=steps, norm=norm)(loss, rows.inputs, key)
    by = np.asarray(moved - rows.inputs)
    sizes = np.linalg.norm(by, axis=1) if norm == "l2" else np.abs(by).max(1)
    assert np.all(sizes <= 0.3 + 1e-12) and np.median(sizes) > 0.29
    assert loss(moved) > loss(rows.inputs)


def test_on_a_linear_loss_one_step_is_the_worst_there_is(key):
    slope = jax.random.normal(key, (5, 4))
    inputs = jnp.zeros((5, 4))
    loss = lambda inputs: jnp.sum(slope * inputs) / 5
    for steps in (1, 7):
        moved = gradient_attack(0.5, steps=steps)(loss, inputs, key)
        expected = 0.5 * slope / jnp.linalg.norm(slope, axis=1, keepdims=True)
        np.testing.assert_allclose(moved, expected, atol=1e-12)
    moved = gradient_attack(0.5, norm="linf")(loss, inputs, key)
    np.testing.assert_allclose(moved, 0.5 * jnp.sign(slope))


def test_rows_without_a_gradient_stay(key):
    moved = gradient_attack(0.5)(lambda inputs: jnp.zeros(()), jnp.ones((3, 2)), key)
    np.testing.assert_array_equal(moved, 1.0)


def test_a_step_is_taken_on_the_moved_rows(setting, key):
    params, rows, loss = setting
    attack = gradient_attack(0.3)
    parts = trainer(NETWORK, cross_entropy, optax.sgd(0.1), batch=20, attack=attack)
    learner, _ = jax.jit(parts.learn)(parts.initialise(params), rows, key)
    moved = attack(loss, rows.inputs, key)
    task = lambda params: cross_entropy(NETWORK.apply(params, moved)[0], rows.labels).mean()
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(task)(params))
    for a, b in zip(*map(jax.tree.leaves, (learner.params, expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"radius": 0.0}, {"radius": 0.1, "steps": 0}, {"radius": 0.1, "norm": "l1"}]
)
def test_what_cannot_be_is_refused(options):
    with pytest.raises(UserError, match=r"radius|steps|norm"):
        gradient_attack(**options)


def test_a_row_of_which_the_loss_is_almost_nothing_is_moved_all_the_way(key):
    """In single precision the squares of its slopes are zero, though they are not themselves."""
    loss = lambda inputs: jnp.exp(-60 + jnp.sum(inputs))
    moved = gradient_attack(0.5)(loss, jnp.zeros((1, 4), jnp.float32), key)
    np.testing.assert_allclose(moved, 0.25, rtol=1e-6)
