"""Warm start: half of the data first, then all of it."""

import jax
import jax.numpy as jnp

from neoteny.errors import UserError
from neoteny.streams.class_rows import Index, int32, taken
from neoteny.types import Batch, Dataset, Prefix, PRNGKey, Stream, Task


def warm_start(dataset: Dataset, *, fraction: float = 0.5) -> Stream:
    """Task 0 has half of the training rows of `dataset`, and every later task has all of them.

    Does a network that learnt the half come to predict as well as one that met all rows at once?
    The question is of held-out accuracy, and of two tasks: a fresh network at task 1 is the
    comparison. The half is drawn from `key` alone; the rows keep one order throughout, and
    `prefix` says how many are in the task. In later tasks nothing is new, and `newest` stays
    where the second part begins. A task costs a copy of the inputs.

    **Arguments:**

    - `fraction`: of the training rows, those of task 0.

    **Raises:** `UserError` if `fraction` leaves task 0, or what is new after it, without a row.

    **Source:** Ash & Adams (2020).
    """
    rows, unseen = len(dataset.train.labels), len(dataset.heldout.labels)
    first = round(fraction * rows) if 0 < fraction < 1 else 0
    if not 0 < first < rows:
        raise UserError(
            f"`fraction` is {fraction} of the {rows} training rows of {dataset.name}, but at least "
            "one row comes first and one later. Pass a number between 0 and 1, as `fraction=0.5`."
        )

    def task(key: PRNGKey, index: Index) -> Task:
        order = jax.random.permutation(jax.random.fold_in(key, 0), rows)
        later = jnp.asarray(index) > 0
        return Task(
            Batch(*(taken(array, order) for array in dataset.train)),
            dataset.heldout,
            prefix=Prefix(
                int32(jnp.where(later, rows, first)),
                int32(unseen),
                int32(jnp.where(later, first, 0)),
            ),
        )

    return task
