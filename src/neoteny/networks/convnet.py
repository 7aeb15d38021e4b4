"""Convolutional networks: convolutions and poolings, then dense layers."""

from collections.abc import Sequence
from itertools import pairwise

import jax
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError
from neoteny.networks.convolution import convolution, max_pool
from neoteny.networks.layers import (
    Layer,
    along_last,
    as_rows,
    check_image,
    check_sizes,
    chosen,
    images,
    new_layer,
    normalised,
    unit_group,
)
from neoteny.types import Features, Network, PRNGKey, UnitGroup


def convnet(
    shape: Sequence[int],
    classes: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    kernels: Sequence[int] = (5, 3, 3),
    widths: Sequence[int] = (128, 128),
    activation: str = "relu",
    layer_norm: bool = False,
    initialiser: str = "lecun-normal",
) -> Network:
    """A network of convolutions, each with a pooling that halves the image, and dense layers.

    Parameters are a tuple of layers as those of `mlp`; kernels of convolutions are (height,
    width, in, out), padded so that the image keeps its size. Units of a convolution are its
    channels, read after the pooling; the image is flattened row, column, channel.

    **Arguments:**

    - `shape`: height, width and channels of an image. Inputs may be flattened, and bytes.
    - `channels`, `kernels`: of the convolutions.
    - `widths`: of the dense hidden layers.
    - `activation`, `layer_norm`, `initialiser`: as of `mlp`; norms are over channels.

    **Raises:** `UserError` if the image is too small for so many poolings, for a size below 1,
    or an unknown name.

    **Source:** the defaults are the network of Prakash et al. (2026) on Continual ImageNet:
    373,826 parameters for two classes of images of 32 x 32 x 3.
    """
    check_image(shape)
    check_sizes(classes=classes, channels=channels, kernels=kernels, widths=widths)
    if len(channels) != len(kernels):
        raise UserError(
            f"`channels` is {tuple(channels)} and `kernels` {tuple(kernels)}, but each "
            "convolution has one of both."
        )
    height, width, depth = shape
    high, wide = height >> len(channels), width >> len(channels)
    if min(high, wide) < 1:
        raise UserError(
            f"Images of {height} x {width} have no places left after {len(channels)} poolings. "
            f"Pass fewer `channels` and `kernels`, up to {min(height, width).bit_length() - 1}."
        )
    act, draw = chosen(activation, initialiser)
    flat = high * wide * (channels[-1] if channels else depth)
    shapes = [
        *((k, k, *ends) for k, ends in zip(kernels, pairwise((depth, *channels)), strict=True)),
        *pairwise((flat, *widths, classes)),
    ]
    last = len(shapes) - 1

    def init(key: PRNGKey) -> tuple[Layer, ...]:
        return tuple(
            new_layer(draw, jax.random.fold_in(key, index), size, layer_norm and index < last)
            for index, size in enumerate(shapes)
        )

    def apply(
        params: tuple[Layer, ...], inputs: Num[Array, "rows *shape"]
    ) -> tuple[Float[Array, "rows outputs"], Features]:
        hidden, features = images(inputs, shape), []
        for layer in params[: len(channels)]:
            pre = convolution(hidden, layer["kernel"]) + along_last(layer["bias"], 4)
            hidden = max_pool(act(normalised(pre, layer)))
            features.append(as_rows(hidden))
        hidden = hidden.reshape(len(inputs), -1)
        for layer in params[len(channels) : -1]:
            hidden = act(normalised(hidden @ layer["kernel"] + layer["bias"][None], layer))
            features.append(hidden)
        return hidden @ params[-1]["kernel"] + params[-1]["bias"][None], tuple(features)

    units = tuple(
        _units(index, shapes, high * wide, len(channels), layer_norm) for index in range(last)
    )
    return Network(init, apply, units, head=(last,))


def _units(index: int, shapes, places: int, convolutions: int, norm: bool) -> UnitGroup:
    return unit_group(
        f"layer_{index + 1}",
        shapes[index][-1],
        (index,),
        (index + 1,),
        norm=norm,
        kernel_axes=len(shapes[index]),
        reader_axes=len(shapes[index + 1]),
        places=places if index == convolutions - 1 else 1,
    )
