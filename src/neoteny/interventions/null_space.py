"""Learning in the null space of what past tasks put into each layer."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError
from neoteny.interventions.base import Intervention
from neoteny.types import Learner, Network, Params, as_floats


class Memory(NamedTuple):
    """What gradient projection remembers.

    - `taken`: for each layer the projection onto what past tasks put into it, a constant one for
      the bias included: `(inputs + 1, inputs + 1)`.
    - `rows`: the last rows of this task; `seen` says how many there were.
    - `params`: those after the last update.
    """

    taken: tuple[Float[Array, "size size"], ...]
    rows: Num[Array, "rows *shape"]
    seen: Array
    params: Params


def gradient_projection(
    network: Network,
    shape: tuple[int, ...] | None = None,
    *,
    thresholds: tuple[float, ...] = (0.95, 0.99, 0.99),
    samples: int = 300,
) -> Intervention:
    """Keep from every update what past tasks would see of it (gradient projection memory).

    At a task's end its last `samples` rows are sent through the network, and of what each layer
    reads the leading directions are remembered that, with those of before, hold the layer's share
    of the squares. From then on updates are taken without their part along what is remembered;
    where that is everything, a layer learns no more. The whole update is projected, whatever the
    optimiser. Biases read a one that is remembered like other inputs.

    For perceptrons. Costs one product of `inputs x inputs x units` a layer and step.

    **Arguments:**

    - `shape`: of a row; by default as many inputs as the first layer reads.
    - `thresholds`: shares by layer, output layer included; the last one stands for all that follow.

    **Raises:** `UserError` for a network that is no perceptron, or a threshold that is no share.

    **Source:** gradient projection memory (Saha et al., 2021).
    """
    if not thresholds or not all(0 <= share <= 1 for share in thresholds):
        raise UserError(
            f"`thresholds` is {thresholds}, but has shares of the squares, as `(0.95, 0.99)`."
        )
    if samples < 1:
        raise UserError(f"`samples` is {samples}, but at least one row must be remembered.")

    def init(params) -> Memory:
        refuse_no_perceptron(params)
        sizes = [len(layer["kernel"]) for layer in params]
        dtype = params[0]["kernel"].dtype
        return Memory(
            tuple(jnp.zeros((size + 1, size + 1), dtype) for size in sizes),
            jnp.zeros((samples, *(shape or (sizes[0],))), dtype),
            jnp.zeros((), jnp.int32),
            params,
        )

    def apply(learner: Learner, state: Memory, *, key, batch, features):
        del key, features
        rows = as_floats(batch.inputs)[-samples:].astype(state.rows.dtype)
        rows = rows.reshape(len(rows), *state.rows.shape[1:])
        kept = jnp.concatenate([state.rows[len(rows) :], rows])
        params = tuple(
            _projected(old, new, taken)
            for old, new, taken in zip(state.params, learner.params, state.taken, strict=True)
        )
        seen = jnp.minimum(state.seen + len(rows), samples)
        return learner._replace(params=params), Memory(state.taken, kept, seen, params)

    def begin(learner: Learner, state: Memory, *, key, batch, features):
        del key, batch, features
        _, hidden = network.apply(learner.params, state.rows)
        real = jnp.arange(samples) >= samples - state.seen
        read = [state.rows.reshape(samples, -1), *hidden][: len(state.taken)]  # no fixed head's
        taken = tuple(
            remembered(taken, jnp.where(real[:, None], _with_one(inputs), 0.0), share)
            for taken, inputs, share in zip(
                state.taken, read, _by_layer(thresholds, len(read)), strict=True
            )
        )
        return learner, Memory(taken, state.rows, jnp.zeros_like(state.seen), learner.params)

    return Intervention(init, apply, begin=begin)


def null_space_left(memory: Memory) -> Float[Array, " layers"]:
    """The share of each layer's inputs that updates may still go along: 0 where none is left."""
    return jnp.stack([1 - jnp.trace(taken) / len(taken) for taken in memory.taken])


def remembered(
    taken: Float[Array, "size size"], inputs: Float[Array, "rows size"], share: float
) -> Float[Array, "size size"]:
    """`taken` and the fewest leading directions of the rest that make up `share` of the squares.

    Directions of small values are found with errors along what is taken already. They are freed of
    those and made orthonormal anew, or `taken` would cease to be a projection.
    """
    total, rest = jnp.sum(inputs**2), inputs - inputs @ taken
    _, values, directions = jnp.linalg.svd(rest, full_matrices=False)
    squares = values**2
    before = total - jnp.sum(squares) + jnp.cumsum(squares) - squares  # held without each
    rounding = _ROUNDING * jnp.finfo(inputs.dtype).eps * jnp.sqrt(total)
    wanted = (before < share * total) & (values > rounding)
    leading = directions * wanted[:, None]
    basis, _ = jnp.linalg.qr((leading - leading @ taken).T)
    chosen = basis * wanted[None]
    return taken + chosen @ chosen.T


_ROUNDING = 100
"""Times what a number is rounded by, of the inputs' size: what is smaller is no direction."""


def refuse_no_perceptron(params) -> None:
    """Say so where parameters are other than dense layers with biases, one after the other."""
    plain = isinstance(params, tuple) and all(
        isinstance(layer, dict) and layer.keys() == {"kernel", "bias"} and layer["kernel"].ndim == 2
        for layer in params
    )
    if not plain:
        raise UserError(
            "Gradient projection knows what the layers of a perceptron read, and this network is "
            "none, or has norms. Pass `--set network.kind=mlp` and no layer norm."
        )


def _projected(old, new, taken):
    change = jnp.concatenate([new["kernel"] - old["kernel"], (new["bias"] - old["bias"])[None]])
    seen = taken @ change  # where nothing is remembered, the update stays to the bit
    return {"kernel": new["kernel"] - seen[:-1], "bias": new["bias"] - seen[-1]}


def _with_one(inputs):
    return jnp.concatenate([inputs, jnp.ones_like(inputs[:, :1])], axis=1)


def _by_layer(thresholds: tuple[float, ...], layers: int) -> list[float]:
    return [thresholds[min(place, len(thresholds) - 1)] for place in range(layers)]
