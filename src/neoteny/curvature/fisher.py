"""Fisher information: mean outer products of gradients, as operators."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float, PyTree

from neoteny.curvature.operators import Operator, from_flat, ggn_vector_product, ravel_params


def empirical_fisher_vector_product(
    rowwise_losses: Callable[[PyTree], Float[Array, " rows"]], params: PyTree
) -> Operator:
    """Multiply by the mean over rows of `g g^T`, where `g` is the gradient of a row's loss.

    The matrix is `J^T J / rows` with `J` the Jacobian of the losses: products go through it and
    back, so no row's gradient is ever formed, and cost what Gauss-Newton products do. Its rank
    is at most the number of rows. It weighs rows by their squared error and vanishes where
    every row is fitted; it is neither the Hessian nor the Fisher information, which draws the
    labels from the model: `fisher_vector_product`.

    **Arguments:**

    - `rowwise_losses`: maps parameters to one loss for each row; close over the batch.
    - `params`: where to measure; any pytree of float32 or float64 arrays.

    **Raises:** `ValueError` if a leaf is of another type, or if the losses are no vector.

    **Source:** Kunstner, Balles & Hennig (2019), on what sets it apart.
    """
    flat, unravel = ravel_params(params)
    result = jax.eval_shape(rowwise_losses, params)
    if len(getattr(result, "shape", ())) != 1:
        raise ValueError(_rows_message(result))
    with jax.default_matmul_precision("highest"):
        losses, push = jax.linearize(lambda vector: rowwise_losses(unravel(vector)), flat)
        pull = jax.linear_transpose(push, flat)
    return from_flat(lambda vector: pull(push(vector) / len(losses))[0], flat, unravel)


def fisher_vector_product(
    outputs: Callable[[PyTree], Float[Array, "rows classes"]], params: PyTree
) -> Operator:
    """Multiply by the Fisher information of a softmax classifier, at the rows given.

    That is the mean over rows of the expectation of `g g^T` over labels drawn from the model's
    own softmax, `sum_c p_c g_c g_c^T`. As `g_c = J^T (p - e_c)`, it is the Gauss-Newton matrix
    of the softmax cross-entropy, and this is `ggn_vector_product` by its statistical name.

    **Source:** Martens (2020), section 9.2, for when the two agree.
    """
    return ggn_vector_product(outputs, params)


def _rows_message(result) -> str:
    shape = getattr(result, "shape", None)
    found = f"a {type(result).__name__}" if shape is None else f"an array of shape {shape}"
    return (
        f"`rowwise_losses` returned {found}, but the empirical Fisher matrix needs one loss for "
        "each row, (rows,). Leave out the mean over rows, and reduce all other axes."
    )
