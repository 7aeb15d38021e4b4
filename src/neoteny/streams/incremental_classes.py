"""Incremental classes: a few new classes at every task, beside all those seen before."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from neoteny.errors import UserError
from neoteny.streams.class_rows import Index, Table, int32, shuffled, tables, taken, within
from neoteny.types import Batch, Dataset, Prefix, PRNGKey, Stream, Task


def incremental_classes(
    dataset: Dataset, *, start: int = 5, step: int = 5, stop: int = 0
) -> Stream:
    """The first task has five classes of `dataset`, and each next one five more; none is lost.

    The classes come in a random order, under their own names; `classes` marks those seen so far.
    Once all were there, the next task starts over with the first few of another order: 100
    classes make 20 tasks to a cycle. The arrays of a task are all that there will be, sorted by
    when they come, and `prefix` says how far it has got and where its newest classes begin; so
    all tasks are of one shape. Of what is new at a task, rows come one of each class in turn, of
    each as many as the smallest class of `dataset` has. Orders depend on `key` and the cycle
    alone, so tasks may be drawn in any order. A task costs a copy of the inputs.

    **Arguments:**

    - `start`: classes of the first task.
    - `step`: new classes of each later one; the last has what is left.
    - `stop`: how many of the classes a cycle has, the first of its order; all with 0.

    **Raises:** `UserError` if `dataset` has fewer classes than `start` or `stop`, `stop` is below
    `start`, or `step` is below 1.

    **Source:** incremental CIFAR-100 of Dohare et al. (2024), one cycle of 20 tasks; and of
    Prakash et al. (2026), who measure the Hessian on the newest classes.
    """
    within("start", start, 1, dataset)
    if step < 1:
        raise UserError(
            f"`step` is {step}, but a task brings at least one new class. Pass `step=5`."
        )
    if stop:
        within("stop", stop, start, dataset)
    classes, last = dataset.num_classes, stop or dataset.num_classes
    seen = np.array([*range(start, last, step), last], np.int32)
    train, heldout = tables(dataset)
    places, places_heldout = _by_stage(seen, train.shape[1]), _by_stage(seen, heldout.shape[1])

    def task(key: PRNGKey, index: Index) -> Task:
        order, stage = shuffled(key, index, len(seen), classes)
        now = jnp.asarray(seen)[stage]
        before = jnp.where(stage > 0, jnp.asarray(seen)[stage - 1], 0)
        return Task(
            _taken(dataset.train, train, order, places),
            _taken(dataset.heldout, heldout, order, places_heldout),
            classes=jnp.argsort(order) < now,
            prefix=Prefix(
                int32(now * train.shape[1]),
                int32(now * heldout.shape[1]),
                int32(before * train.shape[1]),
            ),
        )

    return task


def _by_stage(seen: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row of a task, which class of the order it is of, and which of that one's rows."""
    stages = [np.arange(first, last) for first, last in zip([0, *seen[:-1]], seen, strict=True)]
    slots = [np.tile(new, size) for new in stages]
    turns = [np.repeat(np.arange(size), len(new)) for new in stages]
    return np.concatenate(slots).astype(np.int32), np.concatenate(turns).astype(np.int32)


def _taken(
    batch: Batch, table: Table, order: Int[Array, " classes"], places: tuple[np.ndarray, np.ndarray]
) -> Batch:
    slots, turns = map(jnp.asarray, places)
    rows = jnp.asarray(table)[order[slots], turns]
    return Batch(taken(batch.inputs, rows), taken(batch.labels, rows))
