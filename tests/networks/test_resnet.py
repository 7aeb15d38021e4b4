import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from neoteny.curvature import ggn_vector_product
from neoteny.errors import UserError
from neoteny.networks import resnet
from neoteny.networks.convolution import LAYOUT
from neoteny.types import View, bound

SMALL = {"channels": (3, 4), "blocks": 1, "widths": (5,)}
SHAPE = (5, 6, 2)


def test_by_default_it_is_resnet_18_for_cifar(key):
    network = resnet((32, 32, 3), 100)
    params = jax.eval_shape(network.init, key)
    convolution = lambda window, ins, outs: window**2 * ins * outs + outs + 2 * outs  # and its norm
    expected, ins = convolution(3, 3, 64), 64
    for outs in (64, 128, 256, 512):
        expected += convolution(3, ins, outs) + 3 * convolution(3, outs, outs)
        expected += convolution(1, ins, outs) if ins != outs else 0
        ins = outs
    expected += 2 * (512 * 512 + 512) + 512 * 100 + 100
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected
    images = jnp.zeros((2, 32, 32, 3))
    outputs, features = jax.eval_shape(network.apply, params, images)
    assert outputs.shape == (2, 100)
    places = [(2 * 1024, 64)] * 2 + [(3 * 2 * 1024, 64)]
    for side, width in ((16, 128), (8, 256), (4, 512)):
        places += [(2 * side**2, width)] * 2 + [(2 * 2 * side**2, width)]
    assert [layer.shape for layer in features] == [*places, (2, 512), (2, 512)]
    assert len(network.units) == 4 * 3 + 2


def written_out(params, images, standardise):
    """A stem, a block that adds what comes in, and one that halves and projects it."""

    def convolve(layer, hidden, stride=1):
        pre = lax.conv_general_dilated(
            hidden, layer["kernel"], (stride, stride), "SAME", dimension_numbers=LAYOUT
        )
        pre = np.asarray(pre) + np.asarray(layer["bias"])
        if "scale" in layer:
            pre = standardise(pre) * np.asarray(layer["scale"]) + np.asarray(layer["offset"])
        return pre

    relu = lambda pre: np.maximum(pre, 0)
    stream = relu(convolve(params["stem"], images))
    (one,), (two,) = params["stages"]
    stream = relu(convolve(one["second"], relu(convolve(one["first"], stream))) + stream)
    inner = relu(convolve(two["first"], stream, 2))
    stream = relu(convolve(two["second"], inner) + convolve(two["shortcut"], stream, 2))
    dense, head = params["dense"][0], params["head"]
    hidden = relu(stream.mean((1, 2)) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]))
    return hidden @ np.asarray(head["kernel"]) + np.asarray(head["bias"])


def over(axes, epsilon):
    """To mean 0 and variance 1 over some axes."""
    return lambda x: (
        (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)
    )


def in_groups(x):
    """At most two groups: one of three channels, two of two."""
    parts = np.split(x, 2, 3) if x.shape[3] == 4 else [x]
    return np.concatenate([over((1, 2, 3), 1e-5)(part) for part in parts], 3)


STANDARDISE = {
    "batch": over((0, 1, 2), 1e-5),
    "group": in_groups,
    "layer": over((3,), 1e-6),
    "none": None,
}


@pytest.mark.parametrize("norm", STANDARDISE)
def test_outputs_are_those_of_the_blocks_written_out(key, norm):
    network = resnet(SHAPE, 3, norm=norm, norm_groups=2, **SMALL)
    params = jax.tree.map(lambda leaf: leaf + 0.1, network.init(key))
    images = jax.random.normal(key, (4, *SHAPE))
    expected = written_out(params, images, STANDARDISE[norm])
    if norm == "batch":
        outputs = jax.jit(network.train)(params, images, network.state, key)[0]
    else:
        assert network.train is None and network.state == ()
        outputs = jax.jit(network.apply)(params, images)[0]
    np.testing.assert_allclose(outputs, expected, atol=1e-11)


def test_running_statistics_approach_those_of_the_batches_and_apply_goes_by_them(key):
    network = resnet(SHAPE, 3, momentum=0.8, **SMALL)
    params, images = network.init(key), jax.random.normal(key, (6, *SHAPE))
    train = jax.jit(network.train)
    outputs, _, state = train(params, images, network.state, key)
    stem = lax.conv_general_dilated(
        images, params["stem"]["kernel"], (1, 1), "SAME", dimension_numbers=LAYOUT
    )
    np.testing.assert_allclose(state["stem"]["mean"], 0.2 * stem.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(state["stem"]["var"], 0.8 + 0.2 * stem.var((0, 1, 2)), atol=1e-12)
    for _ in range(150):  # 0.8 ** 150 is 3e-15
        state = train(params, images, state, key)[2]
    np.testing.assert_allclose(
        bound(network, View(state)).apply(params, images)[0], outputs, atol=1e-11
    )
    first = network.apply(params, images)[0]
    np.testing.assert_array_equal(first, network.apply(params, images, network.state)[0])
    assert not np.allclose(first, outputs, atol=1e-3)


def test_no_gradient_reaches_running_statistics_and_curvature_of_train_is_finite(key):
    network = resnet(SHAPE, 3, **SMALL)
    params, images = network.init(key), jax.random.normal(key, (6, *SHAPE))

    def moved(params):
        state = network.train(params, images, network.state, key)[2]
        return sum(leaf.sum() for leaf in jax.tree.leaves(state))

    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(moved))(params)))
    outputs = lambda params: network.train(params, images, network.state, key)[0]
    product = jax.jit(lambda params: ggn_vector_product(outputs, params).matvec(params))(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(product))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(product))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"norm": "bach"}, "`batch`"),
        ({"channels": ()}, "`channels`"),
        ({"channels": (4, 0)}, "`channels`"),
        ({"dense_initialiser": "he"}, "initialiser"),
    ],
)
def test_impossible_arguments_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        resnet(SHAPE, 3, **options)
