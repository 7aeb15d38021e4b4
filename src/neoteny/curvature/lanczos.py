"""Lanczos tridiagonalisation that stays orthogonal and knows when to stop."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from neoteny.errors import unknown

MatVec = Callable[[Float[Array, " n"]], Float[Array, " n"]]

_BASES = ("full", "half", "none")
_CANCELLED = 0.5**0.5  # a pass that leaves less than this of a vector calls for a second pass
_PASSES, _ROUGH_PASSES = 2, 6  # at most: two are enough, but not of rounded rows
_BREAKDOWN = 10  # roundings, relative to the norm of T: what a Hessian product errs by
_TILE = 4096  # entries: a product over millions in one go loses three digits of float32
_BLOCKS = 8  # enough to spare most of the empty rows
_UNIT = 2.0**12  # an entry is at most one, and in a large network a thousandth
_CACHED = 2**22  # below so many numbers the basis sits in cache, and blocks gain nothing


class Tridiagonal(NamedTuple):
    """`basis @ H @ basis.T`: the matrix as seen from the Krylov space of a start vector.

    - `alphas`: the diagonal.
    - `betas`: `betas[j]` joins steps `j` and `j + 1`; the last is the norm of what was left
      over, so no eigenvalue of T is further than that from one of H. Exactly zero where the
      space was exhausted; all that follows is then zero too.
    - `taken`: the steps before that, hence the size of T; at least one.
    - `basis`: orthonormal rows, the start vector first; zero from row `taken` on. Where it is
      not used, `jit` drops the copy that gathers it. No rows where it was not kept.
    """

    alphas: Float[Array, " steps"]
    betas: Float[Array, " steps"]
    taken: Int[Array, ""]
    basis: Float[Array, "kept n"]


def lanczos(
    matvec: MatVec, start: Float[Array, " n"], num_steps: int, *, basis: str = "full"
) -> Tridiagonal:
    """Tridiagonalise a symmetric matrix on the Krylov space of `start`.

    Every new vector is orthogonalised against all before it, and once more if the first pass
    cancelled a large part of it: then the second is enough. One pass reads the basis twice.
    It breaks down, as it should, when a new vector is no more than rounding: a matrix with
    `k` distinct eigenvalues takes `k` steps, a zero matrix one, and products cease there.

    Costs `num_steps` products and `num_steps * n` numbers of memory (a 2.8-million-parameter
    network at 100 steps: 1.1 GB in float32), which is also what limits its speed.

    **Arguments:**

    - `matvec`: multiplies a flat vector by the matrix.
    - `start`: any vector but zero; its length does not matter.
    - `num_steps`: from 1 to `n`; with `n` steps T has every eigenvalue that `start` touches.
    - `basis`: "half" keeps the rows in float16, for half the memory and an eighth of it to work
      in. A pass then leaves up to 1/4000 of what it should remove, so more passes are taken
      where that is much; vectors stay orthogonal to about 4e-4, and converged eigenvalues err
      by 3e-5 of the largest. (bfloat16 leaves 1/500, too much once outliers have converged:
      new vectors are then no longer new.) "none" keeps nothing and orthogonalises against the
      last two alone: converged eigenvalues come back as copies that share the weight. The
      extremes and the trace bear that; ranks, residuals and node counts do not.
      `benchmarks/basis.py` prints what each costs and does to the numbers.

    **Raises:** `ValueError` if `num_steps` is below 1 or above `n`, or for another `basis`.

    **Source:** Lanczos (1950); the criterion for a second pass is that of Daniel, Gragg,
    Kaufman & Stewart (1976).
    """
    check_num_steps(num_steps, start.size)
    _check_basis(basis)
    kept = basis != "none"
    heights = _block_heights(num_steps, start.size) if kept else []
    storage = jnp.float16 if basis == "half" else start.dtype
    tolerance = _BREAKDOWN * jnp.finfo(start.dtype).eps
    zero, still = jnp.zeros((), start.dtype), jnp.zeros_like(start)

    def step(carry, index):
        blocks, current, previous, beta, norm = carry
        blocks = _write(blocks, index, current)

        def advance():
            product = matvec(current)
            alpha = _dot(current, product)
            rest = product - alpha * current - beta * previous
            return alpha, *_orthogonalise(blocks, index, rest, _scale(product))

        stopped = (index > 0) & (beta == 0)
        alpha, rest, length = lax.cond(stopped, lambda: (zero, still, zero), advance)
        norm = jnp.maximum(norm, jnp.abs(alpha) + beta + length)
        following = jnp.where(length <= tolerance * norm, 0, length)
        unit = rest / jnp.where(following == 0, jnp.inf, following)
        return (blocks, unit, current, following, norm), (alpha, following)

    tiles, width = _fold(start).shape
    empty = tuple(jnp.zeros((tiles, height, width), storage) for height in heights)
    begin = (empty, start / _length(start, _scale(start)), still, zero, zero)
    (blocks, *_), (alphas, betas) = lax.scan(step, begin, jnp.arange(num_steps))
    taken = 1 + jnp.sum(betas[:-1] != 0)
    if not kept:
        return Tridiagonal(alphas, betas, taken, jnp.zeros((0, start.size), start.dtype))
    rows = jnp.concatenate(blocks, axis=1).swapaxes(0, 1).reshape(num_steps, -1)
    return Tridiagonal(alphas, betas, taken, _read(rows[:, : start.size], start.dtype))


def check_num_steps(num_steps: int, size: int) -> None:
    """Refuse a number of steps that Lanczos cannot take on a `size` by `size` matrix."""
    if not 1 <= num_steps <= size:
        raise ValueError(
            f"`num_steps` is {num_steps}, but this matrix is {size} x {size}, on which Lanczos "
            f"takes from 1 to {size} steps. Pass `num_steps={size}` for the exact spectrum, "
            "or fewer for an estimate."
        )


def _check_basis(basis: str) -> None:
    if basis not in _BASES:
        raise unknown("basis", basis, _BASES)


def _block_heights(num_steps, size):
    """Cut a basis that outgrows the cache into blocks, so that empty ones need not be read."""
    count = _BLOCKS if num_steps * size > _CACHED and num_steps > _BLOCKS else 1
    height = -(-num_steps // count)
    return [min(height, num_steps - top) for top in range(0, num_steps, height)]


def _tops(blocks):
    heights = [block.shape[1] for block in blocks]
    return [sum(heights[:place]) for place in range(len(heights))]


def _fold(vector):
    """Cut a vector into tiles, (tiles, width), with zeros to fill the last."""
    width = min(_TILE, vector.size)
    return jnp.pad(vector, (0, -vector.size % width)).reshape(-1, width)


def _write(blocks, index, vector):
    """Set row `index` of the basis, in place: under `scan` no branch copies its block."""
    if not blocks:
        return blocks
    row = _kept(_fold(vector), blocks[0].dtype)
    if len(blocks) == 1:
        return (blocks[0].at[:, index].set(row),)

    def put(block, top):
        here = (top <= index) & (index < top + block.shape[1])
        return lax.cond(here, lambda: block.at[:, index - top].set(row), lambda: block)

    return tuple(map(put, blocks, _tops(blocks)))


def _orthogonalise(blocks, index, vector, scale):
    """What the basis does not span of `vector`, and its length."""
    if not blocks:
        return vector, _length(vector, scale)

    def cancelled(state):
        _, before, after, passes = state
        return (passes < most) & (after < _CANCELLED * before)

    def again(state):
        vector, _, before, passes = state
        rest = _project_out(blocks, index, vector)
        return rest, before, _length(rest, scale), passes + 1

    most = _PASSES if blocks[0].dtype == vector.dtype else _ROUGH_PASSES
    length = _length(vector, scale)
    first = again((vector, length, length, 0))
    rest, _, length, _ = lax.while_loop(cancelled, again, first)
    return rest, length


def _project_out(blocks, index, vector):
    """Gram-Schmidt: classical within a block, modified between blocks; block by tile."""
    rest = _fold(vector)
    for block, top in zip(blocks, _tops(blocks), strict=True):
        if len(blocks) == 1:
            rest = _remove(block, rest)
        else:
            rest = lax.cond(index >= top, _remove, lambda _, rest: rest, block, rest)
    return rest.reshape(-1)[: vector.size]


def _remove(block, vector):
    block = _read(block, vector.dtype)
    parts = jnp.einsum("thw,tw->th", block, vector, precision=lax.Precision.HIGHEST)
    components = jnp.broadcast_to(jnp.sum(parts, axis=0), parts.shape)
    return vector - jnp.einsum("th,thw->tw", components, block, precision=lax.Precision.HIGHEST)


def _kept(row, dtype):
    """A unit vector as it is stored: in float16 in units of 2^-12, lest small entries vanish."""
    return row if row.dtype == dtype else (row * _UNIT).astype(dtype)


def _read(rows, dtype):
    return rows if rows.dtype == dtype else rows.astype(dtype) / _UNIT


def _dot(left, right):
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)


def _scale(vector):
    """What to divide by so that squares neither under- nor overflow."""
    largest = jnp.max(jnp.abs(vector))
    return jnp.where(largest == 0, 1, largest)


def _length(vector, scale):
    return scale * jnp.sqrt(jnp.sum((vector / scale) ** 2))
