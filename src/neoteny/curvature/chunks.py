"""Curvature of many rows, a chunk of them in memory at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import PyTree

from neoteny.curvature.operators import Operator


def over_rows(
    make: Callable[[PyTree], Operator],
    batch: PyTree,
    chunk_rows: int | None = None,
    *,
    memory: int = 2**30,
) -> Operator:
    """Join operators of chunks of rows into the operator of all rows.

    Where `make(rows)` is the matrix of a mean over `rows`, this is the matrix of the mean over
    `batch`: a chunk counts by its rows, so that a short last one is weighted rightly. A product
    linearises each chunk anew and drops it, so memory is that of one chunk, for a quarter to a
    half more time than an operator that keeps every row's intermediate values. With
    `chunk_rows` of all rows or more this is `make(batch)`.

        make = lambda rows: hessian_vector_product(lambda p: loss(p, rows), params)
        operator = over_rows(make, Batch(inputs, labels))

    Chunks are swept by a loop inside the compiled product, in which XLA runs the gradients of
    convolutions slowly on CPU.

    Of its own accord a chunk has the rows that fit into `memory`: the values that the operator
    keeps of them between products, and operands and results of the widest step of a product,
    from the operator traced for two rows and for three, with nothing computed. The compiled
    product of one vector takes from a third of that to a quarter more, beside a few copies of
    the parameters; the batch itself, and what further vectors at once take, are not counted.
    Nor is what an operator computes anew in each product, rather than linearise: give
    `chunk_rows` for those.

    **Arguments:**

    - `make`: builds the operator of some rows; what it builds must be a mean over them.
    - `batch`: a pytree of arrays whose first axis counts the rows.
    - `chunk_rows`: rows in memory at a time; what fits `memory` if `None`.
    - `memory`: bytes that a chunk may take, where `chunk_rows` is `None`; 1 GiB unless told. A
      single row is taken even if it needs more.

    **Raises:** `ValueError` if `chunk_rows` or `memory` is below 1, or if the arrays differ in
    their rows.
    """
    rows = _count_rows(batch)
    take = lambda start, count: jax.tree.map(
        lambda array: lax.dynamic_slice_in_dim(array, start, count), batch
    )
    if chunk_rows is None:
        chunk_rows = _rows_within(memory, make, batch, rows)
    if chunk_rows < 1:
        raise ValueError(
            f"`chunk_rows` is {chunk_rows}, but a chunk has from 1 to all {rows} rows. Pass "
            f"`chunk_rows={min(rows, 500)}`, say, or leave it out for what fits `memory`."
        )
    if chunk_rows >= rows:
        return make(batch)
    whole, rest = divmod(rows, chunk_rows)

    def matvec(vector):
        def add(total, start, count):
            product = make(take(start, count)).matvec(vector)
            return jax.tree.map(lambda old, new: old + new * (count / rows), total, product)

        def step(total, index):
            return add(total, index * chunk_rows, chunk_rows), None

        total = jax.tree.map(jnp.zeros_like, vector)
        total, _ = lax.scan(step, total, jnp.arange(whole))
        return add(total, whole * chunk_rows, rest) if rest else total

    size_and_dtype = lambda operator: (operator.size, operator.dtype)
    return Operator(matvec, *_traced(make, batch, chunk_rows, size_and_dtype))


def _rows_within(memory, make, batch, rows) -> int:
    """Rows of which the bytes fit, from the growth with a row; parameters do not grow.

    XLA lets the loop and a short last chunk share no memory, so both have to fit.
    """
    if memory < 1:
        raise ValueError(
            f"`memory` is {memory}, but it is the bytes that a chunk may take. Pass "
            "`memory=2**30`, say, for 1 GiB."
        )
    kept, widths = zip(*(_traced(make, batch, count, _bytes_used) for count in (2, 3)), strict=True)
    widest = max((more - less for less, more in zip(*widths, strict=False)), default=0)
    most = memory // max(1, kept[1] - kept[0] + widest)
    return next((c for c in range(min(most, rows), 0, -1) if c + rows % c <= most), 1)


def _bytes_used(operator):
    """Of all that a product reads beside its vector, and of each of its steps."""
    vector = jax.ShapeDtypeStruct((operator.size,), operator.dtype)
    product = jax.make_jaxpr(operator.matvec)(vector)
    return sum(map(_bytes, product.consts)), _widths(product.jaxpr, product.jaxpr.constvars)


def _widths(jaxpr, kept):
    """Of each step's operands and results, but for what is kept; then of the steps within it."""
    widths = []
    for step in jaxpr.eqns:
        values = [each for each in (*step.invars, *step.outvars) if each not in kept]
        widths.append(sum(_bytes(each.aval) for each in values))
        if inner := step.params.get("jaxpr"):
            inner = getattr(inner, "jaxpr", inner)
            pairs = zip(step.invars, inner.invars, strict=False)
            widths += _widths(inner, [within for given, within in pairs if given in kept])
    return widths


def _bytes(array) -> int:
    return array.size * array.dtype.itemsize


def _traced(make, batch, count, read):
    """What is read off the operator of so many rows when it is only traced, so not computed."""
    found = []
    rows = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype),
        jax.eval_shape(lambda: batch),
    )
    jax.eval_shape(lambda rows: found.append(read(make(rows))), rows)
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
