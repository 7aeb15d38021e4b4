"""Churn reduction: what it resists, on which rows, and the weight that it finds by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.errors import UserError
from neoteny.interventions import Penalty, churn_reduction
from neoteny.losses import cross_entropy
from neoteny.networks import mlp
from neoteny.training import trainer
from neoteny.types import Batch

NETWORK = mlp((5, 7, 3))


@pytest.fixture
def rows(key):
    inputs = jax.random.normal(jax.random.fold_in(key, 1), (40, 5))
    return Batch(inputs, jax.random.randint(jax.random.fold_in(key, 2), (40,), 0, 3))


def moved(params, by=0.1):
    return jax.tree.map(lambda leaf: leaf + by, params)


def test_it_is_half_the_mean_squared_change_since_one_update_ago(key, rows):
    penalty, params = churn_reduction(NETWORK, 0.6), NETWORK.init(key)
    signals = {"reference": rows, "loss": jnp.array(1.0), "outputs": None, "batch": None}
    first, past = penalty.apply(params, (), penalty.init(params), **signals)
    assert first == 0
    outputs = lambda params: NETWORK.apply(params, rows.inputs)[0]
    value, past = penalty.apply(moved(params), (), past, **signals)
    change = np.asarray(outputs(moved(params)) - outputs(params))
    assert np.isclose(value, 0.3 * np.mean(np.sum(change**2, axis=1)))
    slope = jax.grad(lambda now: penalty.apply(now, (), past, **signals)[0])(moved(params))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slope))  # as it is where it was


def test_the_weight_finds_the_share_of_the_loss(key, rows):
    penalty, params = churn_reduction(NETWORK, 5.0, relative=0.25, window=4), NETWORK.init(key)
    past = penalty.init(params)
    for update in range(60):
        params = moved(params, 0.1 if update % 2 else -0.1)
        signals = {"reference": rows, "loss": jnp.array(-2.0)}
        value, past = penalty.apply(params, (), past, **signals)
        plain = churn_reduction(NETWORK, 1.0).apply(
            params, (), past._replace(params=moved(params, -0.1 if update % 2 else 0.1)), **signals
        )[0]
        if 0 < update < 4:
            assert np.isclose(value, 5.0 * plain)
    assert np.isclose(value, 0.25 * 2.0, rtol=0.2)


def test_reference_rows_are_of_the_task_and_not_those_that_are_learnt_from(rows):
    seen = []

    def apply(params, features, state, *, batch, reference, **others):
        jax.debug.callback(lambda *told: seen.append(told), batch.inputs, reference.inputs)
        return jnp.zeros(()), state

    part = Penalty(lambda params: (), apply)
    parts = trainer(NETWORK, cross_entropy, optax.sgd(0.1), (part,), batch=8, epochs=2)
    learner = parts.initialise(NETWORK.init(jax.random.key(0)))
    jax.block_until_ready(jax.jit(parts.learn)(learner, rows, jax.random.key(1)))
    jax.effects_barrier()
    every = {row.tobytes() for row in np.asarray(rows.inputs)}
    assert len(seen) == 10
    for learnt, other in seen:
        assert {row.tobytes() for row in np.asarray(other)} <= every
        assert not np.array_equal(np.sort(learnt, axis=0), np.sort(other, axis=0))
    assert len({np.asarray(other).tobytes() for _, other in seen}) == 10


def test_down_its_gradient_outputs_on_other_rows_go_back_by_the_tangent_kernel(key, rows):
    """To first order by `rate * strength / rows * N @ change`, with N the kernel of these rows."""
    penalty, params = churn_reduction(NETWORK, 0.8), NETWORK.init(key)
    signals = {"reference": rows, "loss": jnp.array(1.0)}
    _, past = penalty.apply(params, (), penalty.init(params), **signals)
    after = jax.tree.map(
        lambda leaf: leaf + 1e-3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params
    )
    outputs = lambda params: NETWORK.apply(params, rows.inputs)[0].reshape(-1)
    slope = jax.grad(lambda now: penalty.apply(now, (), past, **signals)[0])(after)
    back = jax.tree.map(lambda p, g: p - 1e-3 * g, after, slope)
    leaves = jax.tree.leaves(jax.jacobian(outputs)(after))
    jacobian = np.concatenate([np.asarray(leaf).reshape(120, -1) for leaf in leaves], axis=1)
    change = np.asarray(outputs(after) - outputs(params))
    expected = -1e-3 * 0.8 / 40 * jacobian @ jacobian.T @ change
    np.testing.assert_allclose(outputs(back) - outputs(after), expected, rtol=1e-2, atol=1e-9)
    assert np.linalg.norm(outputs(back) - outputs(params)) < np.linalg.norm(change)


@pytest.mark.parametrize("options", [{"relative": -1.0}, {"window": 0}])
def test_what_cannot_be_is_refused(options):
    with pytest.raises(UserError, match=r"relative|window"):
        churn_reduction(NETWORK, 1.0, **options)
