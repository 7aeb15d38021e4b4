"""The watch on a training loop: what it says of networks whose state is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neoteny as nt
from neoteny.losses import cross_entropy
from neoteny.networks import mlp
from neoteny.types import Batch

pytestmark = pytest.mark.usefixtures("compiled_once")

NETWORK, WIDE = mlp((6, 8, 8, 3)), mlp((784, 300, 300, 10))
KEY = jax.random.key(0)


def _loss_of(network):
    def loss(params, batch):
        return cross_entropy(network.apply(params, batch.inputs)[0], batch.labels).mean()

    return loss


loss, wide_loss = _loss_of(NETWORK), _loss_of(WIDE)


def features(params, batch):
    return NETWORK.apply(params, batch.inputs)[1]


@pytest.fixture(scope="module")
def batch():
    return Batch(jax.random.normal(KEY, (40, 6)), jnp.arange(40) % 3)


@pytest.fixture(scope="module")
def digits():
    """Handwritten digits at the size of MNIST's: each pixel three by three, with a margin."""
    train = nt.streams.load("digits").train
    small = np.asarray(train.inputs[:128], np.float32).reshape(-1, 8, 8)
    large = np.pad(np.kron(small, np.ones((3, 3))), ((0, 0), (2, 2), (2, 2)))
    return Batch(jnp.asarray(large.reshape(128, 784), jnp.float32), train.labels[:128])


@pytest.fixture(scope="module")
def watch(digits):
    """Checks wide networks beside the same fresh ones."""
    monitor = nt.Monitor(fresh=WIDE.init)
    return lambda params: monitor.check(wide_loss, params, digits)


def _killed(layer, share):
    """The same layer with a share of its units dead."""
    return layer | {"bias": layer["bias"].at[: round(share * layer["bias"].size)].add(-1e3)}


def _dead(params):
    first, *others = params
    return (_killed(first, 1.0), *others)


def _of_rank_one(layer):
    left, values, right = jnp.linalg.svd(layer["kernel"], full_matrices=False)
    return layer | {"kernel": values[0] * left[:, :1] @ right[:1]}


def test_a_dozen_networks_that_were_never_trained_raise_no_alarm(watch):
    for seed in range(100, 112):
        found = watch(WIDE.init(jax.random.key(seed)))
        assert found.trainable is True, found
        assert found.mechanisms == (), found


@pytest.mark.parametrize(
    "collapse",
    [
        lambda first, second, last: _dead((first, second, last)),
        lambda first, second, last: (_killed(first, 0.7), _killed(second, 0.7), last),
        lambda first, second, last: (_of_rank_one(first), _of_rank_one(second), last),
    ],
    ids=["no unit alive", "most units dead", "hidden layers of rank one"],
)
def test_a_collapsed_network_alarms_by_its_loss_alone(watch, collapse):
    assert watch(collapse(*WIDE.init(jax.random.key(1)))).trainable is False


def test_of_a_batch_that_is_learnt_nothing_can_be_told(watch, digits):
    slope = jax.jit(jax.grad(wide_loss))
    params = WIDE.init(jax.random.key(1))
    for _ in range(150):
        params = jax.tree.map(lambda old, down: old - 0.2 * down, params, slope(params, digits))
    found = watch(params)
    assert found.values["loss"] < 0.1
    assert found.values["gradient_norm"] < 0.1 * found.reference["gradient_norm"]
    assert found.trainable is None
    assert found.mechanisms == ()
    assert "little left to learn" in str(found)


def test_a_dead_network_is_told_why_and_what_to_try(batch):
    monitor = nt.Monitor(fresh=NETWORK.init, features=features)
    found = monitor.check(loss, _dead(NETWORK.init(KEY)), batch)
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
    assert again.notes == ()
    assert monitor.check(loss, _dead(young), batch).trainable is False
    assert [found.trainable for found in monitor.history] == [None, True, False]


def test_a_change_of_loss_or_shape_is_noted_unless_fresh_networks_meet_it_too(batch):
    params, fewer = NETWORK.init(KEY), jax.tree.map(lambda array: array[:30], batch)
    other = lambda params, batch: 2 * loss(params, batch)
    for fresh, noted in ((None, True), (NETWORK.init, False)):
        monitor = nt.Monitor(fresh=fresh)
        monitor.check(loss, params, batch)
        assert any(
            "loss function" in note for note in monitor.check(other, params, batch).notes
        ) is (noted)
        assert any("shapes" in note for note in monitor.check(loss, params, fewer).notes) is noted


def test_fresh_networks_are_measured_once_for_each_batch(batch):
    drawn = []

    def fresh(key):
        if not isinstance(jax.random.key_data(key), jax.core.Tracer):
            drawn.append(key)
        return NETWORK.init(key)

    monitor, params = nt.Monitor(fresh=fresh, draws=2), NETWORK.init(KEY)
    one = monitor.check(loss, params, batch)
    same = jax.tree.map(lambda array: array + 0, batch)
    assert monitor.check(loss, params, same).reference == one.reference
    assert len(drawn) == 2
    other = batch._replace(inputs=batch.inputs.at[0, 0].add(1))
    assert monitor.check(loss, params, other).reference != one.reference
    assert len(drawn) == 4


def test_only_the_first_rows_are_looked_at(batch):
    params, longer = NETWORK.init(KEY), jax.tree.map(lambda a: jnp.concatenate([a, a[:7]]), batch)
    few, all_of_few = nt.Monitor(rows=40), nt.Monitor()
    assert few.check(loss, params, longer).values == all_of_few.check(loss, params, batch).values
    assert nt.Monitor(rows=None).check(loss, params, longer).values != few.history[0].values


def test_what_else_a_loss_takes_is_handed_on_whole(batch):
    scaled = lambda params, batch, scales: scales.sum() * loss(params, batch)
    plain = nt.Monitor().check(loss, NETWORK.init(KEY), batch).values
    tripled = nt.Monitor().check(scaled, NETWORK.init(KEY), batch, jnp.array([1.0, 2.0])).values
    for name, factor in (("loss", 3), ("gradient_norm", 3), ("gradient_rank", 1)):
        np.testing.assert_allclose(tripled[name], factor * plain[name], rtol=1e-12)


def test_a_batch_whose_rows_cannot_be_parted_is_measured_whole(batch):
    weighted = lambda params, pair: loss(params, pair[0]) * pair[1].mean()
    values = nt.Monitor(rows=5).check(weighted, NETWORK.init(KEY), (batch, jnp.ones(3))).values
    assert "gradient_rank" not in values
    np.testing.assert_allclose(values["loss"], loss(NETWORK.init(KEY), batch), rtol=1e-12)


def test_the_measurements_are_those_of_the_dense_matrices(batch):
    params = NETWORK.init(KEY)
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    flat_loss = lambda vector: loss(unravel(vector), batch)
    gradient = np.asarray(jax.grad(flat_loss)(flat))
    monitor = nt.Monitor(features=features, learning_rate=0.1, num_steps=32)
    values = monitor.check(loss, params, batch).values
    largest = np.linalg.eigvalsh(jax.hessian(flat_loss)(flat))[-1]
    expected = {
        "sharpness": largest,
        "edge": 0.05 * largest,
        "gradient_norm": np.linalg.norm(gradient),
        "moving_share": np.mean(gradient != 0),
        "weight_norm": np.linalg.norm(flat),
        "feature_rank": np.mean([nt.probes.effective_rank(f) for f in features(params, batch)]),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-8, err_msg=name)


def test_the_gradient_rank_is_the_entropy_of_the_dense_cosines(batch):
    flat, unravel = jax.flatten_util.ravel_pytree(NETWORK.init(KEY))
    few = jax.tree.map(lambda array: array[:20], batch)
    losses = lambda vector: cross_entropy(NETWORK.apply(unravel(vector), few[0])[0], few[1])
    rows = np.asarray(jax.jacobian(losses)(flat))
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    shares = np.linalg.svd(rows, compute_uv=False) ** 2 / len(rows)
    found = nt.Monitor().check(loss, unravel(flat), batch).values["gradient_rank"]
    np.testing.assert_allclose(found, np.exp(-np.sum(shares * np.log(shares))), rtol=1e-8)


def test_rows_without_a_gradient_fill_no_direction(batch):
    silent = lambda params, batch: 0.0 * loss(params, batch)
    assert nt.Monitor().check(silent, NETWORK.init(KEY), batch).values["gradient_rank"] == 0


@pytest.mark.parametrize("shape", ["a list", "a dict", "a lone matrix"])
def test_features_may_come_in_any_container(batch, shape):
    params = NETWORK.init(KEY)
    layers = list(features(params, batch))[: 1 if shape == "a lone matrix" else 2]
    given = {
        "a list": list,
        "a dict": lambda ls: dict(enumerate(ls)),
        "a lone matrix": lambda ls: ls[0],
    }
    contained = lambda params, batch: given[shape](list(features(params, batch)))
    values = nt.Monitor(features=contained).check(loss, params, batch).values
    ranks = [float(nt.probes.effective_rank(layer)) for layer in layers]
    np.testing.assert_allclose(values["feature_rank"], np.mean(ranks), rtol=1e-10)


def test_a_step_beyond_the_edge_of_stability_is_said_but_is_no_loss_of_plasticity(batch):
    found = nt.Monitor(fresh=NETWORK.init, learning_rate=1e6).check(loss, NETWORK.init(KEY), batch)
    assert found.trainable is True
    assert found.mechanisms[0].startswith("the step size is beyond the edge")


def test_a_rule_of_ones_own_can_decide(batch):
    rule = nt.Rule("loss", 1e-3, "the loss is too high", "patience", decides=True, absolute=True)
    found = nt.Monitor(rules=[rule]).check(loss, NETWORK.init(KEY), batch)
    assert found.trainable is False
    assert found.advice == ("patience",)
