"""Networks: `init` and `apply` as pure functions, with a map of their hidden units."""

import inspect
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from neoteny.errors import UserError, unknown
from neoteny.networks.actor_critic import side_by_side
from neoteny.networks.choices import ACTIVATIONS, INITIALISERS
from neoteny.networks.convnet import convnet
from neoteny.networks.convolution import convolution, max_pool
from neoteny.networks.mlp import mlp
from neoteny.networks.resnet import resnet
from neoteny.networks.sparse import equiangular
from neoteny.networks.transformer import transformer
from neoteny.types import Network


def _mlp(
    shape: Sequence[int],
    classes: int,
    *,
    widths: Sequence[int] = (100, 100, 100),
    activation: str = "relu",
    layer_norm: bool = False,
    initialiser: str = "he-uniform",
    winners: float = 1.0,
    dropout: float = 0.0,
    unit_features: bool = False,
    fixed_head: bool = False,
) -> Network:
    return mlp(
        (prod(shape), *widths, classes),
        activation=activation,
        layer_norm=layer_norm,
        initialiser=initialiser,
        winners=winners,
        dropout=dropout,
        unit_features=unit_features,
        fixed_head=fixed_head,
    )


_mlp.__doc__ = mlp.__doc__

NETWORKS = {"mlp": _mlp, "convnet": convnet, "resnet": resnet, "transformer": transformer}
"""Constructors by name, each `(shape, classes, **options) -> Network`; add your own here.

`shape` is that of a row: (height, width, channels) of an image, or (inputs,). Every constructor
has the options `widths`, of its dense hidden layers, `activation`, `layer_norm` and `initialiser`.
"""


def make(kind: str, shape: Sequence[int], classes: int, options: Mapping[str, Any]) -> Network:
    """Make the network called `kind` for rows of `shape`.

    **Raises:** `UserError` if `kind` is not a key of `NETWORKS`, for an option that it does not
    have, or an impossible value.
    """
    if kind not in NETWORKS:
        raise unknown("network", kind, NETWORKS)
    known = option_defaults(kind)
    for name, value in options.items():
        if name not in known:
            raise unknown(f"option of the network `{kind}` called", name, known)
        _refuse_kind(f"network.options.{name}", value, known[name])
    return NETWORKS[kind](shape, classes, **options)


def option_defaults(kind: str) -> dict[str, Any]:
    """A network's options and their values unless changed."""
    parameters = inspect.signature(NETWORKS[kind]).parameters.values()
    return {part.name: part.default for part in parameters if part.kind is part.KEYWORD_ONLY}


def _refuse_kind(field: str, value: Any, default: Any) -> None:
    if default is None:
        return
    several = isinstance(default, tuple)
    kinds = (list, tuple) if several else (float, int) if type(default) is float else type(default)
    if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(default, bool):
        shown = list(default) if several else default
        raise UserError(f"`{field}` is {value!r}, but takes something like {shown!r}.")


__all__ = [
    "ACTIVATIONS",
    "INITIALISERS",
    "NETWORKS",
    "convnet",
    "convolution",
    "equiangular",
    "make",
    "max_pool",
    "mlp",
    "option_defaults",
    "resnet",
    "side_by_side",
    "transformer",
]
