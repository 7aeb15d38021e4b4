import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.errors import UserError
from neoteny.networks import ACTIVATIONS, INITIALISERS, mlp

WIDTHS = (6, 5, 4, 3)


def test_outputs_are_the_affine_maps_and_activations_written_out(key):
    network = mlp(WIDTHS, activation="tanh")
    params = network.init(key)
    x = np.asarray(jax.random.normal(key, (7, 6)))
    hidden = x
    for layer in params[:-1]:
        hidden = np.tanh(hidden @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
    expected = hidden @ np.asarray(params[-1]["kernel"]) + np.asarray(params[-1]["bias"])
    outputs, features = network.apply(params, jnp.asarray(x))
    np.testing.assert_allclose(outputs, expected, atol=1e-12)
    np.testing.assert_allclose(features[-1], hidden, atol=1e-12)
    assert [f.shape for f in features] == [(7, 5), (7, 4)]


def test_layer_norm_centres_and_scales_pre_activations_over_units(key):
    network = mlp((6, 50, 3), activation="identity", layer_norm=True)
    (features,) = network.apply(network.init(key), jax.random.normal(key, (7, 6)))[1]
    np.testing.assert_allclose(features.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(features.var(1), 1, atol=1e-4)  # the 1e-6 inside the root


def test_networks_that_differ_in_an_option_start_from_the_same_kernels(key):
    plain, normalised = mlp(WIDTHS).init(key), mlp(WIDTHS, layer_norm=True).init(key)
    wider = mlp((6, 5, 9, 3)).init(key)
    for one, other in zip(plain, normalised, strict=True):
        np.testing.assert_array_equal(one["kernel"], other["kernel"])
    np.testing.assert_array_equal(plain[0]["kernel"], wider[0]["kernel"])


def test_he_uniform_has_variance_two_over_fan_in_and_biases_start_at_zero(key):
    layer = mlp((400, 300, 2)).init(key)[0]
    assert np.isclose(np.var(layer["kernel"]), 2 / 400, rtol=0.02)
    assert np.max(np.abs(layer["kernel"])) <= np.sqrt(6 / 400)
    assert not np.any(layer["bias"])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_unit_map_points_at_arrays_of_the_layers_size(key, activation, layer_norm):
    network = mlp(WIDTHS, activation=activation, layer_norm=layer_norm)
    params = network.init(key)
    for group, size in zip(network.units, (5, 4), strict=True):
        assert group.size == size
        for place in (*group.incoming, *group.outgoing):
            array = params
            for step in place.path:
                array = array[step]
            assert array.shape[place.axis] == size
        index, name = group.shift
        assert params[index][name].shape == (size,)


def test_a_unit_reaches_the_outputs_through_its_outgoing_weights_alone(key):
    network = mlp(WIDTHS)
    params = network.init(key)
    x = jax.random.normal(key, (20, 6))
    for group in network.units:
        (index, name), axis, _ = group.outgoing[0]
        assert axis == 0
        silenced = [dict(layer) for layer in params]
        silenced[index][name] = silenced[index][name].at[0].set(0.0)
        changed = [dict(layer) for layer in silenced]
        changed[index - 1]["kernel"] = changed[index - 1]["kernel"].at[:, 0].mul(3.0)
        one, other = (network.apply(tuple(p), x)[0] for p in (silenced, changed))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("initialiser", INITIALISERS)
def test_every_initialiser_gives_finite_kernels_that_depend_on_the_key(initialiser):
    init = mlp(WIDTHS, initialiser=initialiser).init
    one, other = init(jax.random.key(1)), init(jax.random.key(2))
    assert np.all(np.isfinite(one[0]["kernel"]))
    assert not np.allclose(one[0]["kernel"], other[0]["kernel"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"widths": (6,)}, "`widths`"),
        ({"widths": (6, 0, 3)}, "at least 1"),
        ({"widths": WIDTHS, "activation": "rellu"}, "`relu`"),
        ({"widths": WIDTHS, "initialiser": "he"}, "initialiser"),
    ],
)
def test_impossible_arguments_are_refused_in_words(arguments, words):
    with pytest.raises(UserError, match=words):
        mlp(**arguments)
