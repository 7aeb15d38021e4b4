"""Small vision transformers."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError
from neoteny.networks.layers import (
    Layer,
    check_image,
    check_sizes,
    chosen,
    images,
    new_layer,
    normalised,
    unit_group,
)
from neoteny.types import Features, Network, PRNGKey


def transformer(
    shape: Sequence[int],
    classes: int,
    *,
    patch: int = 4,
    size: int = 64,
    depth: int = 2,
    heads: int = 4,
    hidden: int | None = None,
    widths: Sequence[int] = (),
    class_token: bool = False,
    activation: str = "gelu",
    layer_norm: bool = False,
    initialiser: str = "glorot-uniform",
) -> Network:
    """A vision transformer: patches as tokens, then blocks of attention and a two-layer MLP.

    Tokens are square patches, embedded linearly, plus a learnt position. Each block adds to its
    tokens the attention over all of them, then the MLP of each, both reading the tokens after a
    layer norm. The mean of the normed tokens, or the class token, goes to the output.
    Parameters are a dict of `embed`, `positions`, `token` (if any), `blocks`, `norm`, `dense` and
    `head`. Hidden layers are the MLPs' and the dense ones; each token is a row of features.

    **Arguments:**

    - `shape`: height, width and channels of an image. Inputs may be flattened, and bytes.
    - `patch`: side of a patch, which divides height and width.
    - `size`, `depth`, `heads`: numbers of a token, blocks, heads that share a token's numbers.
    - `hidden`: units of each block's MLP; `None` for four times `size`.
    - `widths`: of dense hidden layers before the output.
    - `class_token`: read an extra token, of its own, instead of the mean of all.
    - `activation`, `layer_norm`, `initialiser`: as of `mlp`; `layer_norm` is that of hidden
      layers, beside those in front of each block's parts.

    **Raises:** `UserError` if `patch` does not divide the image or `heads` not `size`, for a
    size below 1, or an unknown name.

    **Source:** Dosovitskiy et al. (2021), with positions and token drawn at a scale of 0.02.
    """
    check_image(shape)
    hidden = 4 * size if hidden is None else hidden
    check_sizes(classes=classes, patch=patch, size=size, depth=depth, heads=heads, hidden=hidden)
    check_sizes(widths=widths)
    if shape[0] % patch or shape[1] % patch:
        raise UserError(
            f"`patch` is {patch}, but images are {shape[0]} x {shape[1]}: pass a side that divides "
            "both."
        )
    if size % heads:
        raise UserError(f"`heads` is {heads}, but has to divide `size`, which is {size}.")
    act, draw = chosen(activation, initialiser)
    tokens = shape[0] // patch * (shape[1] // patch) + class_token
    dense = tuple(pairwise((size, *widths, classes)))

    def new_block(key: PRNGKey) -> dict[str, Layer]:
        keys = [jax.random.fold_in(key, index) for index in range(4)]
        return {
            "attention_norm": _new_norm(size),
            "attention": new_layer(draw, keys[0], (size, 3 * size), False),
            "mix": new_layer(draw, keys[1], (size, size), False),
            "mlp_norm": _new_norm(size),
            "up": new_layer(draw, keys[2], (size, hidden), layer_norm),
            "down": new_layer(draw, keys[3], (hidden, size), False),
        }

    def init(key: PRNGKey) -> dict[str, Any]:
        keys = [jax.random.fold_in(key, index) for index in range(5)]
        layers = [
            new_layer(draw, jax.random.fold_in(keys[4], at), ends, layer_norm and at < len(widths))
            for at, ends in enumerate(dense)
        ]
        params = {
            "embed": new_layer(draw, keys[0], (patch * patch * shape[2], size), False),
            "positions": 0.02 * jax.random.normal(keys[1], (tokens, size)),
            "blocks": tuple(new_block(jax.random.fold_in(keys[2], at)) for at in range(depth)),
            "norm": _new_norm(size),
            "dense": tuple(layers[:-1]),
            "head": layers[-1],
        }
        token = {"token": 0.02 * jax.random.normal(keys[3], (size,))} if class_token else {}
        return params | token

    def apply(
        params: dict[str, Any], inputs: Num[Array, "rows *shape"]
    ) -> tuple[Float[Array, "rows outputs"], Features]:
        rows, features = len(inputs), []
        stream = _linear(_patches(images(inputs, shape), patch), params["embed"])
        stream = stream.reshape(rows, -1, size)
        if class_token:
            own = jnp.broadcast_to(params["token"], (rows, 1, size))
            stream = jnp.concatenate([own, stream], 1)
        stream = (stream + params["positions"][None]).reshape(-1, size)
        for block in params["blocks"]:
            read = _linear(normalised(stream, block["attention_norm"]), block["attention"])
            stream = stream + _linear(_attend(read, rows, heads), block["mix"])
            read = normalised(stream, block["mlp_norm"])
            units = act(normalised(_linear(read, block["up"]), block["up"]))
            stream = stream + _linear(units, block["down"])
            features.append(units)
        whole = normalised(stream, params["norm"]).reshape(rows, tokens, size)
        final = whole[:, 0] if class_token else whole.mean(1)
        for layer in params["dense"]:
            final = act(normalised(_linear(final, layer), layer))
            features.append(final)
        return _linear(final, params["head"]), tuple(features)

    blocks = [("blocks", index) for index in range(depth)]
    ends = [*(("dense", index) for index in range(len(widths))), ("head",)]
    units = (
        *(
            unit_group(f"block_{at + 1}", hidden, (*path, "up"), (*path, "down"), norm=layer_norm)
            for at, path in enumerate(blocks)
        ),
        *(
            unit_group(f"dense_{at + 1}", widths[at], path, reader, norm=layer_norm)
            for at, (path, reader) in enumerate(pairwise(ends))
        ),
    )
    return Network(init, apply, units, head=("head",))


def _new_norm(size: int) -> Layer:
    return {"scale": jnp.ones(size), "offset": jnp.zeros(size)}


def _patches(
    whole: Float[Array, "rows height width channels"], side: int
) -> Float[Array, "tokens numbers"]:
    """Square patches, row after row, each flattened."""
    rows, height, width, channels = whole.shape
    parts = whole.reshape(rows, height // side, side, width // side, side, channels)
    return parts.swapaxes(2, 3).reshape(-1, side * side * channels)


def _linear(read: Float[Array, "tokens ins"], layer: Layer) -> Float[Array, "tokens outs"]:
    """On tokens of all rows side by side: on three axes, the weights' gradient is slow on CPU."""
    return read @ layer["kernel"] + layer["bias"][None]


def _attend(
    read: Float[Array, "tokens three_sizes"], rows: int, heads: int
) -> Float[Array, "tokens size"]:
    """What each token takes from those of its row, by the likeness of its query to their keys."""
    width = read.shape[1] // 3 // heads
    by_head = lambda part: part.reshape(rows, -1, heads, width).swapaxes(1, 2)
    query, key, value = map(by_head, jnp.split(read, 3, axis=1))
    likeness = query @ key.swapaxes(2, 3) / width**0.5
    taken = jax.nn.softmax(likeness) @ value
    return taken.swapaxes(1, 2).reshape(-1, heads * width)
