"""Multi-layer perceptrons."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError
from neoteny.networks import sparse
from neoteny.networks.layers import Layer, chosen, new_layer, normalised, unit_group
from neoteny.types import Features, Network, Place, PRNGKey, as_floats


def mlp(
    widths: Sequence[int],
    *,
    activation: str = "relu",
    layer_norm: bool = False,
    initialiser: str = "he-uniform",
    winners: float = 1.0,
    dropout: float = 0.0,
    unit_features: bool = False,
    fixed_head: bool = False,
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
    - `winners`: the share of each row's units, the largest, that pass a hidden layer.
    - `dropout`: of a unit by how often it won in past tasks, while learning: it is kept with
      probability `exp(-dropout * count / largest count)`. The counts are the network's state,
      which `interventions.count_tasks` moves on.
    - `unit_features`: rows of the last hidden layer have length one.
    - `fixed_head`: outputs are read by a simplex equiangular tight frame that nobody trains.

    **Raises:** `UserError` for fewer than two widths, a width below 1, an unknown name, a share
    that is none, or a last hidden layer too narrow for `fixed_head`.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise UserError(
            f"`widths` is {tuple(widths)}, but a network needs an input and an output width, and "
            "every width at least 1, as in `widths=(64, 100, 10)`."
        )
    _refuse(widths, winners, dropout, fixed_head)
    act, draw = chosen(activation, initialiser)
    last = len(widths) - 2

    def init(key: PRNGKey) -> tuple[Layer, ...]:
        layers = []
        for index, shape in enumerate(pairwise(widths[:-1] if fixed_head else widths)):
            normed = layer_norm and index < last
            layers.append(new_layer(draw, jax.random.fold_in(key, index), shape, normed))
        return tuple(layers)

    def forward(params, inputs, spared: Callable) -> tuple[Array, Features]:
        hidden, features = as_floats(inputs).reshape(len(inputs), -1), []
        for index, layer in enumerate(params[:last]):
            hidden = act(normalised(hidden @ layer["kernel"] + layer["bias"][None], layer))
            hidden = spared(index, hidden)
            if winners < 1:
                hidden = sparse.winners(hidden, winners)
            if unit_features and index == last - 1:
                hidden = hidden / jnp.maximum(jnp.linalg.norm(hidden, axis=1, keepdims=True), 1e-12)
            features.append(hidden)
        if fixed_head:
            frame = sparse.equiangular(hidden.shape[1], widths[-1]).astype(hidden.dtype)
            return hidden @ frame, tuple(features)
        return hidden @ params[-1]["kernel"] + params[-1]["bias"][None], tuple(features)

    def apply(
        params: tuple[Layer, ...], inputs: Num[Array, "rows *shape"], state: Any = ()
    ) -> tuple[Float[Array, "rows outputs"], Features]:
        del state
        return forward(params, inputs, lambda index, hidden: hidden)

    def train(
        params: tuple[Layer, ...], inputs: Num[Array, "rows *shape"], state: Any, key: PRNGKey
    ) -> tuple[Float[Array, "rows outputs"], Features, Any]:
        def spared(index, hidden):
            drawn = jax.random.fold_in(key, index)
            chosen = sparse.kept(state["past"][index], dropout, len(hidden), drawn)
            return jnp.where(chosen, hidden, 0.0)

        outputs, features = forward(params, inputs, spared)
        won = tuple(jax.lax.stop_gradient((layer > 0).sum(0)) for layer in features)
        counted = tuple(
            old + new.astype(old.dtype) for old, new in zip(state["task"], won, strict=True)
        )
        return outputs, features, state | {"task": counted}

    units = tuple(
        unit_group(f"layer_{at + 1}", widths[at + 1], (at,), (at + 1,), norm=layer_norm)
        for at in range(last)
    )
    if fixed_head:
        units = (*units[:-1], units[-1]._replace(outgoing=(), next_biases=()))
    head = () if fixed_head else (last,)
    if dropout == 0:
        return Network(init, apply, units, head)
    zeros = tuple(jnp.zeros(width) for width in widths[1:-1])
    units = tuple(
        group._replace(statistics=(Place(("past", at), 0), Place(("task", at), 0)))
        for at, group in enumerate(units)
    )
    return Network(init, apply, units, head, {"past": zeros, "task": zeros}, train)


def _refuse(widths: Sequence[int], winners: float, dropout: float, fixed_head: bool) -> None:
    if not 0 < winners <= 1:
        raise UserError(f"`winners` is {winners}, but is a share of units: above 0, 1 for all.")
    if not 0 <= dropout < float("inf"):
        raise UserError(f"`dropout` is {dropout}, but must be zero (off) or a positive number.")
    if len(widths) == 2 and (dropout or fixed_head):
        raise UserError("`dropout` and `fixed_head` act on hidden layers, but this has none.")
    if fixed_head and not 2 <= widths[-1] <= widths[-2]:
        raise UserError(
            f"`fixed_head` spreads {widths[-1]} outputs evenly over the last hidden layer, which "
            f"has {widths[-2]} units. Give it {max(2, widths[-1])} at least."
        )
