"""Distinct directions, where their number is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.losses import cross_entropy, task_loss
from neoteny.networks import convnet, mlp
from neoteny.probes import distinct_directions, feature_support
from neoteny.types import Batch, Snapshot


def test_copies_of_a_direction_are_one_and_its_opposite_is_another():
    rows = jnp.array([[1.0, 0], [2.0, 0], [0.5, 0.001], [-1.0, 0], [0, 3.0]])
    assert distinct_directions(rows, jnp.ones(5)) == 3


def test_light_directions_do_not_count_once_nine_tenths_are_there():
    rows, mass = jnp.eye(4), jnp.array([0.5, 0.41, 0.05, 0.04])
    assert distinct_directions(rows, mass) == 2
    assert distinct_directions(rows, mass, share=1.0) == 4
    assert distinct_directions(rows, jnp.zeros(4)) == 0


@pytest.mark.parametrize("cosine", [0.5, 0.95])
def test_the_count_is_that_of_a_plain_loop_on_random_directions(key, cosine):
    rows, mass = np.asarray(jax.random.normal(key, (30, 3))), np.arange(1.0, 31)
    units, left, count = rows / np.linalg.norm(rows, axis=1)[:, None], mass.copy(), 0
    while left.sum() > 0.1 * mass.sum() + 1e-3:
        left[units @ units[np.argmax(left)] > cosine] = 0
        count += 1
    assert distinct_directions(jnp.array(rows), jnp.array(mass), cosine=cosine) == count


def support(network, params, shape):
    batch = Batch(jnp.zeros((2, *shape)), jnp.zeros(2, jnp.int32))
    loss = task_loss(network, cross_entropy, batch)
    told = Snapshot(network, batch, params, params, loss, jax.random.key(0))
    return feature_support(told).feature_support


def test_units_that_share_a_direction_or_lead_nowhere_do_not_add_up(key):
    network = mlp((3, 6, 5, 2))
    first, second, last = network.init(key)
    first["kernel"] = jnp.tile(jnp.eye(3)[:, :2], (1, 3))  # two directions, three times each
    last["kernel"] = last["kernel"].at[1:].set(0.0)  # one unit of the second layer is read
    assert support(network, (first, second, last), (3,)).tolist() == [2, 1]
    first["bias"] = jnp.arange(6.0)  # which is part of a direction
    assert support(network, (first, second, last), (3,))[0] > 2


def test_scaling_units_changes_nothing_that_their_mass_does_not(key):
    network = mlp((3, 6, 2))
    hidden, last = network.init(key)
    scale = jnp.arange(1.0, 7.0)
    scaled = ({"kernel": hidden["kernel"] * scale[None], "bias": hidden["bias"]}, last | {
        "kernel": last["kernel"] / scale[:, None]})  # fmt: skip
    assert support(network, scaled, (3,)) == support(network, (hidden, last), (3,))


def test_channels_have_directions_too_and_layers_without_weights_are_unknown(key):
    network = convnet((8, 8, 1), 3, channels=(4,), kernels=(3,), widths=(6,))
    params = network.init(key)
    found = support(network, params, (8, 8, 1))
    assert len(found) == len(network.units) and np.all(np.asarray(found) >= 1)
    bare = network._replace(units=tuple(group._replace(outgoing=()) for group in network.units))
    assert np.isnan(support(bare, params, (8, 8, 1))).all()
