"""Multi-layer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError, unknown
from neoteny.networks.choices import ACTIVATIONS, INITIALISERS, as_floats
from neoteny.types import Features, Network, Place, PRNGKey, UnitGroup

Layer = dict[str, Array]


def mlp(
    widths: Sequence[int],
    *,
    activation: str = "relu",
    layer_norm: bool = False,
    initialiser: str = "he-uniform",
) -> Network:
    """A multi-layer perceptron with `len(widths) - 2` hidden layers.

    Parameters are a tuple of layers, each a dict of `kernel` (in, out) and `bias` (out,); with
    `layer_norm` hidden layers also have `scale` and `offset` (out,), and are normalised between
    the affine map and the activation. A layer's weights depend on the key and the layer's
    position alone, so networks that differ in an option start from the same kernels.

    **Arguments:**

    - `widths`: inputs, hidden layers, outputs: `(784, 100, 100, 10)`. Inputs of more than one
      axis are flattened.
    - `activation`: a name in `networks.ACTIVATIONS`.
    - `layer_norm`: normalise each hidden layer's pre-activations over its units.
    - `initialiser`: a name in `networks.INITIALISERS`, for the kernels; biases start at zero.

    **Raises:** `UserError` for fewer than two widths, a width below 1, or an unknown name.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise UserError(
            f"`widths` is {tuple(widths)}, but a network needs an input and an output width, and "
            "every width at least 1, as in `widths=(64, 100, 10)`."
        )
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if initialiser not in INITIALISERS:
        raise unknown("initialiser", initialiser, INITIALISERS)
    act, draw = ACTIVATIONS[activation], INITIALISERS[initialiser]
    last = len(widths) - 2

    def init(key: PRNGKey) -> tuple[Layer, ...]:
        layers = []
        for index, shape in enumerate(pairwise(widths)):
            layer = {"kernel": draw(jax.random.fold_in(key, index), shape)}
            layer["bias"] = jnp.zeros(shape[1], layer["kernel"].dtype)
            if layer_norm and index < last:
                layer |= {"scale": jnp.ones_like(layer["bias"]), "offset": layer["bias"]}
            layers.append(layer)
        return tuple(layers)

    def apply(
        params: tuple[Layer, ...], inputs: Num[Array, "rows *shape"]
    ) -> tuple[Float[Array, "rows outputs"], Features]:
        hidden, features = as_floats(inputs).reshape(len(inputs), -1), []
        for layer in params[:-1]:
            hidden = act(_normalised(hidden @ layer["kernel"] + layer["bias"][None], layer))
            features.append(hidden)
        return hidden @ params[-1]["kernel"] + params[-1]["bias"][None], tuple(features)

    units = tuple(_unit_group(index, widths[index + 1], layer_norm) for index in range(last))
    return Network(init, apply, units, head=(last,))


def _normalised(
    pre: Float[Array, "rows units"], layer: dict[str, Any]
) -> Float[Array, "rows units"]:
    if "scale" not in layer:
        return pre
    centred = pre - pre.mean(1, keepdims=True)
    spread = jnp.sqrt(jnp.mean(centred**2, 1, keepdims=True) + 1e-6)
    return centred / spread * layer["scale"][None] + layer["offset"][None]


def _unit_group(index: int, size: int, layer_norm: bool) -> UnitGroup:
    norm = ("scale", "offset") if layer_norm else ()
    return UnitGroup(
        name=f"layer_{index + 1}",
        size=size,
        incoming=(
            Place((index, "kernel"), 1),
            *(Place((index, array), 0) for array in ("bias", *norm)),
        ),
        outgoing=(Place((index + 1, "kernel"), 0),),
        next_biases=((index + 1, "bias"),),
        shift=(index, "offset" if layer_norm else "bias"),
    )
