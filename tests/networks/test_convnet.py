import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from neoteny.errors import UserError
from neoteny.networks import convnet
from neoteny.networks.convolution import LAYOUT
from neoteny.probes import alive_units

SMALL = {"channels": (3, 4), "kernels": (3, 3), "widths": (5,)}


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_papers_network_has_the_papers_number_of_parameters(key):
    network = convnet((32, 32, 3), 2)
    assert count(jax.eval_shape(network.init, key)) == 373_826
    images = jnp.zeros((2, 32, 32, 3))
    outputs, features = jax.eval_shape(network.apply, jax.eval_shape(network.init, key), images)
    assert outputs.shape == (2, 2)
    widths = [(2 * 256, 32), (2 * 64, 64), (2 * 16, 128), (2, 128), (2, 128)]
    assert [layer.shape for layer in features] == widths
    assert [group.size for group in network.units] == [32, 64, 128, 128, 128]


def test_it_fits_the_digits_whose_last_pooling_leaves_one_place(key):
    network = convnet((8, 8, 1), 10, channels=(2, 3, 4), widths=(5,))
    outputs, features = jax.eval_shape(
        network.apply, jax.eval_shape(network.init, key), jnp.zeros((7, 64))
    )
    assert outputs.shape == (7, 10)
    assert [layer.shape for layer in features] == [(7 * 16, 2), (7 * 4, 3), (7, 4), (7, 5)]


@pytest.mark.parametrize("layer_norm", [False, True])
def test_outputs_are_convolutions_poolings_and_products_written_out(key, layer_norm):
    network = convnet((9, 8, 2), 3, activation="tanh", layer_norm=layer_norm, **SMALL)
    params = jax.tree.map(lambda p: p + 0.1, network.init(key))
    hidden = images = jax.random.normal(key, (4, 9, 8, 2))

    def act(pre, layer):
        if layer_norm:
            pre = (pre - pre.mean(-1)[..., None]) / np.sqrt(pre.var(-1) + 1e-6)[..., None]
            pre = pre * np.asarray(layer["scale"]) + np.asarray(layer["offset"])
        return np.tanh(pre)

    expected = []
    for layer in params[:2]:
        pre = lax.conv_general_dilated(
            hidden, layer["kernel"], (1, 1), "SAME", dimension_numbers=LAYOUT
        )
        hidden = act(np.asarray(pre) + np.asarray(layer["bias"]), layer)
        hidden = lax.reduce_window(
            jnp.asarray(hidden), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
        )
        expected.append(np.asarray(hidden).reshape(-1, hidden.shape[-1]))
    hidden = np.asarray(hidden).reshape(4, -1)
    hidden = act(
        hidden @ np.asarray(params[2]["kernel"]) + np.asarray(params[2]["bias"]), params[2]
    )
    expected.append(hidden)
    outputs, features = jax.jit(network.apply)(params, images)
    for one, other in zip(features, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    final = hidden @ np.asarray(params[3]["kernel"]) + np.asarray(params[3]["bias"])
    np.testing.assert_allclose(outputs, final, atol=1e-12)


def test_flattened_images_and_bytes_are_read_as_the_images_they_are(key):
    network = convnet((6, 4, 2), 3, **SMALL)
    params, whole = network.init(key), jax.random.randint(key, (3, 6, 4, 2), 0, 256)
    given = [whole / 255, whole.reshape(3, -1) / 255, whole.astype(jnp.uint8)]
    first, *others = [network.apply(params, inputs)[0] for inputs in given]
    for other in others:
        np.testing.assert_allclose(first, other, atol=1e-6)  # bytes are read in float32


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((64,), {}, "height, width"),
        ((8, 8, 1), {"channels": (2,)}, "`kernels`"),
        ((7, 8, 1), {}, "up to 2"),
        ((8, 8, 1), {"widths": (0,)}, "`widths`"),
        ((8, 8, 1), {"activation": "rellu"}, "`relu`"),
        ((8, 8, 1), {"initialiser": "he"}, "initialiser"),
    ],
)
def test_impossible_arguments_are_refused_in_words(shape, options, words):
    with pytest.raises(UserError, match=words):
        convnet(shape, 2, **options)


def test_inputs_of_another_size_are_refused_in_words(key):
    network = convnet((4, 4, 1), 3, **SMALL)
    with pytest.raises(UserError, match=r"\(4, 4, 1\)"):
        network.apply(network.init(key), jnp.zeros((2, 15)))


def test_what_is_proved_of_dense_layers_alone_is_refused(key):
    network = convnet((4, 4, 1), 3, **SMALL)
    with pytest.raises(ValueError, match="two axes"):
        alive_units(network, network.init(key), jnp.zeros((2, 16)))
