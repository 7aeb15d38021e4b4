"""What becomes of the output layer when the task changes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.errors import UserError
from neoteny.interventions import HEADS, elementwise_adam, renew_head
from neoteny.networks import mlp
from neoteny.types import Learner

NETWORK = mlp((4, 5, 3))


def _renewed(policy, optimiser, opened=None):
    params = NETWORK.init(jax.random.key(0))
    gradient = jax.tree.map(jnp.ones_like, params)
    _, opt_state = optimiser.update(gradient, optimiser.init(params), params)
    learner = Learner(params, opt_state)
    return learner, renew_head(NETWORK, optimiser, policy)(learner, jax.random.key(1), opened)


@pytest.mark.parametrize("policy", ["shared", "masked"])
def test_a_head_that_stays_needs_no_change(policy):
    assert renew_head(NETWORK, optax.sgd(0.1), policy) is None


@pytest.mark.parametrize("policy", ["zeroed", "fresh"])
def test_a_renewed_head_leaves_the_rest_alone(policy):
    before, after = _renewed(policy, optax.sgd(0.1))
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(before.params[0][name], after.params[0][name])
    kernel = after.params[1]["kernel"]
    if policy == "zeroed":
        np.testing.assert_array_equal(kernel, 0)
    else:
        np.testing.assert_array_equal(kernel, NETWORK.init(jax.random.key(1))[1]["kernel"])


def test_a_grown_head_draws_the_opened_outputs_and_keeps_the_others():
    opened = jnp.asarray([False, True, False])
    before, after = _renewed("grown", optax.sgd(0.1), opened)
    fresh = NETWORK.init(jax.random.key(1))[1]["kernel"]
    np.testing.assert_array_equal(after.params[1]["kernel"][:, 1], fresh[:, 1])
    kept = np.asarray([0, 2])
    old = before.params[1]["kernel"]
    np.testing.assert_array_equal(after.params[1]["kernel"][:, kept], old[:, kept])


def test_the_optimiser_forgets_the_weights_that_change_and_no_others():
    opened = jnp.asarray([False, True, False])
    _, after = _renewed("grown", elementwise_adam(0.1), opened)
    mu = after.opt_state.mu
    np.testing.assert_array_equal(mu[1]["kernel"][:, 1], 0)
    assert (np.asarray(mu[1]["kernel"][:, 0]) != 0).all()
    assert (np.asarray(mu[0]["kernel"]) != 0).all()


def test_what_cannot_be_done_is_said_with_what_can():
    with pytest.raises(UserError, match=r"no head policy `zero`.*`zeroed`"):
        renew_head(NETWORK, optax.sgd(0.1), "zero")
    with pytest.raises(UserError, match=r"`training.head` is fresh.*`head`"):
        renew_head(NETWORK._replace(head=()), optax.sgd(0.1), "fresh")
    assert set(HEADS) == {"shared", "masked", "grown", "zeroed", "fresh"}
