"""What every network promises, alone and under surgery, penalties and interventions."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from neoteny.interventions import (
    continual_backprop,
    effective_rank_penalty,
    effective_rank_step,
    l2_init,
    reinitialise_units,
    reset,
    shrink_and_perturb,
    spectral,
)
from neoteny.interventions.continual_backprop import Ledger, _hand_over
from neoteny.interventions.surgery import outgoing_size
from neoteny.networks import NETWORKS
from neoteny.probes import unit_health
from neoteny.types import Batch, Learner, View, bound

SHAPE, CLASSES, ROWS = (4, 4, 2), 3, 5
CASES = {
    "mlp": ("mlp", {"widths": (5, 4)}),
    "mlp, layer norm": ("mlp", {"widths": (5, 4), "layer_norm": True}),
    "convnet": ("convnet", {"channels": (3,), "kernels": (3,), "widths": (5,)}),
    "convnet, layer norm": (
        "convnet",
        {"channels": (3, 4), "kernels": (3, 1), "widths": (), "layer_norm": True},
    ),
    "resnet": ("resnet", {"channels": (3, 4), "blocks": 1, "widths": (5,)}),
    "resnet, group norm": (
        "resnet",
        {"channels": (2, 4), "blocks": 1, "widths": (), "norm": "group", "norm_groups": 2},
    ),
    "resnet, channel by channel": (
        "resnet",
        {"channels": (3,), "blocks": 2, "widths": (), "norm": "group"},
    ),
    "transformer": ("transformer", {"patch": 2, "size": 4, "depth": 1, "heads": 2, "hidden": 6}),
    "transformer, token": (
        "transformer",
        {"patch": 2, "size": 4, "depth": 1, "heads": 2, "widths": (5,), "class_token": True},
    ),
}
FLATTENED = {"flattened": ("convnet", {"channels": (3,), "kernels": (1,), "widths": (4,)})}
MIXING = {"mlp, layer norm", "convnet, layer norm", "resnet, group norm"}
APART = [name for name in CASES if name not in MIXING]
OPTIMISER = optax.sgd(0.1, momentum=0.9)

FURTHER = {"resnet, channel by channel", "transformer, token", "convnet, layer norm"}
"""Cases that the others stand for, unless all tests are asked for."""


def _marked(names):
    return [
        pytest.param(name, marks=pytest.mark.further if name in FURTHER else ()) for name in names
    ]


every_network = pytest.mark.parametrize("name", _marked(CASES))
every_network_apart = pytest.mark.parametrize("name", _marked(APART))


@lru_cache(maxsize=len(CASES))
def case(name):
    """A network, its compiled functions, and parameters away from their first values."""
    kind, options = (CASES | FLATTENED)[name]
    network = NETWORKS[kind](SHAPE, CLASSES, **options)
    network = network._replace(init=jax.jit(network.init))
    shifted = lambda leaf: leaf + 0.1 * np.cos(np.arange(leaf.size)).reshape(leaf.shape)
    params = jax.tree.map(shifted, jax.device_get(network.init(jax.random.key(1))))
    state = jax.tree.map(lambda leaf: 0.5 * np.asarray(leaf) + 0.2, network.state)
    given = jax.jit(network.apply)
    apply = lambda params, inputs, now=state: given(params, inputs, *([now] if state else []))
    outputs = lambda params, inputs, now: apply(params, inputs, now)[0]
    surgery = jax.jit(
        lambda learner, masks, key: reinitialise_units(
            learner, network.units, masks, network.init(key), OPTIMISER, statistics=network.state
        )
    )
    inputs = jnp.asarray(np.random.default_rng(2).normal(size=(ROWS, *SHAPE)))
    opt_state = jax.tree.map(np.ones_like, OPTIMISER.init(params))
    learner = Learner(params, opt_state, network_state=state)
    return network, learner, inputs, apply, outputs, surgery


def one_unit(network, group, unit):
    return [np.arange(g.size) == (unit if g is group else -1) for g in network.units]


def set_incoming(params, group, unit, value):
    """All that belongs to a unit alone, set to a number."""
    for place in group.incoming:
        params = with_slice(params, place.path, (slice(None),) * place.axis + (unit,), value)
    return params


def with_slice(tree, path, at, value):
    def change(array):
        changed = np.array(array)
        changed[at] = value
        return changed

    return replaced(tree, path, change)


def replaced(tree, path, change):
    if not path:
        return change(tree)
    if isinstance(tree, tuple):
        return tuple(
            replaced(child, path[1:], change) if index == path[0] else child
            for index, child in enumerate(tree)
        )
    return tree | {path[0]: replaced(tree[path[0]], path[1:], change)}


def array_at(tree, path):
    for step in path:
        tree = tree[step]
    return tree


def live_unit(features):
    """The unit whose features are largest."""
    return int(np.argmax(np.abs(features).sum(0)))


def both(outputs, inputs, *learners):
    return [outputs(each.params, inputs, each.network_state) for each in learners]


@every_network
def test_outputs_and_features_have_the_shapes_that_the_unit_map_says(name):
    network, learner, inputs, apply, *_ = case(name)
    outputs, features = apply(learner.params, inputs)
    assert outputs.shape == (ROWS, CLASSES)
    assert [layer.shape[1] for layer in features] == [group.size for group in network.units]
    assert all(len(layer) % ROWS == 0 for layer in features)
    assert len({group.name for group in network.units}) == len(network.units)
    assert array_at(learner.params, network.head)["kernel"].shape[-1] == CLASSES
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((learner.params, outputs, features))}
    assert dtypes == {jnp.dtype("float64")}


@every_network
def test_every_place_is_an_axis_of_the_groups_size_times_its_places(name):
    network, learner, *_ = case(name)
    for group in network.units:
        for place in (*group.incoming, *group.outgoing):
            axis = array_at(learner.params, place.path).shape[place.axis]
            assert axis == group.size * place.places
        for place, bias in zip(group.outgoing, group.next_biases, strict=True):
            assert array_at(learner.params, bias).shape == (
                array_at(learner.params, place.path).shape[-1],
            )
        for place in group.statistics:
            assert array_at(learner.network_state, place.path).shape == (group.size,)
        assert array_at(learner.params, group.shift).shape == (group.size,)


@every_network
def test_a_row_is_read_without_regard_to_the_others_when_flattened_too(name):
    _, learner, inputs, apply, *_ = case(name)
    whole = apply(learner.params, inputs)[0]
    turned = apply(learner.params, inputs[::-1])[0]
    np.testing.assert_allclose(turned, whole[::-1], atol=1e-12)
    flat = apply(learner.params, inputs.reshape(ROWS, -1))[0]
    np.testing.assert_array_equal(flat, whole)


@every_network
def test_units_are_the_channels_that_the_features_show(name):
    """A unit of which all that is its own is zero is silent, and no other unit of its layer is."""
    network, learner, inputs, apply, *_ = case(name)
    features = apply(learner.params, inputs)[1]
    for index, group in enumerate(network.units):
        unit = live_unit(features[index])
        other = apply(set_incoming(learner.params, group, unit, 0.0), inputs)[1][index]
        silenced = np.all(other == 0, axis=0) & ~np.all(features[index] == 0, axis=0)
        np.testing.assert_array_equal(np.flatnonzero(silenced), [unit], err_msg=group.name)


@every_network_apart
def test_replacing_an_inert_unit_changes_no_output(name):
    network, learner, inputs, _, outputs, surgery = case(name)
    for group in network.units:
        for unit in range(group.size):
            before = learner._replace(params=set_incoming(learner.params, group, unit, 0.0))
            after = surgery(before, one_unit(network, group, unit), jax.random.key(9))
            one, other = (
                outputs(each.params, inputs, each.network_state) for each in (before, after)
            )
            np.testing.assert_allclose(one, other, atol=1e-13, err_msg=group.name)
            assert not np.array_equal(
                *(array_at(each.params, group.incoming[0].path) for each in (before, after))
            )


@every_network_apart
def test_a_replaced_unit_has_no_influence_on_the_outputs(name):
    network, learner, inputs, apply, outputs, surgery = case(name)
    features = apply(learner.params, inputs)[1]
    for layer, group in zip(features, network.units, strict=True):
        unit = live_unit(layer)
        after = surgery(learner, one_unit(network, group, unit), jax.random.key(9))
        one = outputs(after.params, inputs, after.network_state)
        for value in (0.0, 3.0):
            changed = set_incoming(after.params, group, unit, value)
            other = outputs(changed, inputs, after.network_state)
            np.testing.assert_allclose(one, other, atol=1e-12, err_msg=group.name)
        assert not np.allclose(one, outputs(learner.params, inputs, learner.network_state))


@every_network
def test_surgery_touches_the_units_own_weights_moments_and_statistics_and_no_others(name):
    network, learner, *_, surgery = case(name)
    for group in network.units:
        after = surgery(learner, one_unit(network, group, 1), jax.random.key(9))
        parts = sum(
            array_at(learner.params, place.path).size // group.size
            for place in (*group.incoming, *group.outgoing)
        )
        moments = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(after.opt_state)])
        assert np.sum(moments == 0) == parts
        assert np.sum(moments == 1) == moments.size - parts
        for old, new, moment in zip(
            *map(jax.tree.leaves, (learner.params, after.params, after.opt_state)), strict=True
        ):
            np.testing.assert_array_equal(
                np.where(moment == 1, old, 0), np.where(moment == 1, new, 0)
            )
        for place in group.statistics:
            first, old, new = (
                np.asarray(array_at(state, place.path))
                for state in (network.state, learner.network_state, after.network_state)
            )
            np.testing.assert_array_equal(new, np.where(np.arange(group.size) == 1, first, old))
        changed = sum(
            np.sum(one != other)
            for one, other in zip(
                *map(jax.tree.leaves, (learner.network_state, after.network_state)), strict=True
            )
        )
        assert changed == len(group.statistics)


@pytest.mark.parametrize("name", ["mlp", "flattened", "transformer", "transformer, token"])
def test_the_mean_of_a_constant_unit_goes_to_the_biases_and_the_outputs_stay(name):
    network, learner, inputs, apply, outputs, surgery = case(name)
    hand_over = jax.jit(
        lambda learner, ledgers, masks: _hand_over(learner, network, ledgers, masks, 0.5)
    )
    for index, group in enumerate(network.units):
        silent = set_incoming(learner.params, group, 1, 0.0)
        constant = with_slice(silent, group.shift, 1, 0.7)
        before = learner._replace(params=constant)
        mean = apply(constant, inputs)[1][index].mean(0)
        assert mean[1] > 0.1
        masks, age = one_unit(network, group, 1), 1000  # so that running means are all data
        ledgers = [
            Ledger(jnp.full(g.size, age), jnp.zeros(g.size), jnp.zeros(g.size), jnp.zeros(()))
            for g in network.units
        ]
        ledgers[index] = ledgers[index]._replace(mean_activation=mean)
        after = surgery(hand_over(before, ledgers, masks), masks, jax.random.key(9))
        one, other = both(outputs, inputs, before, after)
        np.testing.assert_allclose(one, other, atol=1e-12, err_msg=group.name)


def test_through_a_convolution_goes_the_mean_times_the_kernels_sum_to_every_reader():
    network, learner, *_ = case("resnet")
    (index,) = [at for at, group in enumerate(network.units) if group.name == "stage_1"]
    masks = one_unit(network, network.units[index], 2)
    nothing = [np.zeros(group.size) for group in network.units]
    ledgers = [Ledger(np.full(len(none), 1000), none, none, np.zeros(())) for none in nothing]
    ledgers[index] = ledgers[index]._replace(mean_activation=np.array([5.0, 7.0, 0.3]))
    learner, ledgers = jax.tree.map(jnp.asarray, (learner, ledgers))
    handed = _hand_over(learner, network, ledgers, masks, 0.5).params
    shifts = jax.tree.map(lambda new, old: new - old, handed, learner.params)
    (one,), (two,) = learner.params["stages"]
    for path, layer in [
        (("stages", 0, 0, "first", "bias"), one["first"]),
        (("stages", 1, 0, "first", "bias"), two["first"]),
        (("stages", 1, 0, "shortcut", "bias"), two["shortcut"]),
    ]:
        expected = 0.3 * layer["kernel"][:, :, 2].sum((0, 1))
        np.testing.assert_allclose(array_at(shifts, path), expected, atol=1e-15)
        shifts = with_slice(shifts, path, slice(None), 0.0)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(shifts))


def test_the_size_of_what_reads_a_unit_is_a_mean_over_places_kernels_and_readers():
    network, learner, *_ = case("convnet")
    kernel = np.abs(learner.params[1]["kernel"]).reshape(2, 2, 3, 5)
    sizes = outgoing_size(jax.tree.map(jnp.asarray, learner.params), network.units[0])
    np.testing.assert_allclose(sizes, kernel.mean((0, 1, 3)), atol=1e-15)

    network, learner, *_ = case("resnet")
    (stream,) = [group for group in network.units if group.name == "stage_1"]
    (one,), (two,) = learner.params["stages"]
    readers = [one["first"], two["first"], two["shortcut"]]
    weights = [
        np.abs(layer["kernel"]).transpose(2, 0, 1, 3).reshape(stream.size, -1) for layer in readers
    ]
    sizes = outgoing_size(jax.tree.map(jnp.asarray, learner.params), stream)
    np.testing.assert_allclose(sizes, np.concatenate(weights, 1).mean(1), atol=1e-15)


def test_the_spectral_penalty_keeps_positions_where_they_began_and_not_kernels():
    _, learner, *_ = case("transformer")
    penalty, params = spectral(1.0), jax.tree.map(jnp.asarray, learner.params)
    gradient = jax.grad(lambda now: penalty.apply(now, (), penalty.init(params))[0])(params)
    assert not np.any(gradient["positions"])
    assert np.any(gradient["embed"]["kernel"])


def rounds(name):
    """A gradient of all penalties, then what each intervention makes of the learner."""
    network, _, inputs, *_ = case(name)
    penalties = [l2_init(0.1), spectral(0.1), effective_rank_penalty(0.1)]
    interventions = {
        "backprop": continual_backprop(network, OPTIMISER, replacement_rate=0.9, maturity=0),
        "rank": effective_rank_step(network, learning_rate=0.1),
        "reset": reset(network, OPTIMISER),
        "shrink": shrink_and_perturb(network, shrink=0.9, perturb=0.1),
    }

    def act(learner, key):
        learn = network.train or (lambda *at: (*network.apply(*at[:2]), at[2]))
        memories = [part.init(learner.params) for part in penalties]

        def total(params):
            _, features, state = learn(params, inputs, learner.network_state, key)
            parts = zip(penalties, memories, strict=True)
            value = sum(part.apply(params, features, memory)[0] for part, memory in parts)
            return value, (features, state)

        gradient, (features, state) = jax.grad(total, has_aux=True)(learner.params)
        learner = learner._replace(network_state=state)
        batch = Batch(inputs, jnp.zeros(ROWS, jnp.int32))
        return gradient, {
            kind: part.apply(
                learner, part.init(learner.params), key=key, batch=batch, features=features
            )[0]
            for kind, part in interventions.items()
        }

    return act


@every_network
def test_penalties_and_interventions_keep_the_learners_structure_shapes_and_types(name):
    learner = jax.tree.map(jnp.asarray, case(name)[1])
    gradient, after = jax.eval_shape(rounds(name), learner, jax.random.key(3))
    described = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert described(gradient) == described(learner.params)
    for kind, changed in after.items():
        assert described(changed) == described(learner), kind


@pytest.mark.parametrize(
    "name", ["convnet", pytest.param("resnet", marks=pytest.mark.further), "transformer, token"]
)
def test_penalties_and_interventions_act_on_every_part(name):
    network, learner, *_ = case(name)
    gradient, after = jax.jit(rounds(name))(learner, jax.random.key(3))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((gradient, after)))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient))
    changed = jax.tree.map(
        lambda old, new: np.any(old != new), learner.params, after["shrink"].params
    )
    assert all(jax.tree.leaves(changed))
    jax.tree.map(np.testing.assert_array_equal, network.state, after["reset"].network_state)
    group = network.units[0]  # of its vectors the last is not one that means are handed to
    before, now = (
        array_at(each.params, group.incoming[-1].path) for each in (learner, after["backprop"])
    )
    assert np.sum(before != now) == int(0.9 * group.size)
    moved = jax.tree.map(
        lambda old, new: np.all(old != new), learner.network_state, after["rank"].network_state
    )
    assert all(jax.tree.leaves(moved))


@every_network
def test_unit_health_reads_every_layer(name):
    network, learner, inputs, *_ = case(name)
    measured = bound(network, View(jax.tree.map(jnp.asarray, learner.network_state)))
    health = jax.jit(lambda params: unit_health(measured, params, inputs))(learner.params)
    shares = np.asarray(health)
    assert shares.shape == (3, len(network.units))
    assert np.all((shares >= 0) & (shares <= 1))
    assert np.all(health.saturated < 1)
