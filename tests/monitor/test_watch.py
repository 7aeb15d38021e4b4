"""The watch on a training loop: what it says of networks whose state is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neoteny as nt
from neoteny.losses import cross_entropy
from neoteny.monitor import RULES, Rule, diagnose
from neoteny.networks import mlp
from neoteny.types import Batch

NETWORK = mlp((6, 8, 8, 3))
KEY = jax.random.key(0)


def loss(params, batch):
    return cross_entropy(NETWORK.apply(params, batch.inputs)[0], batch.labels).mean()


def features(params, batch):
    return NETWORK.apply(params, batch.inputs)[1]


@pytest.fixture(scope="module")
def batch():
    return Batch(jax.random.normal(KEY, (40, 6)), jnp.arange(40) % 3)


def _killed(params):
    """The same network with every hidden unit dead."""
    first, *others = params
    return (first | {"bias": first["bias"] - 1e3}, *others)


def test_a_young_network_is_trainable_beside_a_fresh_one(batch):
    monitor = nt.Monitor(fresh=NETWORK.init, features=features)
    found = monitor.check(loss, NETWORK.init(jax.random.key(7)), batch)
    assert found.trainable is True
    assert found.mechanisms == ()
    assert str(found) == "trainable"


def test_a_dead_network_is_not_trainable_and_is_told_why_and_what_to_try(batch):
    monitor = nt.Monitor(fresh=NETWORK.init, features=features)
    found = monitor.check(loss, _killed(NETWORK.init(KEY)), batch)
    assert found.trainable is False
    assert any("dead" in mechanism for mechanism in found.mechanisms)
    assert len(found.mechanisms) == len(found.advice) > 0
    assert "continual_backprop" in str(found)


def test_without_a_fresh_network_the_first_check_is_what_others_are_held_against(batch):
    monitor = nt.Monitor()
    young = NETWORK.init(KEY)
    first = monitor.check(loss, young, batch)
    assert first.trainable is None
    assert first.reference == {}
    again = monitor.check(loss, young, batch)
    assert again.trainable is True
    assert again.reference == first.values == again.values
    assert monitor.check(loss, _killed(young), batch).trainable is False
    assert [found.trainable for found in monitor.history] == [None, True, False]


def test_the_measurements_are_those_of_the_dense_matrices(batch):
    params = NETWORK.init(KEY)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    flat_loss = lambda vector: loss(unravel(vector), batch)
    values = nt.Monitor(features=features, learning_rate=0.1).check(loss, params, batch).values
    largest = np.linalg.eigvalsh(jax.hessian(flat_loss)(flat))[-1]
    np.testing.assert_allclose(values["sharpness"], largest, rtol=1e-8)
    np.testing.assert_allclose(values["edge"], 0.05 * largest, rtol=1e-8)
    np.testing.assert_allclose(
        values["gradient_norm"], np.linalg.norm(jax.grad(flat_loss)(flat)), rtol=1e-10
    )
    np.testing.assert_allclose(values["weight_norm"], np.linalg.norm(flat), rtol=1e-10)
    layers = features(params, batch)
    ranks = [float(nt.probes.effective_rank(layer)) for layer in layers]
    np.testing.assert_allclose(values["feature_rank"], np.mean(ranks), rtol=1e-10)


def test_a_step_beyond_the_edge_of_stability_is_said_but_is_no_loss_of_plasticity(batch):
    found = nt.Monitor(fresh=NETWORK.init, learning_rate=1e6).check(loss, NETWORK.init(KEY), batch)
    assert found.trainable is True
    assert found.mechanisms[0].startswith("the step size is beyond the edge")


def test_a_reference_that_is_not_finite_is_refused(batch):
    broken = lambda key: jax.tree.map(lambda leaf: leaf * jnp.nan, NETWORK.init(key))
    with pytest.raises(nt.UserError, match="`fresh`"):
        nt.Monitor(fresh=broken).check(loss, NETWORK.init(KEY), batch)


def test_features_of_no_layer_are_refused_in_words(batch):
    with pytest.raises(nt.UserError, match="no hidden layer"):
        nt.Monitor(features=lambda params, batch: ()).check(loss, NETWORK.init(KEY), batch)


def test_a_diverged_network_is_refused(batch):
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, NETWORK.init(KEY))
    with pytest.raises(nt.UserError, match="diverged"):
        nt.Monitor().check(loss, broken, batch)


@pytest.mark.parametrize("options", [{"num_steps": 0}, {"num_probes": 0}, {"learning_rate": -1.0}])
def test_impossible_options_are_named(options):
    (name,) = options
    with pytest.raises(nt.UserError, match=name):
        nt.Monitor(**options)


def test_each_rule_is_at_work_just_beyond_its_bound():
    for rule in RULES:
        reference = {rule.value: 2.0}
        above = rule.absolute or rule.bound > 1
        limit = rule.bound if rule.absolute else 2.0 * rule.bound
        beyond, within = (limit * f for f in ((1.01, 0.99) if above else (0.99, 1.01)))
        assert diagnose({rule.value: beyond}, reference, [rule]).mechanisms
        assert not diagnose({rule.value: within}, reference, [rule]).mechanisms


def test_a_rule_of_ones_own_can_decide(batch):
    rule = Rule("loss", 1e-3, "the loss is too high", "patience", decides=True, absolute=True)
    found = nt.Monitor(rules=[rule]).check(loss, NETWORK.init(KEY), batch)
    assert found.trainable is False
    assert found.advice == ("patience",)
