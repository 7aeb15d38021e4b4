"""Permuted labels: the same images and classes, under new names of the classes at every task."""

import jax
from jaxtyping import Array, Int, Integer

from neoteny.streams.selection import resident
from neoteny.types import Batch, Dataset, PRNGKey, Stream, Task


def permuted_labels(dataset: Dataset) -> Stream:
    """Each task renames the classes of `dataset` by a uniform permutation of the task's own.

    Training and held-out rows are renamed alike. One class on average keeps its name from a
    task to the next, whatever their number: of ten classes, a tenth of the labels recurs. The
    names depend on `key` and the index alone, so tasks may be drawn in any order.

    **Source:** the label-permuted streams of Elsayed & Mahmood (2024). We permute the original
    labels of each task, not those of the task before: equal in distribution.
    """
    dataset = resident(dataset)

    def task(key: PRNGKey, index: int | Integer[Array, ""]) -> Task:
        names = jax.random.permutation(jax.random.fold_in(key, index), dataset.num_classes)
        return Task(_rename(dataset.train, names), _rename(dataset.heldout, names))

    return task


def _rename(batch: Batch, names: Int[Array, " classes"]) -> Batch:
    return batch._replace(labels=names[batch.labels].astype(batch.labels.dtype))
