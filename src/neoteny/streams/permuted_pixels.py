"""Permuted pixels: the same images, seen in a new order of pixels at every task."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer

from neoteny.errors import UserError
from neoteny.streams.selection import resident
from neoteny.types import Batch, Dataset, PRNGKey, Stream, Task

LAST = 100  # rows that `repeat_last` repeats: a chunk of the main paper's code


def permuted_pixels(dataset: Dataset, *, heldout: int = 0, repeat_last: int = 0) -> Stream:
    """Each task shows all rows of `dataset` with their pixels in an order of the task's own.

    One uniform permutation a task, the same for training and held-out rows; inputs of any
    trailing shape are permuted as flattened and given back in that shape. It depends on `key`
    and the index alone, so tasks may be drawn in any order; task 0 is permuted like the rest.
    A task costs a copy of the inputs.

    **Arguments:** for the main paper's own protocol, which has 2000 and 20.

    - `heldout`: hold out so many training rows, others at each task, in place of the data set's
      own; the rest come in another order at each task.
    - `repeat_last`: the last 100 training rows come so many times more at the end.

    **Raises:** `UserError` if so many rows are not there.

    **Source:** Goodfellow et al. (2014); as an online stream, Dohare et al. (2024). Their code
    permutes the images of the task before, ours the original ones: equal in distribution, but
    only here can task 700 be drawn without the 699 before it.
    """
    dataset = resident(dataset)
    num_pixels, rows = math.prod(dataset.train.inputs.shape[1:]), len(dataset.train.labels)
    least = LAST if repeat_last else 1
    if not 0 <= heldout <= rows - least:
        raise UserError(
            f"`heldout` is {heldout}, but of the {rows} training rows of {dataset.name} from 0 to "
            f"{rows - least} may be held out. Pass `heldout={max(rows - least, 0) // 10}`."
        )
    if repeat_last < 0:
        raise UserError(f"`repeat_last` is {repeat_last}, but counts from 0.")

    def task(key: PRNGKey, index: int | Integer[Array, ""]) -> Task:
        own = jax.random.fold_in(key, index)
        order = jax.random.permutation(own, num_pixels)
        if not heldout and not repeat_last:
            return Task(_reorder(dataset.train, order), _reorder(dataset.heldout, order))
        chosen = jax.random.permutation(jax.random.fold_in(own, 1), rows)
        train, last = chosen[: rows - heldout], chosen[rows - heldout :]
        train = jnp.concatenate([train, jnp.tile(train[-LAST:], repeat_last)])
        part = lambda some: jax.tree.map(lambda array: array[some], dataset.train)
        unseen = part(last) if heldout else dataset.heldout
        return Task(_reorder(part(train), order), _reorder(unseen, order))

    return task


def _reorder(batch: Batch, order: Int[Array, " pixels"]) -> Batch:
    rows, *_ = shape = batch.inputs.shape
    return batch._replace(inputs=batch.inputs.reshape(rows, -1)[:, order].reshape(shape))
