"""Permuted pixels: the same images, seen in a new order of pixels at every task."""

import math

import jax
from jaxtyping import Array, Int, Integer

from neoteny.streams.selection import resident
from neoteny.types import Batch, Dataset, PRNGKey, Stream, Task


def permuted_pixels(dataset: Dataset) -> Stream:
    """Each task shows all rows of `dataset` with their pixels in an order of the task's own.

    One uniform permutation a task, the same for training and held-out rows; inputs of any
    trailing shape are permuted as flattened and given back in that shape. It depends on `key`
    and the index alone, so tasks may be drawn in any order; task 0 is permuted like the rest.
    A task costs a copy of the inputs.

    **Source:** Goodfellow et al. (2014); as an online stream, Dohare et al. (2024). Their code
    permutes the images of the task before, ours the original ones: equal in distribution, but
    only here can task 700 be drawn without the 699 before it.
    """
    dataset = resident(dataset)
    num_pixels = math.prod(dataset.train.inputs.shape[1:])

    def task(key: PRNGKey, index: int | Integer[Array, ""]) -> Task:
        order = jax.random.permutation(jax.random.fold_in(key, index), num_pixels)
        return Task(_reorder(dataset.train, order), _reorder(dataset.heldout, order))

    return task


def _reorder(batch: Batch, order: Int[Array, " pixels"]) -> Batch:
    rows, *_ = shape = batch.inputs.shape
    return batch._replace(inputs=batch.inputs.reshape(rows, -1)[:, order].reshape(shape))
