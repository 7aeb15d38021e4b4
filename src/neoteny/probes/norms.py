"""How large the weights and gradients are, and how far the weights have moved."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Scalar

from neoteny.types import Loss, Params, Snapshot


class Norms(NamedTuple):
    """Euclidean norms over all parameters as one vector.

    `gradient_norm` is in units of loss per unit of parameter; `displacement` is measured
    from the start of the task.
    """

    weight_norm: Scalar
    gradient_norm: Scalar
    displacement: Scalar


def norms(snapshot: Snapshot) -> Norms:
    """Measure the three norms of a snapshot, at the cost of one gradient."""
    return Norms(
        weight_norm=weight_norm(snapshot.params),
        gradient_norm=gradient_norm(snapshot.loss, snapshot.params),
        displacement=displacement(snapshot.params, snapshot.start),
    )


def weight_norm(params: Params) -> Scalar:
    """Compute the Euclidean norm of all parameters, biases and scales of norms included.

    **Raises:** `ValueError` if `params` holds no arrays.
    """
    return _norm(params)


def gradient_norm(loss: Loss, params: Params) -> Scalar:
    """Compute the Euclidean norm of the gradient of `loss` at `params`.

    **Raises:** `ValueError` if `params` holds no arrays.
    """
    return _norm(jax.grad(loss)(params))


def displacement(params: Params, start: Params) -> Scalar:
    """Compute the Euclidean distance between two sets of parameters.

    **Raises:** `ValueError` if they are not of one structure and shapes.
    """
    shapes, others = _shapes(params), _shapes(start)
    if shapes != others:
        raise ValueError(
            f"`params` is {shapes} but `start` is {others}: there is no distance between two "
            "networks of different arrays. Pass the same network's parameters at two times."
        )
    return _norm(jax.tree.map(jnp.subtract, params, start))


def _norm(tree):
    leaves = jax.tree.leaves(tree)
    if not leaves:
        raise ValueError(
            f"`params` is {tree}, which holds no arrays, and so has no norm. Pass what the "
            "network's `init` returned."
        )
    return jnp.sqrt(sum(jnp.sum(jnp.square(_wide(leaf))) for leaf in leaves))


def _wide(leaf):
    half = jnp.finfo(leaf.dtype).bits < 32  # whose sums drift
    return leaf.astype(jnp.float32) if half else leaf


def _shapes(tree):
    return jax.tree.map(jnp.shape, tree)
