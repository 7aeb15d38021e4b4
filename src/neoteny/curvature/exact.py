"""Exact spectra of matrices that are small enough, or whose Gram matrix is."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PyTree

from neoteny.curvature.gram import GramMatrix, gram_matrix, in_batches
from neoteny.curvature.operators import (
    Operator,
    check_outputs,
    ggn_vector_product,
    ravel_params,
)
from neoteny.curvature.spectrum import Spectrum, operator_coefficients, quadrature
from neoteny.errors import unknown
from neoteny.types import PRNGKey

_LARGEST = 8192  # half a gigabyte in float64, and about a minute for its eigenvalues
_SMALL = 4096  # matrices that `ggn_spectrum` writes out unasked
_WORK = 4e12  # multiplications in float64 that it spends unasked: a minute or two on two cores
_ROUNDING = 2.0**-46  # of a float32 Jacobian, squared; times the rows
_ROUTES = ("auto", "dense", "gram", "lanczos")


class GGNSpectrum(NamedTuple):
    """A spectrum of the Gauss-Newton matrix, and how it was found.

    - `spectrum`: what all summaries take.
    - `route`: "dense", "gram" or "lanczos".
    - `exact`: whether the nodes are all eigenvalues, or else a quadrature.
    """

    spectrum: Spectrum
    route: str
    exact: bool


def ggn_spectrum(
    outputs: Callable[[PyTree], Float[Array, "rows *classes"]],
    params: PyTree,
    key: PRNGKey,
    *,
    output_loss: Callable[[Array], Array] | None = None,
    num_steps: int = 64,
    num_probes: int = 4,
    route: str = "auto",
    basis: str = "full",
) -> GGNSpectrum:
    """Find the spectrum of the Gauss-Newton matrix: exactly if that is cheap, else estimate it.

    By default through whichever of the `n` by `n` matrix of the parameters and the Gram matrix
    of the `k` outputs is smaller, if that is at most 4096 across; but a Gram matrix of more than
    4e12 multiplications (`k^2 n`; minutes on two cores) is left to Lanczos, at most 64 steps
    for each of 4 probes. Compiles on every call, and so belongs outside `jit`: in a loop compile
    `gram_matrix`, with the batch as an argument, and pass what it returns to `gram_spectrum`.

    **Arguments:**

    - `outputs`, `params`, `output_loss`: as for `ggn_vector_product`. The Gram route asks for an
      `output_loss` that is convex and does not couple rows, and is NaN for others.
    - `key`, `num_steps`, `num_probes`, `basis`: of the Lanczos route, as for `hessian_spectrum`;
      no more steps are taken than there are parameters.
    - `route`: "dense" (as `exact_spectrum`, eigenvalues below its rounding put together at zero),
      "gram" (as `gram_spectrum`) or "lanczos" (as `hessian_spectrum`).

    **Raises:** `ValueError` for another route, a dense one of more than 8192 parameters, inside
    `jit`, and as `ggn_vector_product` does.
    """
    if route not in _ROUTES:
        raise unknown("route", route, _ROUTES)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, key))):
        raise ValueError(_traced_message())
    check_outputs(outputs, params, output_loss)
    size = ravel_params(params)[0].size
    if route == "auto":
        route = _cheapest(jax.eval_shape(outputs, params).size, size)
    product = lambda params: ggn_vector_product(outputs, params, output_loss=output_loss)
    if route == "gram":
        gram = jax.jit(lambda params: gram_matrix(outputs, params, output_loss=output_loss))
        return GGNSpectrum(gram_spectrum(gram(params), size), route, True)
    if route == "dense":
        matrix = jax.jit(lambda params: dense(product(params)))(params)
        rounding = size * float(jnp.finfo(matrix.dtype).eps)
        spectrum = eigenvalue_spectrum(eigenvalues(matrix), size, rounding=rounding)
        return GGNSpectrum(spectrum, route, True)
    steps = min(num_steps, size)
    lanczos = lambda params, key: operator_coefficients(
        product(params), key, steps, num_probes, basis=basis
    )
    return GGNSpectrum(quadrature(*jax.jit(lanczos)(params, key)), route, False)


def _cheapest(count, size) -> str:
    if size <= min(count, _SMALL):
        return "dense"
    return "gram" if count <= min(size, _SMALL) and count**2 * size <= _WORK else "lanczos"


def dense(operator: Operator, *, batch_size: int = 64) -> Float[Array, "n n"]:
    """Write out the matrix of an operator, row by row: the device half of `exact_spectrum`.

    Costs `n` products, of which `batch_size` run side by side, with so many times the memory
    of one. To be jitted together with the making of the operator.

    **Raises:** `ValueError` if `n` is above 8192, or `batch_size` below 1.
    """
    if operator.size > _LARGEST:
        raise ValueError(_size_message(operator.size))
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` is {batch_size}, but at least one product runs at a time. Pass "
            "`batch_size=64`."
        )

    def row(index):
        return operator.matvec(jnp.zeros(operator.size, operator.dtype).at[index].set(1))

    return in_batches(row, jnp.arange(operator.size), batch_size)


def exact_spectrum(operator: Operator, *, batch_size: int = 64) -> Spectrum:
    """All eigenvalues of an operator, as one row of `n` nodes that weigh `1 / n` each.

    What `quadrature` estimates from `operator_coefficients`, for networks of up to 8192
    parameters: no standard errors, every summary exact. Eigenvalues err by the rounding of the
    products, in float32 about 1e-6 of the largest, in float64 1e-15; the diagonalisation is in
    float64. Belongs outside `jit`. In a loop, compile `dense` once, with the batch as an
    argument, and pass what it returns to `matrix_spectrum`.

    **Raises:** `ValueError` as `dense` does, or if all this is inside `jit`.
    """
    return matrix_spectrum(dense(operator, batch_size=batch_size))


def matrix_spectrum(matrix: Float[Array | np.ndarray, "n n"]) -> Spectrum:
    """The exact spectrum of a symmetric matrix, on the host: reads what `dense` returns.

    Of rounding, which leaves a matrix not quite symmetric, only the symmetric half counts.
    """
    values = eigenvalues(matrix)
    return eigenvalue_spectrum(values, len(values))


def gram_spectrum(gram: GramMatrix | Float[Array | np.ndarray, "k k"], size: int) -> Spectrum:
    """The exact spectrum of the Gauss-Newton matrix of `size` parameters, on the host.

    One row of nodes, weighing `1 / size` each, and one at zero that weighs the rest. Eigenvalues
    up to `k * 2^-46` of the largest count as zero: the noise of a float32 Jacobian. (Of a float32
    matrix that was not kept as `high + low`, the noise is a million times that and stays.)
    """
    matrix = gram
    if isinstance(gram, GramMatrix):
        matrix = sum(np.asarray(part, np.float64) for part in gram)
    values = eigenvalues(matrix)
    return eigenvalue_spectrum(values[-size:], size, rounding=_ROUNDING * len(values))


def eigenvalues(matrix) -> Float[np.ndarray, " n"]:
    """In ascending order, on the host and in float64; NaN if the matrix is not finite."""
    if isinstance(matrix, Tracer):
        raise ValueError(_traced_message())
    values = np.asarray(matrix, np.float64)
    if not np.isfinite(values).all():
        return np.full(len(values), np.nan)
    return np.linalg.eigvalsh((values + values.T) / 2)


def eigenvalue_spectrum(
    values: Float[np.ndarray, " known"], size: int, *, rounding: float = 0.0
) -> Spectrum:
    """The spectrum of a matrix, `size` by `size`, of which all non-zero eigenvalues are known.

    Each weighs `1 / size`. Those that are no larger than `rounding` times the largest are put
    together with the ones not listed in one node at zero, which weighs the rest.
    """
    if len(values) > size:
        raise ValueError(
            f"`values` holds {len(values)} eigenvalues, but a matrix of `size={size}` has no more "
            "than that. Pass the largest of them, or the size of the matrix."
        )
    if np.isnan(values).any():
        return Spectrum(np.full((1, 1), np.nan), np.full((1, 1), np.nan))
    magnitudes = np.abs(values)
    kept = values[magnitudes > rounding * np.max(magnitudes, initial=0.0)]
    if len(kept) < size:
        kept = np.append(kept, 0.0)
    weights = np.where(kept == 0, (size - np.count_nonzero(kept)) / size, 1 / size)
    order = np.argsort(kept)
    return Spectrum(kept[None, order], weights[None, order])


def _size_message(size) -> str:
    return (
        f"The operator is {size} x {size}, and matrices are written out up to {_LARGEST} x "
        f"{_LARGEST}. Pass it to `operator_coefficients`, whose `quadrature` estimates the "
        "spectrum; or take a part, as in `block(loss, params, layers(params)[-1])`."
    )


def _traced_message() -> str:
    return (
        "An exact spectrum was asked for inside `jit`, but it is found on the host, in float64. "
        "Jit `dense(operator)` or `gram_matrix(outputs, params)` instead, and call "
        "`matrix_spectrum` or `gram_spectrum` on what it returns."
    )
