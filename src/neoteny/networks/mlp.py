"""Multi-layer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

import jax
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError
from neoteny.networks.layers import Layer, chosen, new_layer, normalised, unit_group
from neoteny.types import Features, Network, PRNGKey, as_floats


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
    act, draw = chosen(activation, initialiser)
    last = len(widths) - 2

    def init(key: PRNGKey) -> tuple[Layer, ...]:
        layers = []
        for index, shape in enumerate(pairwise(widths)):
            normed = layer_norm and index < last
            layers.append(new_layer(draw, jax.random.fold_in(key, index), shape, normed))
        return tuple(layers)

    def apply(
        params: tuple[Layer, ...], inputs: Num[Array, "rows *shape"]
    ) -> tuple[Float[Array, "rows outputs"], Features]:
        hidden, features = as_floats(inputs).reshape(len(inputs), -1), []
        for layer in params[:-1]:
            hidden = act(normalised(hidden @ layer["kernel"] + layer["bias"][None], layer))
            features.append(hidden)
        return hidden @ params[-1]["kernel"] + params[-1]["bias"][None], tuple(features)

    units = tuple(
        unit_group(f"layer_{at + 1}", widths[at + 1], (at,), (at + 1,), norm=layer_norm)
        for at in range(last)
    )
    return Network(init, apply, units, head=(last,))
