"""Gram matrices of a network's outputs: small where rows are few, however many parameters."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from neoteny.curvature.operators import check_outputs, output_curvature, ravel_params

_HELD = 2**25  # numbers of the Jacobian at a time: 128 MB in float32
_PULLS = 64  # rows of the Jacobian side by side


class GramMatrix(NamedTuple):
    """`high + low`, in float64: a matrix of more digits than the parameters' type holds.

    - `high`: the matrix, rounded to the parameters' type.
    - `low`: what that left over; zero where the type is float64.
    """

    high: Float[Array, "outputs outputs"]
    low: Float[Array, "outputs outputs"]


def ntk(
    outputs: Callable[[PyTree], Float[Array, "rows *classes"]],
    params: PyTree,
    *,
    held: int = _HELD,
) -> Float[Array, "outputs outputs"]:
    """Compute the neural tangent kernel `J J^T` on the rows of `outputs`, not divided by any.

    `J` is the Jacobian of all outputs in all parameters. Output `c` of row `i` has row and
    column `i * classes + c`, as in `outputs.reshape(-1)`. Sums run in float64, whatever
    `jax_enable_x64` says; cost and memory are those of `gram_matrix`.

    **Arguments:**

    - `outputs`: maps parameters to an array of any shape; close over the inputs.
    - `params`: where to measure; any pytree of float32 or float64 arrays.
    - `held`: as in `gram_matrix`.

    **Source:** Jacot, Gabriel & Hongler (2018).
    """
    ravel_params(params)
    count = jax.eval_shape(outputs, params).size
    columns = lambda params: outputs(params).reshape(count, 1)
    return _gram(columns, params, lambda primal: jnp.ones((count, 1, 1), primal.dtype), held).high


def loss_weighted_gram(
    outputs: Callable[[PyTree], Float[Array, "rows *classes"]],
    params: PyTree,
    *,
    output_loss: Callable[[Array], Array] | None = None,
    held: int = _HELD,
) -> Float[Array, "outputs outputs"]:
    """`gram_matrix` in the parameters' type alone: enough but for its smallest eigenvalues."""
    return gram_matrix(outputs, params, output_loss=output_loss, held=held).high


def gram_matrix(
    outputs: Callable[[PyTree], Float[Array, "rows *classes"]],
    params: PyTree,
    *,
    output_loss: Callable[[Array], Array] | None = None,
    held: int = _HELD,
) -> GramMatrix:
    """Compute `B^T J J^T B`, of which the Gauss-Newton matrix `J B B^T J^T` has the eigenvalues.

    `B B^T = W` is the Hessian of the mean loss in the outputs, row by row: of the softmax
    cross-entropy by default, `(diag(p) - p p^T) / rows`, whose `B` is `softmax_root(logits) /
    sqrt(rows)`; else the symmetric root of each row's block of the Hessian of `output_loss`. All
    non-zero eigenvalues agree with those of `ggn_vector_product`, with their multiplicity.

    The Jacobian is formed from `rows * classes` pulls through the network, each through all
    rows, which `held` keeps in memory one group of arrays and one band of rows at a time; where
    there are several bands, all but the first are formed again for every band. The products,
    `(rows * classes)^2 * n` multiplications for `n` parameters, are summed in float64, whatever
    `jax_enable_x64` says. Hence even with float32 parameters eigenvalues are resolved down to
    about 1e-12 of the largest, where products with the Gauss-Newton matrix resolve 1e-6. Beyond
    64 outputs pulls run in a loop, where XLA is slow on CPU with gradients of convolutions.

    To be jitted, with the batch as an argument; `gram_spectrum` reads what it returns.

    **Arguments:**

    - `outputs`: maps parameters to logits; close over the inputs.
    - `params`: where to measure; any pytree of float32 or float64 arrays.
    - `output_loss`: any other mean over rows of a convex loss of a row's outputs. Where a row's
      block is not positive, or the loss couples rows, the matrix is NaN.
    - `held`: numbers of the Jacobian to hold at a time. Memory is 6 times that (in float32, 4 in
      float64) and the matrix itself, and 64 times the network's intermediate values.

    **Raises:** `ValueError` as `ggn_vector_product` does.

    **Source:** the equality of spectra is that of `B^T B` and `B B^T`.
    """
    ravel_params(params)
    check_outputs(outputs, params, output_loss)
    rows = jax.eval_shape(outputs, params).shape[0]

    def roots(primal):
        if output_loss is None:
            return softmax_root(primal) / np.sqrt(rows).astype(primal.dtype)
        return _loss_root(output_loss, primal)

    return _gram(outputs, params, roots, held)


def softmax_root(logits: Float[Array, "rows classes"]) -> Float[Array, "rows classes classes"]:
    """Factor `diag(p) - p p^T`, for the softmax `p` of each row, as `B @ B.T`.

    `B = diag(sqrt(p)) @ (I - sqrt(p) sqrt(p)^T)`: the second factor is a projection, hence its
    own square. Its diagonal is summed from the other classes, so that every entry of B keeps its
    relative accuracy where a class is all but certain.
    """
    probabilities = jax.nn.softmax(logits)
    same = jnp.eye(logits.shape[1], dtype=logits.dtype)
    others = jnp.matmul(probabilities, 1 - same, precision=lax.Precision.HIGHEST)
    roots = jnp.sqrt(probabilities)
    off = -probabilities[:, :, None] * roots[:, None, :]
    return jnp.where(same[None] == 1, (roots * others)[:, :, None], off)


def _loss_root(output_loss, primal):
    """The symmetric root of each row's block of the Hessian of `output_loss`."""
    rows, classes = primal.shape[0], primal.size // primal.shape[0]
    with jax.default_matmul_precision("highest"):
        curve = output_curvature(output_loss, primal)
    flat = lambda tangent: curve(tangent.reshape(primal.shape)).reshape(rows, classes)
    units = jnp.eye(classes, dtype=primal.dtype)[:, None, :]
    blocks = jax.vmap(flat, out_axes=2)(jnp.repeat(units, rows, axis=1))
    probe = jnp.cos(jnp.arange(primal.size, dtype=primal.dtype)).reshape(rows, classes)
    product = jnp.einsum("rij,rj->ri", blocks, probe, precision=lax.Precision.HIGHEST)
    scale, tolerance = jnp.max(jnp.abs(blocks)), jnp.sqrt(jnp.finfo(primal.dtype).eps)
    apart = jnp.max(jnp.abs(product - flat(probe))) <= tolerance * scale * classes
    values, vectors = jnp.linalg.eigh(blocks)
    convex = jnp.min(values) >= -tolerance * scale
    roots = vectors * jnp.sqrt(jnp.maximum(values, 0))[:, None, :]
    symmetric = jnp.einsum("rik,rjk->rij", roots, vectors, precision=lax.Precision.HIGHEST)
    return jnp.where(apart & convex, symmetric, jnp.nan)


def _gram(outputs, params, roots_of, held):
    """`B^T J J^T B` from bands of rows of `B^T J`, one group of the parameters' arrays at a time.

    It is kept as (bands, bands, height, height), of which the upper half is computed.
    """
    with jax.default_matmul_precision("highest"):
        primal, push = jax.linearize(outputs, params)
        pull = jax.linear_transpose(push, params)
    roots = roots_of(primal)
    rows, classes, _ = roots.shape
    count = rows * classes
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    height = min(count, max(1, held // max(sizes)))
    bands = -(-count // height)

    def line(index, group):
        row, column = jnp.divmod(jnp.minimum(index, count - 1), classes)  # the last band's excess
        cotangent = jnp.zeros((rows, classes), primal.dtype).at[row].set(roots[row, :, column])
        leaves = jax.tree.leaves(pull(cotangent.reshape(primal.shape)))
        return jnp.concatenate([leaves[place].reshape(-1) for place in group])

    def band(place, group):
        indices = place * height + jnp.arange(height)
        return in_batches(lambda index: line(index, group), indices, _PULLS)

    def add(total, group):
        def across(place, strip):
            left = band(place, group)

            def one(other, part):
                meet = lambda: _accumulate(*part, left, band(other, group))
                return lax.cond(other < place, lambda: part, meet)

            return _map(one, bands, strip)

        if bands == 1:
            left = band(0, group)
            part = jax.tree.map(lambda array: array[0, 0], total)
            return jax.tree.map(lambda array: array[None, None], _accumulate(*part, left, left))
        return _map(across, bands, total)

    kind = ravel_params(params)[0].dtype
    total = GramMatrix(*(jnp.zeros((bands, bands, height, height), kind) for _ in range(2)))
    for group in _groups(sizes, held // height):
        total = GramMatrix(*add(tuple(total), group))
    return GramMatrix(*(_unfold(part, count) for part in total))


def in_batches(function, indices, most):
    """`function` of each index, in equal batches of at most `most`: the last index fills up.

    One trace, where `lax.map` with a `batch_size` takes another for what remains.
    """
    batches = -(-len(indices) // most)
    height = -(-len(indices) // batches)
    places = jnp.minimum(jnp.arange(batches * height), len(indices) - 1)
    rows = lax.map(jax.vmap(function), indices[places].reshape(batches, height))
    return rows.reshape(batches * height, *rows.shape[2:])[: len(indices)]


def _map(function, count, xs):
    return lax.map(lambda pair: function(*pair), (jnp.arange(count), xs))


def _groups(sizes, most):
    """Neighbouring arrays of no more than `most` numbers together, or one that has more."""
    groups, held = [], most + 1
    for place, size in enumerate(sizes):
        if held + size > most:
            groups, held = [*groups, []], 0
        groups[-1].append(place)
        held += size
    return groups


def _unfold(blocks, count):
    """The whole symmetric matrix from its bands, of which the lower are empty."""
    bands, _, height, _ = blocks.shape
    upper = blocks.swapaxes(1, 2).reshape(bands * height, bands * height)[:count, :count]
    return jnp.triu(upper) + jnp.triu(upper, 1).T


@jax.custom_batching.custom_vmap
def _accumulate(high, low, left, right):
    """`high + low + left @ right.T`, summed in float64 and again cut in two.

    Batching traces anew, as the context manager no longer holds where JAX rewrites a trace.
    """
    with jax.enable_x64(True):
        wide = lambda array: array.astype(jnp.float64)
        exact = wide(high) + wide(low) + wide(left) @ wide(right).swapaxes(-1, -2)
        if high.dtype == jnp.float64:
            return exact, low
        rounded = lax.reduce_precision(exact, exponent_bits=8, mantissa_bits=23)
        return rounded.astype(high.dtype), (exact - rounded).astype(high.dtype)


@_accumulate.def_vmap
def _(axis_size, in_batched, *arrays):
    spread = lambda array: jnp.broadcast_to(array, (axis_size, *array.shape))
    pairs = zip(arrays, in_batched, strict=True)
    return _accumulate(*(array if batched else spread(array) for array, batched in pairs)), (
        True,
        True,
    )
