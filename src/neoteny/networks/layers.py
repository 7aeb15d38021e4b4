"""Layers that networks are made of: products, normalisations, and the map of their units."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError, unknown
from neoteny.networks.choices import ACTIVATIONS, INITIALISERS
from neoteny.types import Place, PRNGKey, UnitGroup, as_floats

Layer = dict[str, Any]  # arrays by name: `kernel`, `bias` and, of a norm, `scale` and `offset`
Path = tuple[str | int, ...]


def chosen(activation: str, initialiser: str) -> tuple[Callable, Callable]:
    """An activation and an initialiser by their names."""
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if initialiser not in INITIALISERS:
        raise unknown("initialiser", initialiser, INITIALISERS)
    return ACTIVATIONS[activation], INITIALISERS[initialiser]


def check_sizes(**sizes: Sequence[int] | int) -> None:
    """Refuse a size below 1."""
    for name, given in sizes.items():
        if min((given,) if isinstance(given, int) else tuple(given), default=1) < 1:
            raise UserError(f"`{name}` is {given}, but every size is at least 1.")


def check_image(shape: Sequence[int]) -> None:
    """Refuse what is no shape of an image."""
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(
            f"The shape is {tuple(shape)}, but this network reads images: pass (height, width, "
            "channels), as in `(32, 32, 3)`."
        )


def new_layer(draw: Callable, key: PRNGKey, shape: tuple[int, ...], norm: bool) -> Layer:
    """A kernel drawn anew and a bias of zero; with a norm, its scale of one and offset of zero."""
    layer = {"kernel": draw(key, shape)}
    layer["bias"] = jnp.zeros(shape[-1], layer["kernel"].dtype)
    return layer | (
        {"scale": jnp.ones_like(layer["bias"]), "offset": layer["bias"]} if norm else {}
    )


def images(
    inputs: Num[Array, "rows *given"], shape: Sequence[int]
) -> Float[Array, "rows height width channels"]:
    """Inputs as images, flattened or not, bytes or not."""
    if prod(inputs.shape[1:]) != prod(shape):
        raise UserError(
            f"A row of inputs has shape {inputs.shape[1:]}, but this network reads images of "
            f"{shape}. Make it for the shape of the data."
        )
    return as_floats(inputs).reshape(len(inputs), *shape)


def normalised(pre: Float[Array, "*places units"], layer: Layer) -> Float[Array, "*places units"]:
    """Layer norm over the units, where the layer has a scale."""
    if "scale" not in layer:
        return pre
    centred = pre - pre.mean(-1, keepdims=True)
    spread = jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-6)
    return scaled(centred / spread, layer)


def scaled(pre: Float[Array, "*places units"], layer: Layer) -> Float[Array, "*places units"]:
    """The learnt scale and offset of a norm."""
    return pre * along_last(layer["scale"], pre.ndim) + along_last(layer["offset"], pre.ndim)


def along_last(vector: Float[Array, " units"], axes: int) -> Float[Array, "..."]:
    """A vector with as many axes in front as it takes to add it to an array of `axes` axes."""
    return vector.reshape((1,) * (axes - 1) + (-1,))


def as_rows(hidden: Float[Array, "*places units"]) -> Float[Array, "rows units"]:
    """Each place of each row as a row of its own."""
    return hidden.reshape(-1, hidden.shape[-1])


def incoming(path: Path, layer_norm: bool, kernel_axes: int = 2) -> tuple[Place, ...]:
    """The arrays of the layer at `path` of which its units own a slice: the last axis of each."""
    vectors = ("bias", "scale", "offset") if layer_norm else ("bias",)
    return (
        Place((*path, "kernel"), kernel_axes - 1),
        *(Place((*path, name), 0) for name in vectors),
    )


def unit_group(
    name: str,
    size: int,
    path: Path,
    reader: Path,
    *,
    norm: bool,
    kernel_axes: int = 2,
    reader_axes: int = 2,
    places: int = 1,
) -> UnitGroup:
    """Units of the layer at `path` that the layer at `reader` alone reads."""
    return UnitGroup(
        name=name,
        size=size,
        incoming=incoming(path, norm, kernel_axes),
        outgoing=(Place((*reader, "kernel"), reader_axes - 2, places),),
        next_biases=((*reader, "bias"),),
        shift=(*path, "offset" if norm else "bias"),
    )
