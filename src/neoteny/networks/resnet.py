"""Residual networks for small images."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError, unknown
from neoteny.networks.convolution import convolution
from neoteny.networks.layers import (
    Layer,
    Path,
    along_last,
    as_rows,
    check_image,
    check_sizes,
    chosen,
    images,
    incoming,
    new_layer,
    normalised,
    scaled,
    unit_group,
)
from neoteny.types import Features, Network, Place, PRNGKey, UnitGroup

NORMS = ("batch", "group", "layer", "none")
EPSILON = 1e-5


class Convolution(NamedTuple):
    """One convolution of the network: where its layer lies, and its sizes."""

    path: Path
    window: int
    channels: int
    units: int
    stride: int = 1


class Block(NamedTuple):
    """A residual block; `shortcut` is `None` where what comes in is added as it is."""

    first: Convolution
    second: Convolution
    shortcut: Convolution | None

    @property
    def parts(self) -> tuple[Convolution, ...]:
        return (self.first, self.second, *([self.shortcut] if self.shortcut else []))


def resnet(
    shape: Sequence[int],
    classes: int,
    *,
    channels: Sequence[int] = (64, 128, 256, 512),
    blocks: int = 2,
    widths: Sequence[int] = (512, 512),
    norm: str = "batch",
    norm_groups: int = 32,
    momentum: float = 0.9,
    activation: str = "relu",
    layer_norm: bool = False,
    initialiser: str = "he-normal-fan-out",
    dense_initialiser: str | None = None,
) -> Network:
    """A residual network for small images: ResNet-18 of the CIFAR kind, with two dense layers.

    A 3 x 3 convolution, then for each of `channels` a stage of `blocks` basic blocks, of which
    the first halves the image from the second stage on; the mean over places; dense layers.
    Parameters are a dict of `stem`, `stages` (a tuple of tuples of blocks), `dense` and `head`.
    Each convolution has a kernel and bias and, with a norm, scale and offset.

    Batch norm goes by the mini-batch in `train`, and moves running means and variances in the
    network's state; `apply` goes by these. Hidden layers, in order: each stage's residual
    stream, after the units inside its blocks, then the dense layers. A stream's features are
    all that layers read of it: the places after the stem and each block, one after the other
    (those after the last block are read as their mean). Group and layer norm bind units
    together: with them, replacing a unit changes its neighbours' scale.

    **Arguments:**

    - `shape`: height, width and channels of an image. Inputs may be flattened, and bytes.
    - `widths`: of the dense hidden layers.
    - `norm`: of convolutions: `"batch"`, `"group"` (with up to `norm_groups` groups of equal
      size), `"layer"` (over a place's channels) or `"none"`.
    - `momentum`: of the running statistics, the share that stays.
    - `activation`, `layer_norm`: as of `mlp`, the norm being that of the dense layers.
    - `initialiser`: of convolutions, a name in `networks.INITIALISERS`; `dense_initialiser` of
      dense layers: if `None`, `"lecun-normal-fan-out"` beside the default, else the same.

    **Raises:** `UserError` for a size below 1, or an unknown name.

    **Source:** He et al. (2016); the defaults are the network of Prakash et al. (2026) on
    CIFAR-100.
    """
    check_image(shape)
    check_sizes(classes=classes, channels=channels, blocks=blocks, widths=widths)
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if not channels:
        raise UserError("`channels` is empty, but a residual network has a stage or more.")
    if dense_initialiser is None:
        default = initialiser == "he-normal-fan-out"
        dense_initialiser = "lecun-normal-fan-out" if default else initialiser
    act, draw = chosen(activation, initialiser)
    _, draw_dense = chosen(activation, dense_initialiser)
    stem, stages = _plan(shape[2], channels, blocks)
    convolutions = [stem, *(part for stage in stages for block in stage for part in block.parts)]
    dense = tuple(pairwise((channels[-1], *widths, classes)))

    def init(key: PRNGKey) -> dict[str, Any]:
        layers = {}
        for index, part in enumerate(convolutions):
            size = (part.window, part.window, part.channels, part.units)
            part_key = jax.random.fold_in(key, index)
            layers[part.path] = new_layer(draw, part_key, size, norm != "none")
        for index, ends in enumerate(dense):
            dense_key = jax.random.fold_in(key, len(convolutions) + index)
            normed = layer_norm and index < len(widths)
            layers[_dense(index, widths)] = new_layer(draw_dense, dense_key, ends, normed)
        return _tree(layers, channels, blocks, len(widths))

    def first_state() -> Any:
        if norm != "batch":
            return ()
        fresh = lambda part: {"mean": jnp.zeros(part.units), "var": jnp.ones(part.units)}
        return _tree({part.path: fresh(part) for part in convolutions}, channels, blocks)

    def forward(params, inputs, normalise: Callable) -> tuple[Array, Features]:
        def convolve(part: Convolution, hidden):
            layer = _at(params, part.path)
            pre = convolution(hidden, layer["kernel"], stride=part.stride)
            return normalise(pre + along_last(layer["bias"], 4), layer, part.path)

        stream, features = act(convolve(stem, images(inputs, shape))), []
        for index, stage in enumerate(stages):
            read = [stream] if index == 0 else []
            for block in stage:
                inner = act(convolve(block.first, stream))
                features.append(as_rows(inner))
                kept = stream if block.shortcut is None else convolve(block.shortcut, stream)
                stream = act(convolve(block.second, inner) + kept)
                read.append(stream)
            features.append(jnp.concatenate([as_rows(part) for part in read]))
        hidden = stream.mean((1, 2))
        for layer in params["dense"]:
            hidden = act(normalised(hidden @ layer["kernel"] + layer["bias"][None], layer))
            features.append(hidden)
        head = params["head"]
        return hidden @ head["kernel"] + head["bias"][None], tuple(features)

    state = first_state()

    def apply(
        params: dict[str, Any], inputs: Num[Array, "rows *shape"], state: Any = state
    ) -> tuple[Float[Array, "rows outputs"], Features]:
        def normalise(pre, layer: Layer, path: Path):
            if norm == "batch":
                return _standardised(pre, layer, **_at(state, path))
            if norm == "group":
                return _group_norm(pre, layer, norm_groups)
            return normalised(pre, layer)

        return forward(params, inputs, normalise)

    def train(
        params: dict[str, Any], inputs: Num[Array, "rows *shape"], state: Any, key: PRNGKey
    ) -> tuple[Float[Array, "rows outputs"], Features, Any]:
        del key
        moved = {}

        def normalise(pre, layer: Layer, path: Path):
            mean, var = pre.mean((0, 1, 2)), pre.var((0, 1, 2))
            seen = jax.lax.stop_gradient({"mean": mean, "var": var})
            blend = lambda old, new: momentum * old + (1 - momentum) * new
            moved[path] = jax.tree.map(blend, _at(state, path), seen)
            return _standardised(pre, layer, mean, var)

        outputs, features = forward(params, inputs, normalise)
        return outputs, features, _tree(moved, channels, blocks)

    units = _units(stem, stages, widths, norm, layer_norm)
    return Network(init, apply, units, ("head",), state, train if norm == "batch" else None)


def _plan(depth: int, channels: Sequence[int], blocks: int):
    """The stem and, of each stage, its blocks."""
    stem, stages, width = Convolution(("stem",), 3, depth, channels[0]), [], channels[0]
    for index, units in enumerate(channels):
        stage = []
        for number in range(blocks):
            path, stride = ("stages", index, number), 2 if index and not number else 1
            moved = stride > 1 or width != units
            stage.append(
                Block(
                    Convolution((*path, "first"), 3, width, units, stride),
                    Convolution((*path, "second"), 3, units, units),
                    Convolution((*path, "shortcut"), 1, width, units, stride) if moved else None,
                )
            )
            width = units
        stages.append(tuple(stage))
    return stem, tuple(stages)


def _dense(index: int, widths: Sequence[int]) -> Path:
    return ("head",) if index == len(widths) else ("dense", index)


def _tree(layers: dict[Path, Any], channels: Sequence[int], blocks: int, dense: int = -1) -> Any:
    """Layers by path as the tree that they lie in; without dense layers, of convolutions alone."""
    block = lambda *path: {name[-1]: layers[name] for name in layers if name[:-1] == path}
    stages = tuple(
        tuple(block("stages", stage, number) for number in range(blocks))
        for stage in range(len(channels))
    )
    tree = {"stem": layers["stem",], "stages": stages}
    if dense >= 0:
        tree["dense"] = tuple(layers["dense", index] for index in range(dense))
        tree["head"] = layers["head",]
    return tree


def _at(tree: Any, path: Path) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def _standardised(pre, layer: Layer, mean, var):
    spread = along_last(jax.lax.rsqrt(var + EPSILON), pre.ndim)
    return scaled((pre - along_last(mean, pre.ndim)) * spread, layer)


def _group_norm(pre: Float[Array, "rows high wide units"], layer: Layer, most: int):
    """Over places and the channels of a group; as many groups as divide the channels, to `most`."""
    units = pre.shape[-1]
    groups = max(number for number in range(1, min(most, units) + 1) if units % number == 0)
    parts = pre.reshape(*pre.shape[:3], groups, units // groups)
    centred = parts - parts.mean((1, 2, 4), keepdims=True)
    spread = jax.lax.rsqrt(jnp.mean(centred**2, (1, 2, 4), keepdims=True) + EPSILON)
    return scaled((centred * spread).reshape(pre.shape), layer)


def _units(stem, stages, widths, norm: str, layer_norm: bool) -> tuple[UnitGroup, ...]:
    normed, groups = norm != "none", []
    dense = [_dense(index, widths) for index in range(len(widths) + 1)]
    for index, stage in enumerate(stages):
        for number, block in enumerate(stage):
            name = f"stage_{index + 1}_block_{number + 1}"
            groups.append(_group(name, [block.first], [block.second], norm, normed))
        writers = [stem] if index == 0 else []
        writers += [part for block in stage for part in (block.second, block.shortcut) if part]
        readers = [block.first for block in stage if index == 0 or block is not stage[0]]
        if index + 1 < len(stages):
            following = stages[index + 1][0]
            readers += [part for part in (following.first, following.shortcut) if part]
        else:
            readers.append(Convolution(dense[0], 0, 0, 0))
        groups.append(_group(f"stage_{index + 1}", writers, readers, norm, normed))
    for index, size in enumerate(widths):
        path, reader = dense[index], dense[index + 1]
        groups.append(unit_group(f"dense_{index + 1}", size, path, reader, norm=layer_norm))
    return tuple(groups)


def _group(
    name: str, writers: list[Convolution], readers: list[Convolution], norm: str, normed: bool
) -> UnitGroup:
    """Channels to which `writers` write and which `readers` read; a dense reader has window 0."""
    last = next(part for part in reversed(writers) if part.path[-1] != "shortcut")
    return UnitGroup(
        name=name,
        size=writers[0].units,
        incoming=tuple(
            place for part in writers for place in incoming(part.path, normed, kernel_axes=4)
        ),
        outgoing=tuple(Place((*part.path, "kernel"), 2 if part.window else 0) for part in readers),
        next_biases=tuple((*part.path, "bias") for part in readers),
        shift=(*last.path, "offset" if normed else "bias"),
        statistics=tuple(
            Place((*part.path, kind), 0)
            for part in writers
            for kind in ("mean", "var")
            if norm == "batch"
        ),
    )
