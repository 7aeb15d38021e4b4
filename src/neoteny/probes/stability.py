"""Whether gradient descent is at the edge of stability, and what it may do beyond it."""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from operator import getitem
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from neoteny.curvature import (
    Eigenpairs,
    extreme_eigenpairs,
    hessian_vector_product,
    ravel_params,
)
from neoteny.types import Loss, Params, Place, PRNGKey, Snapshot

_STEPS = 32


class Sharpness(NamedTuple):
    """The largest eigenvalue of the Hessian of the loss, and what it means for a step.

    - `sharpness`: in units of loss per squared unit of parameter.
    - `edge`: `learning_rate * sharpness / 2`. Above 1 plain gradient descent leaves the minimum
      of the quadratic model; NaN where the learning rate is unknown.
    """

    sharpness: Scalar
    edge: Scalar


class LayerImbalance(NamedTuple):
    """`|W' W'^T - W^T W|_F` of the kernels before and after each hidden layer of units."""

    layer_imbalance: Float[Array, " layers"]


class FlipCondition(NamedTuple):
    """Derivatives of the loss along the top eigenvector of its Hessian, and what they decide.

    - `flip_condition`: `3 f'''^2 - f'' f''''`. Where it is positive, gradient descent with a step
      a little above `2 / f''` settles on an orbit of period two; where negative, it leaves.
    - `third_derivative`: its size, as an eigenvector has no sign; `fourth_derivative`.
    """

    flip_condition: Scalar
    third_derivative: Scalar
    fourth_derivative: Scalar


def sharpness(snapshot: Snapshot) -> Sharpness:
    """Measure the sharpness by up to 32 Lanczos steps, each a Hessian-vector product.

    `edge` is of plain gradient descent on the snapshot's rows: for Adam, or for minibatches, it is
    a reading at that step size and no prediction.

    **Source:** Cohen et al. (2021).
    """
    largest = _top(snapshot.loss, snapshot.params, snapshot.key).eigenvalues[0]
    return Sharpness(largest, snapshot.learning_rate * largest / 2)


def layer_imbalance(snapshot: Snapshot) -> LayerImbalance:
    """Measure the imbalance of each hidden layer that stands between two dense kernels.

    In the layout (in, out): `W` makes the units, `W'` reads them. Gradient flow on a deep linear
    network without biases conserves the matrix whose norm this is; steps beyond the edge of
    stability shrink it. One entry for each such layer, in order; a network that names no arrays
    for its units is taken for a chain of the matrices of its tree. Costs two products a layer.

    **Source:** Chen & Bruna (2023).
    """
    pairs = _adjacent(snapshot)
    return LayerImbalance(jnp.array([imbalance(*pair) for pair in pairs]))


def imbalance(made: Float[Array, "n units"], read: Float[Array, "units m"]) -> Scalar:
    """Compute `|W' W'^T - W^T W|_F` of the kernel that makes units and the one that reads them."""
    return jnp.linalg.norm(read @ read.T - made.T @ made)


def flip_condition(snapshot: Snapshot) -> FlipCondition:
    """Measure `along_top` of the snapshot's loss, at the cost of `sharpness` and some gradients."""
    return along_top(snapshot.loss, snapshot.params, snapshot.key)


def along_top(loss: Loss, params: Params, key: PRNGKey) -> FlipCondition:
    """Compute the condition for an orbit of period two, along the Hessian's top eigenvector.

    The theory is that of one dimension, at a minimum. With other directions of positive curvature
    `h_j` at hand, the fourth derivative is effectively less by `3 (d^3 f / dv dv dj)^2 / h_j` for
    each: what is positive here stays so, and what is negative may not. Costs up to 32
    Hessian-vector products, and a gradient differentiated three times along one line.

    **Source:** Chen & Bruna (2023); the condition is that of a supercritical flip bifurcation.
    """
    flat, unravel = ravel_params(params)
    direction = _top(loss, params, key).eigenvectors[0]

    def slope(t):
        return jnp.vdot(jax.grad(lambda x: loss(unravel(x)))(flat + t * direction), direction)

    def derivative(function):
        return lambda t: jax.jvp(function, (t,), (jnp.ones_like(t),))[1]

    @jax.jit
    def derivatives(t):
        second = derivative(slope)
        return second(t), derivative(second)(t), derivative(derivative(second))(t)

    second, third, fourth = derivatives(jnp.zeros((), flat.dtype))
    return FlipCondition(3 * third**2 - second * fourth, jnp.abs(third), fourth)


def _top(loss: Loss, params: Params, key: PRNGKey) -> Eigenpairs:
    @jax.jit  # or outside of `jit` each operation would be a program of its own
    def found(params, key):
        operator = hessian_vector_product(loss, params)
        return extreme_eigenpairs(operator, key, num_steps=min(_STEPS, operator.size))

    return found(params, key)


def _adjacent(snapshot: Snapshot) -> list[tuple[Array, Array]]:
    """The kernels before and after each hidden layer, where both are matrices that fit."""
    groups = snapshot.network.units
    params: Any = snapshot.params
    pairs: Any
    if any(group.incoming for group in groups):
        pairs = [
            (_matrix(group.incoming, params, 1), _matrix(group.outgoing, params, 0))
            for group in groups
        ]
    else:
        pairs = pairwise(leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
    return [(a, b) for a, b in pairs if a is not None and b is not None and a.shape[1] == len(b)]


def _matrix(places: Sequence[Place], params: Any, axis: int) -> Any:
    """The one matrix among these places, if units lie along the axis of it that they should."""
    found = [(reduce(getitem, place.path, params), place.axis) for place in places]
    found = [array for array, own in found if array.ndim == 2 and own == axis]
    return found[0] if len(found) == 1 else None
