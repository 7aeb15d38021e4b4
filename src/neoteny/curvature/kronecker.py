"""Kronecker factors of a layer's curvature: what its inputs and what its signals contribute."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Float64


class KroneckerFactors(NamedTuple):
    """`kron(activations, signals)` approximates a layer's block of the Gauss-Newton matrix.

    The block's parameters are those of the kernel, (inputs, outputs), with the bias as its last
    row where there is one, flattened row by row.
    """

    activations: Float[Array, "inputs inputs"]
    signals: Float[Array, "outputs outputs"]


class FactorEigenvalues(NamedTuple):
    """The eigenvalues of both factors, ascending; those of the block are all their products."""

    activations: Float64[np.ndarray, " inputs"]
    signals: Float64[np.ndarray, " outputs"]


def kronecker_factors(
    activations: Float[Array, "..."],
    signals: Float[Array, "..."],
    *,
    bias: bool = True,
) -> KroneckerFactors:
    """Average `a a^T` over the inputs of a layer, and `g g^T` over what flows back to it.

    The layer's block of the Gauss-Newton matrix is the mean over rows of
    `kron(a a^T, sum_c g_c g_c^T)`, where `g_c` is column `c` of the row's transposed Jacobian
    times a root `B` of its output curvature, `B B^T = W`. The factors are the means of the two
    parts: exact where these are independent over rows, as for one row or equal rows. Over rows
    the factors are means, over `c` they are sums: of gradients sampled or taken at the labels,
    pass one `g` a row, and they approximate the true or the empirical Fisher matrix.

    Convolutions: the block also couples positions. That is left out, and the factors are the
    sum over positions of `a a^T` and the mean over positions of `g g^T`.

    **Arguments:**

    - `activations`: what the layer multiplies, (rows, inputs); of a convolution the
      `convolution_activations`, (rows, positions, inputs).
    - `signals`: derivatives with respect to what the layer gives, before its activation
      function: (rows, outputs) or (rows, c, outputs); of a convolution (rows, positions,
      outputs) or (rows, c, positions, outputs).
    - `bias`: append a 1 to each `a`, so that the bias is part of the block.

    **Raises:** `ValueError` if rows, positions or axes do not match.

    **Source:** Martens & Grosse (2015); of convolutions, Grosse & Martens (2016).
    """
    _check_shapes(activations.shape, signals.shape)
    positions = activations.shape[1] if activations.ndim == 3 else 1
    inputs = homogeneous(activations) if bias else activations
    rows = len(activations)
    return KroneckerFactors(
        sum_of_squares(inputs) / rows, sum_of_squares(signals) / (rows * positions)
    )


def convolution_activations(
    images: Float[Array, "rows height width channels"],
    kernel_shape: Sequence[int],
    *,
    strides: Sequence[int] = (1, 1),
    padding: str | Sequence[tuple[int, int]] = "SAME",
) -> Float[Array, "rows positions inputs"]:
    """The patches that a convolution multiplies by its kernel, one for each output position.

    In the order of `kernel.reshape(-1, out)` for a kernel (height, width, in, out), of which
    `kernel_shape` is the shape or its first two entries: the convolution is
    `patches @ kernel.reshape(-1, out)`, and a kernel's gradient the sum over rows and positions
    of patch times signal. Takes as many numbers of memory as the images, times height times
    width of the kernel (over the strides).
    """
    height, width = kernel_shape[:2]
    patches = lax.conv_general_dilated_patches(
        images,
        (height, width),
        tuple(strides),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    apart = patches.reshape(len(images), -1, images.shape[-1], height * width)
    return apart.swapaxes(2, 3).reshape(*apart.shape[:2], -1)


def factor_eigenvalues(factors: KroneckerFactors) -> FactorEigenvalues:
    """Diagonalise both factors, on the host and in float64.

    Eigenvalues up to the factor's size times its rounding, relative to the largest, count as
    zero. NaN where the factor was not finite.
    """
    return FactorEigenvalues(*map(_eigenvalues, factors))


def kronecker_rank(eigenvalues: FactorEigenvalues) -> float:
    """The rank of the block: the product of the ranks of its factors."""
    return float(np.prod([np.sum(np.sign(part)) for part in eigenvalues]))


def kronecker_effective_rank(eigenvalues: FactorEigenvalues) -> float:
    """The exponential entropy of the block's eigenvalues, over their sum; 0 for a zero block.

    The product of that of the factors, since the normalised eigenvalues are products and the
    entropy of products is the sum of entropies. Eigenvalues of the activations' factor without
    bias are squares of the features' singular values, and squaring concentrates them: the
    `probes.effective_rank` of the features is at least that factor's.
    """
    return float(np.prod([_exponential_entropy(part) for part in eigenvalues]))


def kronecker_epsilon_rank(eigenvalues: FactorEigenvalues, epsilon: ArrayLike) -> ArrayLike:
    """Count the block's eigenvalues above `epsilon`, without forming them.

    Bisection in one sorted factor for each eigenvalue of the other; an array of epsilons gives
    a curve.
    """
    bounds = np.asarray(epsilon, np.float64)
    if not (bounds >= 0).all():
        raise ValueError(
            f"`epsilon` is {epsilon}, but eigenvalues from 0 up are compared with it. Pass 0 or "
            "more."
        )
    values, partners = eigenvalues
    if np.isnan(values).any() or np.isnan(partners).any():
        counts = np.full(bounds.shape, np.nan)
    else:
        first = _first_above(values, partners, bounds[..., None])
        counts = np.sum(len(values) - first, axis=-1).astype(np.float64)
    return float(counts) if counts.ndim == 0 else counts


def _first_above(values, partners, bounds):
    """Where in ascending `values` the products with each partner begin to exceed each bound.

    Bisects on the products themselves: a quotient of bound and partner would round ties.
    """
    low = np.zeros(np.broadcast_shapes(partners.shape, bounds.shape), int)
    high = np.full_like(low, len(values))
    for _ in range(len(values).bit_length()):
        middle = (low + high) // 2
        above = values[np.minimum(middle, len(values) - 1)] * partners > bounds
        searching = low < high
        high = np.where(searching & above, middle, high)
        low = np.where(searching & ~above, middle + 1, low)
    return high


def _eigenvalues(matrix):
    host = np.asarray(matrix, np.float64)
    if not np.isfinite(host).all():
        return np.full(len(host), np.nan)
    values = np.linalg.eigvalsh(host)
    cut = len(host) * float(jnp.finfo(matrix.dtype).eps) * max(values[-1], 0.0)
    return np.where(values <= cut, 0.0, values)


def _exponential_entropy(values):
    total = np.sum(values)
    if total == 0:
        return 0.0
    shares = values / total
    return np.exp(-np.sum(shares * np.log(np.where(shares == 0, 1, shares))))


def homogeneous(activations: Float[Array, "*rows inputs"]) -> Float[Array, "*rows inputs+1"]:
    """A 1 appended to each vector, for the bias."""
    return jnp.concatenate([activations, jnp.ones_like(activations[..., :1])], axis=-1)


def sum_of_squares(vectors: Float[Array, "*rows size"]) -> Float[Array, "size size"]:
    """The sum of `v v^T` over all vectors."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    return jnp.matmul(flat.T, flat, precision=lax.Precision.HIGHEST)


def _check_shapes(activations, signals) -> None:
    axes = len(activations)
    fits = axes in (2, 3) and len(signals) in (axes, axes + 1) and activations[0] == signals[0]
    if fits and axes == 3:
        fits = activations[1] == signals[-2]
    if not fits:
        raise ValueError(
            f"`activations` has shape {activations} and `signals` {signals}. Pass activations "
            "(rows, inputs) with signals (rows, outputs), or of a convolution (rows, positions, "
            "inputs) with (rows, positions, outputs), for the same rows and positions; signals "
            "may have one more axis after the rows, which is summed over."
        )
