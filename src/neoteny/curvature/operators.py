"""Symmetric matrices of a network that are known only by their products with vectors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from neoteny.types import Loss


class Operator(NamedTuple):
    """A symmetric matrix, `size` by `size`, as the function that multiplies by it.

    - `matvec`: linear; takes a flat vector `(size,)` of `dtype`, or a pytree shaped like
      the parameters, and returns what it was given the shape of.
    - `size`: the number of parameters.
    - `dtype`: of flat vectors.

    Lanczos and all spectra ask no more than this of a matrix.
    """

    matvec: Callable[[PyTree], PyTree]
    size: int
    dtype: Any


def hessian_vector_product(loss: Loss, params: PyTree) -> Operator:
    """Multiply by the Hessian of `loss` at `params`.

    The gradient is linearised once and the linear part reused, which takes 0.8 of the time
    of forward-over-reverse products; kept for that are the intermediate values of one
    gradient. Call it inside the jitted function that multiplies: outside, each product
    runs operation by operation. On accelerators matrix products are asked for in full
    precision, as 19-bit factors would drown the small eigenvalues.

    **Arguments:**

    - `loss`: maps parameters to a scalar; close over the batch.
    - `params`: where to measure; any pytree of float32 or float64 arrays.

    **Raises:** `ValueError` if a leaf is of another type, or if `loss` returns no scalar.
    """
    flat, unravel = ravel_params(params)
    _check_scalar(jax.eval_shape(loss, params))
    with jax.default_matmul_precision("highest"):
        _, product = jax.linearize(jax.grad(lambda vector: loss(unravel(vector))), flat)
    return Operator(_of_any_shape(product, flat.size, unravel), flat.size, flat.dtype)


def ggn_vector_product(
    outputs: Callable[[PyTree], Float[Array, "rows classes"]], params: PyTree
) -> Operator:
    """Multiply by the generalised Gauss-Newton matrix of a mean softmax cross-entropy.

    The matrix is the mean over rows of `J^T (diag(p) - p p^T) J`, where `J` is the Jacobian
    of a row's logits and `p` its softmax. It is positive semi-definite, has a rank of at most
    `rows * (classes - 1)`, and needs no labels. It is the Hessian less the part that bends
    the outputs themselves, and equals the Hessian where the logits are linear in `params`.
    Costs two thirds of a Hessian-vector product or a little more; linearised once, as there.

    **Arguments:**

    - `outputs`: maps parameters to logits; close over the inputs.
    - `params`: where to measure; any pytree of float32 or float64 arrays.

    **Raises:** `ValueError` if a leaf is of another type, or if `outputs` returns no matrix.

    **Source:** Schraudolph (2002).
    """
    flat, unravel = ravel_params(params)
    _check_matrix(jax.eval_shape(outputs, params))
    with jax.default_matmul_precision("highest"):
        logits, push = jax.linearize(lambda vector: outputs(unravel(vector)), flat)
        pull = jax.linear_transpose(push, flat)
    probabilities = jax.nn.softmax(logits)

    def product(vector):
        tangent = probabilities * push(vector)
        curved = tangent - probabilities * jnp.sum(tangent, axis=1, keepdims=True)
        return pull(curved / len(logits))[0]

    return Operator(_of_any_shape(product, flat.size, unravel), flat.size, flat.dtype)


def ravel_params(params: PyTree) -> tuple[Float[Array, " n"], Callable[[Array], PyTree]]:
    """Flatten parameters to a vector, after checking that curvature can be measured on them."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    if not sum(jnp.size(leaf) for _, leaf in leaves):
        raise ValueError("`params` holds no numbers. Pass a pytree of float32 or float64 arrays.")
    for path, leaf in leaves:
        if (dtype := jnp.result_type(leaf)) not in (jnp.float32, jnp.float64):
            raise ValueError(_dtype_message(jax.tree_util.keystr(path), dtype))
    return ravel_pytree(params)


def _of_any_shape(product, size, unravel):
    def matvec(vector):
        if getattr(vector, "shape", None) == (size,):
            return product(vector)
        return unravel(product(ravel_pytree(vector)[0]))

    return matvec


def _check_scalar(result) -> None:
    if getattr(result, "shape", None) != ():
        raise ValueError(
            f"`loss` returned {_described(result)}, but a Hessian is that of one number. "
            "Reduce it, as in `lambda params: jnp.mean(loss(params))`."
        )


def _check_matrix(result) -> None:
    if len(getattr(result, "shape", ())) != 2:
        raise ValueError(
            f"`outputs` returned {_described(result)}, but logits have two axes, (rows, "
            "classes). Flatten other axes into rows, as in `logits.reshape(-1, num_classes)`."
        )


def _described(result) -> str:
    if hasattr(result, "shape"):
        return f"an array of shape {result.shape}"
    return f"a {type(result).__name__}"


def _dtype_message(place: str, dtype) -> str:
    if jnp.issubdtype(dtype, jnp.floating):
        remedy = f"its rounding would hide the small eigenvalues. Pass `params{place}` as float32."
    else:
        remedy = "a loss has no slope along it. Close over it, and pass the other arrays."
    return f"`params{place}` is {dtype}; curvature needs float32 or float64, and {remedy}"
