import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.errors import UserError
from neoteny.networks import transformer

SHAPE, ROWS = (4, 6, 2), 3
SMALL = {"patch": 2, "size": 4, "depth": 2, "heads": 2, "hidden": 5}


def written_out(params, images, heads):
    """Row by row, patch by patch and head by head."""
    params = jax.tree.map(np.asarray, params)
    linear = lambda x, layer: x @ layer["kernel"] + layer["bias"]

    def norm(x, layer):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * layer["scale"] + layer["offset"]

    def attend(x, layer):
        query, key, value = np.split(linear(x, layer), 3, -1)
        parts = []
        for q, k, v in zip(
            *(np.split(part, heads, -1) for part in (query, key, value)), strict=True
        ):
            weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
            parts.append(weights / weights.sum(1, keepdims=True) @ v)
        return np.concatenate(parts, -1)

    outputs = []
    for image in np.asarray(images):
        patches = [
            image[row : row + 2, column : column + 2].ravel()
            for row in range(0, SHAPE[0], 2)
            for column in range(0, SHAPE[1], 2)
        ]
        x = linear(np.stack(patches), params["embed"])
        if "token" in params:
            x = np.concatenate([params["token"][None], x])
        x = x + params["positions"]
        for block in params["blocks"]:
            x = x + linear(
                attend(norm(x, block["attention_norm"]), block["attention"]), block["mix"]
            )
            units = np.maximum(linear(norm(x, block["mlp_norm"]), block["up"]), 0)
            x = x + linear(units, block["down"])
        x = norm(x, params["norm"])
        x = x[0] if "token" in params else x.mean(0)
        for layer in params["dense"]:
            x = np.maximum(linear(x, layer), 0)
        outputs.append(linear(x, params["head"]))
    return np.stack(outputs)


@pytest.mark.parametrize("class_token", [False, True])
def test_outputs_are_the_blocks_written_out(key, class_token):
    options = {"activation": "relu", "class_token": class_token, "widths": (7,)}
    network = transformer(SHAPE, 3, **SMALL, **options)
    params = jax.tree.map(lambda leaf: leaf + 0.1, network.init(key))
    images = jax.random.normal(key, (ROWS, *SHAPE))
    outputs, features = jax.jit(network.apply)(params, images)
    np.testing.assert_allclose(outputs, written_out(params, images, 2), atol=1e-12)
    tokens = ROWS * (6 + class_token)
    assert [layer.shape for layer in features] == [(tokens, 5), (tokens, 5), (ROWS, 7)]


def test_without_positions_the_order_of_the_patches_does_not_matter(key):
    network = transformer(SHAPE, 3, **SMALL)
    params = network.init(key)
    images = jax.random.normal(key, (ROWS, *SHAPE))
    turned = jnp.concatenate([images[:, 2:], images[:, :2]], 1)
    one, other = (network.apply(params, x)[0] for x in (images, turned))
    assert not np.allclose(one, other, atol=1e-6)
    params["positions"] = jnp.zeros_like(params["positions"])
    one, other = (network.apply(params, x)[0] for x in (images, turned))
    np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patch": 3}, "`patch` is 3"),
        ({"patch": 2, "heads": 3, "size": 4}, "`heads` is 3"),
        ({"patch": 2, "depth": 0}, "`depth`"),
        ({"patch": 2, "activation": "rellu"}, "`relu`"),
    ],
)
def test_impossible_arguments_are_refused_in_words(options, words):
    with pytest.raises(UserError, match=words):
        transformer(SHAPE, 3, **options)
