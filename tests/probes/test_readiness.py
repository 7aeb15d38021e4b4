"""Rivals of trainability, against closed forms and dense computations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from neoteny.errors import UserError
from neoteny.losses import LOSSES, task_loss
from neoteny.networks import mlp
from neoteny.probes import effective_rank
from neoteny.probes.readiness import (
    kernel_ranks,
    ntk_rank,
    ntk_rank_with,
    random_label_probe,
    random_label_probe_with,
    readiness,
    readiness_with,
)
from neoteny.types import Batch, Network, Snapshot

pytestmark = pytest.mark.usefixtures("compiled_once")

INPUTS, CLASSES = 5, 3
NETWORK = mlp((INPUTS, 7, CLASSES))


def rows(count=48, seed=1):
    inputs = jax.random.normal(jax.random.key(seed), (count, INPUTS))
    return Batch(inputs, jnp.arange(count) % CLASSES)


def snapshot(batch, params=None, network=NETWORK, key=0):
    params = NETWORK.init(jax.random.key(2)) if params is None else params
    loss = task_loss(network, LOSSES["cross-entropy"], batch)
    return Snapshot(network, batch, params, params, loss, jax.random.key(key))


def gradient(shot, batch, loss="cross-entropy"):
    whole = jax.grad(task_loss(shot.network, LOSSES[loss], batch))(shot.params)
    return ravel_pytree(whole)[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_readiness_is_that_of_the_gradients_of_single_rows(loss):
    shot = snapshot(rows(12))
    alone = jax.tree.map(lambda array: array[:, None], shot.batch)
    single = jax.jit(jax.vmap(lambda row: gradient(shot, row, loss)))(alone)
    strength, noise = jnp.sum(single.mean(0) ** 2), jnp.mean(jnp.sum(single**2, axis=1))
    found = readiness_with(minibatch=1, loss=loss)(shot)
    np.testing.assert_allclose(found, [strength**0.5, strength / noise, strength**2 / noise])


def test_minibatches_of_one_gradient_are_wholly_reliable():
    batch = rows(4)
    repeated = jax.tree.map(lambda array: jnp.concatenate([array[:1]] * 48), batch)
    found = readiness(snapshot(repeated))
    norm = jnp.linalg.norm(gradient(snapshot(repeated), repeated))
    np.testing.assert_allclose(found, [norm, 1, norm**2])


@pytest.mark.parametrize("key", range(5))
def test_reliability_lies_between_0_and_1_and_grows_with_the_minibatch(key):
    shot = snapshot(rows(), key=key)
    small, large, whole = (readiness_with(minibatch=size)(shot) for size in (2, 16, 48))
    assert 0 < small.reliability < large.reliability < whole.reliability
    assert whole.reliability == pytest.approx(1)
    np.testing.assert_allclose(small.minibatch_gradient_norm, whole.minibatch_gradient_norm)


def test_rows_that_fill_no_minibatch_are_left_out_of_both_gradients():
    shot = snapshot(rows(20))
    kept = jax.random.permutation(shot.key, 20)[:16]
    alone = jax.tree.map(lambda array: array[kept], shot.batch)
    norm = jnp.linalg.norm(gradient(shot, alone))
    np.testing.assert_allclose(readiness_with(minibatch=16)(shot), [norm, 1, norm**2])


@pytest.mark.parametrize("count, size", [(2, 1), (11, 2), (48, 12), (80, 16)])
def test_minibatches_have_16_rows_unless_that_makes_fewer_than_4(count, size):
    shot = snapshot(rows(count))
    np.testing.assert_array_equal(readiness(shot), readiness_with(minibatch=size)(shot))


def test_the_best_step_gains_at_least_readiness_over_twice_the_smoothness():
    linear = mlp((INPUTS, CLASSES))
    shot = snapshot(rows(), linear.init(jax.random.key(3)), linear)
    extended = jnp.concatenate([shot.batch.inputs, jnp.ones((48, 1))], axis=1)
    smoothness = jnp.linalg.norm(extended, 2) ** 2 / 48 * 2 / CLASSES  # exact for this loss
    measured = readiness_with(minibatch=8, loss="squared-error")(shot)
    step = measured.reliability / smoothness
    whole = task_loss(linear, LOSSES["squared-error"], shot.batch)
    order = jax.random.permutation(shot.key, 48).reshape(6, 8)
    gains = []
    for chosen in order:
        part = jax.tree.map(lambda array, chosen=chosen: array[chosen], shot.batch)
        slope = jax.grad(task_loss(linear, LOSSES["squared-error"], part))(shot.params)
        moved = jax.tree.map(lambda p, g: p - step * g, shot.params, slope)
        gains.append(whole(shot.params) - whole(moved))
    assert np.mean(gains) >= measured.readiness / (2 * smoothness) > 0


def test_no_gradient_is_no_readiness():
    flat = Network(NETWORK.init, lambda p, x: (0 * NETWORK.apply(p, x)[0], ()), ())
    np.testing.assert_array_equal(readiness(snapshot(rows(), network=flat)), [0, 0, 0])


def test_kernel_ranks_of_known_spectra():
    basis = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (100, 100)))[0]

    def ranks(*values):
        spectrum = jnp.zeros(100).at[: len(values)].set(jnp.array(values))
        return kernel_ranks((basis * spectrum[None]) @ basis.T)

    np.testing.assert_allclose(ranks(*[2.0] * 100), [100, 99], rtol=1e-9)
    np.testing.assert_allclose(ranks(*[1e-9] * 7), [7, 7], rtol=1e-9)
    np.testing.assert_allclose(ranks(98.9, 1.0, 0.1)[1], 2)
    np.testing.assert_allclose(ranks(99.1, 0.5, 0.4)[1], 1)
    np.testing.assert_array_equal(ranks(0.0), [0, 0])
    np.testing.assert_array_equal(ranks(jnp.nan), [np.nan, np.nan])


def random_factor(seed, size):
    root = jax.random.normal(jax.random.key(seed), (size + 3, size))
    return root * 0.5 ** jnp.arange(size)[None]


def test_effective_ranks_of_kronecker_factors_multiply():
    left, right = (factor.T @ factor for factor in (random_factor(1, 5), random_factor(2, 4)))
    ranks = [kernel_ranks(m).ntk_effective_rank for m in (left, right, jnp.kron(left, right))]
    np.testing.assert_allclose(ranks[2], ranks[0] * ranks[1], rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_squaring_singular_values_lowers_the_effective_rank(seed):
    features = random_factor(seed, 6)
    squared = kernel_ranks(features.T @ features).ntk_effective_rank
    assert 1 < squared < effective_rank(features)


def test_the_ntk_rank_is_that_of_the_dense_jacobian():
    shot = snapshot(rows())
    flat, unravel = ravel_pytree(shot.params)
    few = shot.batch.inputs[:10]
    outputs = lambda vector: NETWORK.apply(unravel(vector), few)[0].reshape(-1)
    jacobian = jax.jit(jax.jacobian(outputs))(flat)
    sigma = np.linalg.svd(jacobian, compute_uv=False) ** 2
    shares = sigma / sigma.sum()
    entropy = -np.sum(shares * np.log(np.maximum(shares, 1e-300)))
    expected = [np.exp(entropy), 1 + np.argmax(np.cumsum(shares) >= 0.99)]
    np.testing.assert_allclose(ntk_rank_with(rows=10)(shot), expected)
    np.testing.assert_array_equal(ntk_rank(shot), ntk_rank_with(rows=32)(shot))


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_random_labels_are_fitted_as_a_plain_loop_would(optimiser):
    shot = snapshot(rows(16))
    labels = jax.random.randint(shot.key, (16,), 0, CLASSES)
    objective = task_loss(NETWORK, LOSSES["cross-entropy"], Batch(shot.batch.inputs, labels))
    update = getattr(optax, optimiser)(0.05)
    params, state = shot.params, update.init(shot.params)
    slope = jax.jit(jax.grad(objective))
    for _ in range(5):
        change, state = update.update(slope(params), state)
        params = optax.apply_updates(params, change)
    hits = NETWORK.apply(params, shot.batch.inputs)[0].argmax(1) == labels
    probe = random_label_probe_with(steps=5, learning_rate=0.05, optimiser=optimiser)
    np.testing.assert_allclose(probe(shot), [objective(params), hits.mean()])


def test_a_dead_network_cannot_fit_random_labels_and_a_fresh_one_can():
    fresh = snapshot(rows(12))
    hidden, readout = fresh.params
    dead = fresh._replace(params=({**hidden, "bias": hidden["bias"] - 100}, readout))
    fit = random_label_probe_with(steps=300, learning_rate=0.05)
    alive, silent = fit(fresh), fit(dead)
    assert alive.random_label_accuracy == 1 and alive.random_label_loss < 0.05
    assert silent.random_label_accuracy < 0.7 and silent.random_label_loss > 0.8
    assert random_label_probe(dead).random_label_loss > 0.8


PROBES = [readiness, ntk_rank, random_label_probe]


@pytest.mark.parametrize("probe", PROBES)
def test_a_rival_depends_on_its_key_alone_and_agrees_under_jit_and_vmap(probe):
    shot = snapshot(rows())
    measure = lambda params, key: probe(shot._replace(params=params, key=key))
    other = NETWORK.init(jax.random.key(9))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), shot.params, other)
    both = jax.jit(jax.vmap(measure, in_axes=(0, None)))(stacked, shot.key)
    alone = [measure(shot.params, shot.key), jax.jit(measure)(other, shot.key)]
    for place, expected in enumerate(alone):
        np.testing.assert_allclose([field[place] for field in both], expected, rtol=1e-8)
    again = measure(shot.params, jax.random.key(5))
    assert (again == alone[0]) == (probe is ntk_rank)


@pytest.mark.parametrize("probe", PROBES)
def test_float32_parameters_give_float32_rivals(probe):
    batch, params = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.float64 else leaf,
        (rows(), NETWORK.init(jax.random.key(2))),
    )
    assert {value.dtype for value in probe(snapshot(batch, params))} == {np.dtype("float32")}


def test_settings_that_cannot_work_are_refused_by_name():
    with pytest.raises(ValueError, match="`minibatch` is 0"):
        readiness_with(minibatch=0)
    with pytest.raises(ValueError, match=r"`minibatch` is 16.* 10 rows.*`minibatch=1`"):
        readiness_with(minibatch=16)(snapshot(rows(10)))
    with pytest.raises(ValueError, match="`rows` is 0"):
        ntk_rank_with(rows=0)
    with pytest.raises(ValueError, match="`steps` is 0"):
        random_label_probe_with(steps=0)
    with pytest.raises(ValueError, match=r"`learning_rate` is 0\.0"):
        random_label_probe_with(learning_rate=0.0)
    with pytest.raises(UserError, match="Did you mean `adam`"):
        random_label_probe_with(optimiser="adamw")
    with pytest.raises(UserError, match="no loss `hinge`"):
        readiness_with(loss="hinge")
