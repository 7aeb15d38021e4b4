"""The outermost eigenvalues of an operator, with eigenvectors and true residuals."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from neoteny.curvature.lanczos import check_num_steps, lanczos
from neoteny.curvature.operators import Operator, ravel_params
from neoteny.types import PRNGKey


class Eigenpairs(NamedTuple):
    """Approximate eigenpairs, outermost first.

    - `eigenvalues`: Rayleigh quotients of the vectors: the largest in descending order, then
      the smallest in ascending order; NaN where there was no such pair to be found.
    - `eigenvectors`: orthonormal rows, each with a sign of its own; zero where there was no
      pair to be found.
    - `residuals`: `|H v - eigenvalue * v|`, from one more product each. Within so much of the
      eigenvalue lies one of H.
    """

    eigenvalues: Float[Array, " pairs"]
    eigenvectors: Float[Array, "pairs n"]
    residuals: Float[Array, " pairs"]


def extreme_eigenpairs(
    operator: Operator,
    key: PRNGKey,
    *,
    count: int = 1,
    num_steps: int = 64,
    which: str = "largest",
) -> Eigenpairs:
    """Approximate the outermost eigenpairs of a symmetric matrix by Lanczos.

    A residual says what a pair is worth: the eigenvalue errs by at most that, and by about its
    square over the gap to the next; the vector by about its ratio to the gap. In float64,
    converged pairs agree with the dense ones to 1e-10 of the largest; in float32, eigenvalues
    to 1e-5 of it and residuals stay above about 1e-6 of it: that is the rounding of products.

    From one start vector Lanczos sees every distinct eigenvalue once. Of a repeated one it
    returns one pair, whose vector is the part of the start vector in that eigenspace; rounding
    lets a copy in only after many more steps. A matrix with fewer distinct eigenvalues than
    pairs asked for leaves the last ones NaN, with zero vectors; a zero matrix has one pair.

    Costs `num_steps` products and one for each pair, and `2 * num_steps * n` numbers of memory.
    May be jitted, together with the making of the operator.

    **Arguments:**

    - `operator`: what to multiply by.
    - `key`: draws the start vector, with normal entries: random signs can miss an eigenvector.
    - `count`: pairs at each end that is asked for.
    - `num_steps`: Lanczos steps; twice to ten times `count`, or more where gaps are small.
    - `which`: the algebraically `"largest"`, the `"smallest"`, or `"both"` ends, the largest
      ones first.

    **Raises:** `ValueError` if `num_steps` is below 1 or above `n`, if there are more pairs
    than steps, or if `which` is another word.

    **Source:** Parlett (1980) for the bounds.
    """
    check_num_steps(num_steps, operator.size)
    _check_pairs(count, num_steps, which)
    start = jax.random.normal(key, (operator.size,), operator.dtype)
    result = lanczos(operator.matvec, start, num_steps)
    coordinates, found = _outermost(result, count, which)
    vectors = jnp.matmul(coordinates, result.basis, precision=lax.Precision.HIGHEST)

    def measure(vector):
        length = norm(vector)
        unit = vector / jnp.where(length == 0, 1, length)
        product = operator.matvec(unit)
        value = jnp.sum(unit * product)
        return value, unit, norm(product - value * unit)

    values, units, residuals = lax.map(measure, vectors)
    return Eigenpairs(
        jnp.where(found, values, jnp.nan), units, jnp.where(found, residuals, jnp.nan)
    )


def unravel_vectors(vectors: Float[Array, "count n"], params: PyTree) -> PyTree:
    """Give flat vectors the shape of `params`, each leaf with a leading axis that counts them."""
    flat, unravel = ravel_params(params)
    if vectors.shape[1] != flat.size:
        raise ValueError(
            f"`vectors` has rows of {vectors.shape[1]} numbers, but `params` holds {flat.size}. "
            "Pass the parameters that the vectors were measured at."
        )
    return jax.vmap(unravel)(vectors)


def norm(vector: Float[Array, " n"]) -> Scalar:
    """The Euclidean length, by squares that neither under- nor overflow."""
    largest = jnp.max(jnp.abs(vector))
    scale = jnp.where(largest == 0, 1, largest)
    return scale * jnp.sqrt(jnp.sum((vector / scale) ** 2))


def _outermost(result, count, which) -> tuple[Float[Array, "pairs _"], Bool[Array, " pairs"]]:
    """Eigenvectors of T as rows, and which of them there are; diagonalised in float64.

    T is scaled into [-1, 1]; what lies beyond the steps taken becomes eigenvalues of 2, which
    are coupled to nothing and sort last.
    """
    steps, dtype = len(result.alphas), result.alphas.dtype
    with jax.enable_x64(True):
        alphas = result.alphas.astype(jnp.float64)
        betas = result.betas[:-1].astype(jnp.float64)
        scale = jnp.max(jnp.abs(alphas)) + 2 * jnp.max(betas, initial=0)
        scale = jnp.where(scale == 0, 1, scale)
        diagonal = jnp.where(jnp.arange(steps) < result.taken, alphas / scale, 2)
        sides = jnp.diag(betas / scale, 1)
        vectors = jnp.linalg.eigh(jnp.diag(diagonal) + sides + sides.T)[1].T.astype(dtype)
    places, found = _places(result.taken, count, which)
    return jnp.where(found[:, None], vectors[jnp.clip(places, 0, steps - 1)], 0), found


def _places(
    taken: Int[Array, ""], count: int, which: str
) -> tuple[Int[Array, " pairs"], Bool[Array, " pairs"]]:
    """Where the wanted eigenvalues stand among `taken` ascending ones; none is taken twice."""
    rank = jnp.arange(count)
    ends = {
        "largest": (taken - 1 - rank, rank < taken),
        "smallest": (rank, rank < (taken - count if which == "both" else taken)),
    }
    chosen = ends.values() if which == "both" else [ends[which]]
    places, found = map(jnp.concatenate, zip(*chosen, strict=True))
    return places, found


def _check_pairs(count, num_steps, which) -> None:
    if which not in ("largest", "smallest", "both"):
        raise ValueError(
            f"`which` is {which!r}, but a spectrum has two ends. Pass `which='largest'`, "
            "`'smallest'` or `'both'`."
        )
    pairs = 2 * count if which == "both" else count
    if not 1 <= pairs <= num_steps:
        most = num_steps // 2 if which == "both" else num_steps
        raise ValueError(
            f"`count` is {count}, but {num_steps} Lanczos steps give from 1 to {most} pairs at "
            f"{'each end' if which == 'both' else 'an end'}. Pass `count=1`, or more steps as "
            f"in `num_steps={4 * max(pairs, 1)}`."
        )
