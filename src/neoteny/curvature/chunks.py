"""Curvature of many rows, a chunk of them in memory at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import PyTree

from neoteny.curvature.operators import Operator


def over_rows(make: Callable[[PyTree], Operator], batch: PyTree, chunk_rows: int) -> Operator:
    """Join operators of chunks of rows into the operator of all rows.

    Where `make(rows)` is the matrix of a mean over `rows`, this is the matrix of the mean over
    `batch`: a chunk counts by its rows, so that a short last one is weighted rightly. A product
    linearises each chunk anew and drops it, so memory is that of one chunk, for a quarter to a
    half more time than an operator that keeps every row's intermediate values. With
    `chunk_rows` of all rows or more this is `make(batch)`.

        make = lambda rows: hessian_vector_product(lambda p: loss(p, rows), params)
        operator = over_rows(make, Batch(inputs, labels), 500)

    Chunks are swept by a loop inside the compiled product, in which XLA runs the gradients of
    convolutions slowly on CPU.

    **Arguments:**

    - `make`: builds the operator of some rows; what it builds must be a mean over them.
    - `batch`: a pytree of arrays whose first axis counts the rows.
    - `chunk_rows`: rows in memory at a time.

    **Raises:** `ValueError` if `chunk_rows` is below 1, or if the arrays differ in their rows.
    """
    rows = _count_rows(batch)
    if chunk_rows < 1:
        raise ValueError(
            f"`chunk_rows` is {chunk_rows}, but a chunk has from 1 to all {rows} rows. Pass "
            f"`chunk_rows={min(rows, 500)}`, say."
        )
    if chunk_rows >= rows:
        return make(batch)
    whole, rest = divmod(rows, chunk_rows)
    take = lambda start, count: jax.tree.map(
        lambda array: lax.dynamic_slice_in_dim(array, start, count), batch
    )

    def matvec(vector):
        def add(total, start, count):
            product = make(take(start, count)).matvec(vector)
            return jax.tree.map(lambda old, new: old + new * (count / rows), total, product)

        def step(total, index):
            return add(total, index * chunk_rows, chunk_rows), None

        total = jax.tree.map(jnp.zeros_like, vector)
        total, _ = lax.scan(step, total, jnp.arange(whole))
        return add(total, whole * chunk_rows, rest) if rest else total

    return Operator(matvec, *_size_and_dtype(lambda: make(take(0, chunk_rows))))


def _size_and_dtype(build):
    """Of an operator that is only traced, so that nothing is computed for it."""
    found = []

    def trace():
        operator = build()
        found.append((operator.size, operator.dtype))

    jax.eval_shape(trace)
    return found[0]


def _count_rows(batch) -> int:
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    counts = {shape[0] if shape else 0 for shape in shapes}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(
            f"`batch` holds arrays of shapes {', '.join(map(str, shapes)) or 'none'}, but all "
            "need the same first axis, the rows, of at least 1. Close over what has no rows."
        )
    return counts.pop()
