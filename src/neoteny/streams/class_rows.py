"""What rules that split a data set by its classes share: orders of classes, and rows dealt in turn.

Classes may differ in size; of each, such a rule uses its first rows, as many as the smallest
class has, so that all tasks are of one shape and every class of a task is met equally often.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int, Integer, Num

from neoteny.errors import UserError
from neoteny.types import Batch, Dataset, Prefix, PRNGKey

Index = int | Integer[Array, ""]
Table = Int[np.ndarray, "classes _"]


def tables(dataset: Dataset) -> tuple[Table, Table]:
    """The row numbers of each class, in training and in held-out rows.

    **Raises:** `UserError` if a class has no row in one of them.
    """
    return _table(dataset, "training", dataset.train), _table(dataset, "held-out", dataset.heldout)


def _table(dataset: Dataset, kind: str, batch: Batch) -> Table:
    labels = np.asarray(batch.labels)
    sizes = np.bincount(labels, minlength=dataset.num_classes)
    if sizes.min() == 0:
        raise UserError(
            f"A task of single classes needs rows of each, but {dataset.name} has no {kind} row of "
            f"class {sizes.argmin()}. Use more rows, or a data set that has all its classes."
        )
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    return np.stack([rows[: sizes.min()] for rows in by_class]).astype(np.int32)


def shuffled(key: PRNGKey, index: Index, length: int, items: int) -> tuple[Array, Array]:
    """A uniform order of `items` things, new every `length` tasks, and the task's place in them."""
    cycle, place = jnp.divmod(jnp.asarray(index), length)
    return jax.random.permutation(jax.random.fold_in(key, cycle), items), place


def dealt(
    batch: Batch, table: Table, classes: Int[Array, " most"], count: Index
) -> tuple[Batch, Int[Array, ""]]:
    """One row of each of the first `count` of `classes` in turn, labelled by its place there.

    There is room for all of `classes`; the rows that count are as many as returned beside them,
    the first ones.
    """
    size = table.shape[1]
    place = jnp.arange(len(classes) * size, dtype=jnp.int32)
    turn, slot = jnp.divmod(place, jnp.asarray(count, jnp.int32))
    rows = jnp.asarray(table)[classes[slot], jnp.minimum(turn, size - 1)]
    return Batch(taken(batch.inputs, rows), slot.astype(batch.labels.dtype)), int32(count * size)


def taken(array: Num[Array, "all *shape"] | np.ndarray, rows: Int[Array, " some"]) -> Array:
    """Some rows of an array; one mapped from a file is read there and nowhere else."""
    if not isinstance(array, np.ndarray):
        return array[rows]
    read = lambda some: np.ascontiguousarray(array[np.asarray(some)])
    if not isinstance(rows, Tracer):
        return jnp.asarray(read(rows))
    shape = jax.ShapeDtypeStruct((len(rows), *array.shape[1:]), array.dtype)
    return jax.pure_callback(read, shape, rows, vmap_method="sequential")


def whole(train: Index, heldout: Index) -> Prefix:
    """The first rows of a task that shares none with the one before it."""
    return Prefix(int32(train), int32(heldout), int32(0))


def int32(value: Index) -> Int[Array, ""]:
    """One type whatever the default, so that a program that enables float64 gets equal bits."""
    return jnp.asarray(value, jnp.int32)


def within(option: str, value: int, least: int, dataset: Dataset) -> None:
    """Refuse a number of classes in a task that the data set does not have."""
    if not least <= value <= dataset.num_classes:
        raise UserError(
            f"`{option}` is {value}, but {dataset.name} has {dataset.num_classes} classes. Pass "
            f"`{option}={min(max(value, least), dataset.num_classes)}` or any number from {least} "
            f"to {dataset.num_classes}."
        )
