"""Of a network whose hidden layers are frozen the output layer alone learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.errors import UserError
from neoteny.interventions import freeze_hidden
from neoteny.losses import cross_entropy
from neoteny.methods import make
from neoteny.networks import mlp
from neoteny.training import trainer
from neoteny.types import Batch

NETWORK = mlp((4, 6, 3))


@pytest.mark.parametrize("rule", [optax.sgd(0.1), optax.adam(0.1)])
def test_the_head_learns_as_a_linear_model_of_the_first_features_does(key, rule):
    params = NETWORK.init(key)
    rows = Batch(jax.random.normal(key, (12, 4)), jnp.arange(12, dtype=jnp.int32) % 3)
    method = make("last_layer")
    parts = trainer(
        NETWORK, cross_entropy, rule, interventions=method.interventions(NETWORK, rule), batch=12,
        epochs=5, shuffle=False,
    )  # fmt: skip
    learner, _ = jax.jit(parts.learn)(parts.initialise(params), rows, key)
    np.testing.assert_array_equal(learner.params[0]["kernel"], params[0]["kernel"])

    features = Batch(NETWORK.apply(params, rows.inputs)[1][0], rows.labels)
    linear = trainer(mlp((6, 3)), cross_entropy, rule, batch=12, epochs=5, shuffle=False)
    alone, _ = jax.jit(linear.learn)(linear.initialise((params[1],)), features, key)
    for name in ("kernel", "bias"):
        np.testing.assert_allclose(learner.params[1][name], alone.params[0][name], atol=1e-12)
    assert np.any(learner.params[1]["kernel"] != params[1]["kernel"])


def test_a_network_that_names_no_head_is_refused():
    with pytest.raises(UserError, match="Give it a `head`"):
        freeze_hidden(NETWORK._replace(head=()))
