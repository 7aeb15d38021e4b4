"""Networks: `init` and `apply` as pure functions, with a map of their hidden units."""

from collections.abc import Sequence
from math import prod

from neoteny.networks.choices import ACTIVATIONS, INITIALISERS
from neoteny.networks.convnet import convnet
from neoteny.networks.convolution import convolution, max_pool
from neoteny.networks.mlp import mlp
from neoteny.networks.resnet import resnet
from neoteny.networks.transformer import transformer
from neoteny.types import Network


def _mlp(shape: Sequence[int], classes: int, *, widths: Sequence[int], **options) -> Network:
    return mlp((prod(shape), *widths, classes), **options)


_mlp.__doc__ = mlp.__doc__

NETWORKS = {"mlp": _mlp, "convnet": convnet, "resnet": resnet, "transformer": transformer}
"""Constructors by name, each `(shape, classes, **options) -> Network`; add your own here.

`shape` is that of a row: (height, width, channels) of an image, or (inputs,). Every constructor
has the options `widths`, of its dense hidden layers, `activation`, `layer_norm` and `initialiser`.
"""

__all__ = [
    "ACTIVATIONS",
    "INITIALISERS",
    "NETWORKS",
    "convnet",
    "convolution",
    "max_pool",
    "mlp",
    "resnet",
    "transformer",
]
