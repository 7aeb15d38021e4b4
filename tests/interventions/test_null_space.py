"""Gradient projection: what past tasks put into a layer, and that no update is seen by it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.errors import UserError
from neoteny.interventions import gradient_projection, null_space_left
from neoteny.interventions.null_space import remembered
from neoteny.losses import cross_entropy
from neoteny.networks import convnet, mlp
from neoteny.training import trainer
from neoteny.types import Batch, Learner

NETWORK = mlp((12, 9, 7, 3))


def rows(seed, rank, count=40):
    """Rows that lie in a space of `rank` directions of their own, and labels."""
    keys = jax.random.split(jax.random.key(seed), 3)
    basis = jax.random.normal(keys[0], (rank, 12))
    inputs = jax.random.normal(keys[1], (count, rank)) @ basis / 4
    return Batch(inputs, jax.random.randint(keys[2], (count,), 0, 3))


def learnt(optimiser, tasks, **options):
    """The parameters after each task, and what was remembered at the end."""
    part = gradient_projection(NETWORK, **options)
    parts = trainer(NETWORK, cross_entropy, optimiser, (), (part,), batch=10, epochs=3)
    learner, found = parts.initialise(NETWORK.init(jax.random.key(0))), []
    for index, task in enumerate(tasks):
        key = jax.random.key(index)
        if index:
            learner = jax.jit(parts.begin)(learner, task, key)
        learner, _ = jax.jit(parts.learn)(learner, task, key)
        found.append(learner.params)
    return found, learner.interventions[0]


@pytest.mark.parametrize("optimiser", [optax.sgd(0.1), optax.adam(0.01)], ids=["sgd", "adam"])
def test_with_all_remembered_an_old_task_keeps_its_outputs(optimiser):
    first, second = rows(1, 3), rows(2, 3)
    (before, after), _ = learnt(optimiser, [first, second], thresholds=(1.0,), samples=40)
    outputs = lambda params, task: NETWORK.apply(params, task.inputs)[0]
    np.testing.assert_allclose(outputs(after, first), outputs(before, first), atol=1e-9)
    assert np.abs(outputs(after, second) - outputs(before, second)).max() > 1e-3


def test_the_first_task_is_learnt_as_without_it():
    task = rows(1, 3)
    (ours,), _ = learnt(optax.sgd(0.1), [task], thresholds=(1.0,))
    plain = trainer(NETWORK, cross_entropy, optax.sgd(0.1), batch=10, epochs=3)
    start = plain.initialise(NETWORK.init(jax.random.key(0)))
    learner, _ = jax.jit(plain.learn)(start, task, jax.random.key(0))
    for a, b in zip(*map(jax.tree.leaves, (ours, learner.params)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_as_few_directions_as_hold_the_share(share):
    inputs = np.asarray(rows(3, 6).inputs)
    squares = np.linalg.svd(inputs, compute_uv=False) ** 2
    taken = remembered(jnp.zeros((12, 12)), jnp.asarray(inputs), share)
    count = 1 + int(np.sum(np.cumsum(squares) < share * squares.sum()))
    assert np.isclose(np.trace(taken), count)
    np.testing.assert_allclose(taken @ taken, taken, atol=1e-12)
    held = np.sum((inputs @ taken) ** 2) / squares.sum()
    fewer = (np.cumsum(squares) / squares.sum())[count - 2] if count > 1 else 0.0
    assert held >= share > fewer


def test_what_is_held_already_is_not_remembered_twice():
    inputs = rows(3, 4).inputs
    taken = remembered(jnp.zeros((12, 12)), inputs, 1.0)
    np.testing.assert_allclose(remembered(taken, 2 * inputs, 1.0), taken, atol=1e-10)
    both = remembered(taken, rows(4, 4).inputs, 1.0)
    assert np.isclose(np.trace(both), 8)
    np.testing.assert_allclose(both @ both, both, atol=1e-10)


def test_where_all_is_taken_nothing_is_learnt():
    tasks = [rows(seed, 12) for seed in range(1, 4)]
    found, memory = learnt(optax.sgd(0.1), tasks, thresholds=(1.0,), samples=40)
    left = null_space_left(memory)
    assert left[0] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found[2][0]["kernel"], found[1][0]["kernel"], atol=1e-12)
    assert np.all(left >= -1e-12) and np.all(left <= 1)


def test_rows_that_did_not_come_are_not_remembered():
    """The buffer is larger than the task: zeros in it would stand for a constant one alone."""
    _, memory = learnt(optax.sgd(0.1), [rows(1, 2, 20), rows(2, 2, 20)], samples=300)
    assert memory.seen == 60
    assert np.trace(memory.taken[0]) <= 3 + 1e-9


def test_a_head_that_nobody_trains_has_no_null_space():
    network = mlp((12, 9, 7, 3), fixed_head=True)
    part, params = gradient_projection(network), network.init(jax.random.key(0))
    memory = part.init(params)._replace(rows=jnp.ones((300, 12)), seen=jnp.array(300))
    learner = Learner(params, ())
    _, after = part.begin(learner, memory, key=None, batch=None, features=None)
    assert null_space_left(after).shape == (2,) and np.all(null_space_left(after) < 1)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="thresholds"):
        gradient_projection(NETWORK, thresholds=(1.5,))
    with pytest.raises(UserError, match="samples"):
        gradient_projection(NETWORK, samples=0)
    images = convnet((16, 16, 1), 3)
    part = gradient_projection(images)
    with pytest.raises(UserError, match="perceptron"):
        part.init(images.init(jax.random.key(0)))


def test_the_memory_stays_a_projection_in_single_precision():
    """Inputs of which many directions are small: their errors must not add up over tasks."""
    scales = 0.97 ** jnp.arange(100)
    taken = jnp.zeros((100, 100), jnp.float32)
    for seed in range(12):
        rows = jax.random.uniform(jax.random.key(seed), (60, 100)) * scales[None]
        taken = remembered(taken, rows.astype(jnp.float32), 1.0)
    values = np.linalg.eigvalsh(np.asarray(taken, float))
    assert np.all(np.minimum(np.abs(values), np.abs(values - 1)) < 1e-4)
    assert np.trace(taken) > 50
