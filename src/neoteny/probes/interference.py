"""How far learning from one row moves the outputs on others: generalisation, or its absence."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from neoteny.losses import cross_entropy
from neoteny.probes.rank import srank
from neoteny.types import Params, Snapshot

ROWS = 64
"""Rows of a snapshot that the probe looks at, the first ones."""

STEP = 1e-3
"""Of the single gradient steps, small enough that its size cancels in what is divided by it."""


class Interference(NamedTuple):
    """What a gradient step on one row does to the others.

    - `update_rank`: directions that hold 99 % of the update matrix; as many as rows in a table,
      one where every step moves all rows alike.
    - `update_spread`: the mean change of another row, of the change of the row itself.
    """

    update_rank: Scalar
    update_spread: Scalar


def interference(snapshot: Snapshot) -> Interference:
    """The update matrix of the logit of each row's label, on the first `ROWS` rows.

    For cross-entropy.
    """
    batch = jax.tree.map(lambda rows: rows[:ROWS], snapshot.batch)
    rows = jnp.arange(len(batch.labels))

    def outputs(params: Params) -> Float[Array, " rows"]:
        return snapshot.network.apply(params, batch.inputs)[0][rows, batch.labels]

    def losses(params: Params) -> Float[Array, " rows"]:
        return cross_entropy(snapshot.network.apply(params, batch.inputs)[0], batch.labels)

    matrix = update_matrix(outputs, losses, snapshot.params, STEP)
    return Interference(srank(matrix), update_spread(matrix))


def update_matrix(
    outputs: Callable[[Params], Float[Array, " rows"]],
    losses: Callable[[Params], Float[Array, " rows"]],
    params: Params,
    learning_rate: float,
) -> Float[Array, "rows rows"]:
    """How each row's output changes by one plain gradient step on the loss of one row alone.

    Column `j` is of the step on row `j`, divided by the size of its change of row `j`; a step that
    changes nothing there has a column of zeros. Costs a backward pass for each row and `rows^2`
    forward passes of a row.

    **Source:** Lyle et al. (2022). To first order it is the tangent kernel with its columns scaled.
    """
    before = outputs(params)

    def column(place):
        slope = jax.grad(lambda params: losses(params)[place])(params)
        moved = jax.tree.map(lambda p, g: p - learning_rate * g, params, slope)
        change = outputs(moved) - before
        own = jnp.abs(change[place])
        return jnp.where(own > 0, change / jnp.where(own > 0, own, 1.0), 0.0)

    return jax.lax.map(column, jnp.arange(len(before))).T


def update_spread(matrix: Float[Array, "rows rows"]) -> Scalar:
    """The mean size of the entries beside the diagonal."""
    rows = len(matrix)
    beside = jnp.abs(matrix) * (1 - jnp.eye(rows))
    return beside.sum() / (rows * max(rows - 1, 1))
