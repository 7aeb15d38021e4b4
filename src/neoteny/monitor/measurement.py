"""What a monitor measures: the gradient, that of single rows, weights, features."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree, Scalar

from neoteny import curvature, probes
from neoteny.types import PRNGKey

_ALONE = 20
"""Rows whose gradients are compared: their cost grows with the square."""

LossOfBatch = Callable[..., Any]
Features = Callable[..., PyTree]


def rows_of(batch: PyTree) -> int | None:
    """The first axis of a batch's arrays; None where they have not all the same."""
    counts = {leaf.shape[0] for leaf in jax.tree.leaves(batch) if jnp.ndim(leaf)}
    return counts.pop() if len(counts) == 1 else None


def first_rows(batch: PyTree, rows: int | None) -> PyTree:
    """The first `rows` rows of a batch; all of one whose arrays do not share their first axis."""
    if rows_of(batch) is None:
        return batch
    return jax.tree.map(lambda leaf: leaf[:rows] if jnp.ndim(leaf) else leaf, batch)


def measure(
    loss_fn: LossOfBatch, params: PyTree, batch: PyTree, others: tuple
) -> dict[str, Scalar]:
    """Measure what a loss alone can tell; to be jitted.

    - `gradient_rank`: see `gradient_rank`; only of a batch whose rows can be parted.
    - `moving_share`: the share of the parameters whose gradient is not exactly zero.

    Costs one gradient of the batch and what `gradient_rank` does.
    """
    value, gradient = jax.value_and_grad(loss_fn)(params, batch, *others)
    gradient = curvature.ravel_params(gradient)[0]
    values = {
        "loss": value,
        "gradient_norm": jnp.linalg.norm(gradient),
        "moving_share": jnp.mean(gradient != 0, dtype=gradient.dtype),
        "weight_norm": jnp.linalg.norm(curvature.ravel_params(params)[0]),
    }
    if (rows_of(batch) or 0) > 1:
        loss = lambda params, part: loss_fn(params, part, *others)
        values["gradient_rank"] = gradient_rank(loss, params, batch)
    return values


def gradient_rank(
    loss: Callable[[PyTree, PyTree], Scalar], params: PyTree, batch: PyTree
) -> Scalar:
    """The effective rank of the cosines between the gradients of the first 20 rows, one by one.

    The exponential entropy of the eigenvalues: 1 where all rows pull one way, and their number
    where none does a thing for another. Lengths are left out, so that neither a few confident
    mistakes decide, nor how far the batch is learnt. Exact, with no random vectors. Of a loss
    that couples rows, as batch normalisation does, rows alone are not those of the batch. A
    network that is all dead keeps the gradients of its last bias: up to `classes - 1` directions.

    Costs 20 backward and as many forward-mode passes through the rows, and holds no Jacobian.

    **Source:** the matrix is the gradient covariance of Lyle et al. (2023).
    """
    count = min(_ALONE, rows_of(batch) or 0)
    alone = lambda row: jax.tree.map(lambda leaf: leaf[row][None] if leaf.ndim else leaf, batch)
    losses = lambda params: jax.vmap(lambda row: loss(params, alone(row)))(jnp.arange(count))
    values, push = jax.linearize(losses, params)
    pull = jax.linear_transpose(push, params)
    products = lax.map(lambda unit: push(pull(unit)[0]), jnp.eye(count, dtype=values.dtype))
    lengths = jnp.sqrt(jnp.diag(products))
    scale = jnp.where(lengths == 0, 1, lengths)
    return probes.kernel_ranks(products / scale[:, None] / scale[None]).ntk_effective_rank


def of_features(layers: Sequence[Float[Array, "rows units"]]) -> dict[str, Scalar]:
    """The mean effective rank of layers, and the share of units that are zero on every row."""
    ranks = [probes.effective_rank(layer) for layer in layers]
    dead = jnp.concatenate([jnp.all(layer == 0, axis=0) for layer in layers])
    return {
        "feature_rank": jnp.mean(jnp.stack(ranks)),
        "dead_share": jnp.mean(dead, dtype=ranks[0].dtype),
    }


def lanczos(
    loss_fn: LossOfBatch, params: PyTree, batch: PyTree, others: tuple, key: PRNGKey, *, steps: int
):
    """Lanczos coefficients of the Hessian, from one start vector; to be jitted."""
    loss = lambda params: loss_fn(params, batch, *others)
    steps = min(steps, curvature.ravel_params(params)[0].size)
    return curvature.lanczos_coefficients(loss, params, key, steps, 1)
