"""Parts of a data set: some of its rows, some of its classes, a fifth of them held out."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from neoteny.streams.files import DataError
from neoteny.streams.memory import check_room
from neoteny.types import Batch, Dataset

_SEED = 1797  # any constant would do, but it must never change: it is the split


def subset(dataset: Dataset, rows: int) -> Dataset:
    """Keep the first `rows` training rows of a fixed, class-balanced order; all held-out rows.

    The order deals one row of each class in turn, lowest label first, and takes a class's rows
    as `dataset` has them. So class sizes differ by one at most until the smallest class runs
    out, and a smaller subset is the beginning of a larger one.

    **Raises:** `DataError` if `rows` is below 1 or above the number of training rows, or more
    than fit in memory.
    """
    labels = np.asarray(dataset.train.labels)
    if not 1 <= rows <= len(labels):
        raise DataError(
            f"`rows` is {rows}, but {dataset.name} has {len(labels)} training rows, of which a "
            f"subset takes from 1 to {len(labels)}. Pass `rows={min(max(rows, 1), len(labels))}`."
        )
    chosen = np.lexsort((labels, rank_within_class(labels)))[:rows]
    return dataset._replace(train=_take(dataset.train, chosen, f"{rows} rows of {dataset.name}"))


def classes(dataset: Dataset, wanted: Sequence[int]) -> Dataset:
    """Keep the rows of some classes, which become the classes 0, 1, ... in the order wanted.

    Rows stay in the order `dataset` has them, in training and held-out alike. Groups are
    counted anew from 0, in the order of their old numbers.

    **Raises:** `DataError` if a class is not there, comes twice, or none is wanted.
    """
    chosen = np.asarray(wanted, int).reshape(-1)
    every = range(dataset.num_classes)
    if not len(chosen) or len(set(chosen)) < len(chosen) or not set(chosen.tolist()) <= {*every}:
        raise DataError(
            f"`wanted` is {list(wanted)}, but takes different classes of {dataset.name}, one at "
            f"least, numbered from 0 to {dataset.num_classes - 1}."
        )
    new = np.full(dataset.num_classes, -1, np.int32)
    new[chosen] = np.arange(len(chosen))
    groups = dataset.groups
    if groups is not None:
        old = np.asarray(groups)[chosen]
        groups = tuple(np.unique(old, return_inverse=True)[1].tolist())
    train, heldout = (
        _renamed(batch, new, f"{len(chosen)} classes of {dataset.name}")
        for batch in (dataset.train, dataset.heldout)
    )
    return dataset._replace(train=train, heldout=heldout, num_classes=len(chosen), groups=groups)


def resident(dataset: Dataset) -> Dataset:
    """The same data set with all its rows in memory, for rules that need every one at once.

    **Raises:** `DataError` if they do not fit.
    """
    batches = (dataset.train, dataset.heldout)
    size = sum(batch.inputs.nbytes for batch in batches if is_mapped(batch))
    _check_room(size, dataset.name)
    train, heldout = (
        batch._replace(inputs=jnp.asarray(batch.inputs)) if is_mapped(batch) else batch
        for batch in batches
    )
    return dataset._replace(train=train, heldout=heldout)


def is_mapped(batch: Batch) -> bool:
    """Whether the inputs lie in a file rather than in memory."""
    return isinstance(batch.inputs, np.memmap)


def rank_within_class(labels: np.ndarray) -> np.ndarray:
    """Of each row, how many rows of its class come before it."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    rank = np.empty(len(labels), int)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rank


def a_fifth_held_out(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out: of each class a fifth rounded down, at least one.

    Both are in a fixed random order, which depends on the number of rows alone: NumPy promises
    the stream of `RandomState` for good, as it does not for `Generator`.
    """
    order = np.random.RandomState(_SEED).permutation(len(labels))
    shuffled = labels[order]
    held = rank_within_class(shuffled) < np.maximum(1, np.bincount(labels) // 5)[shuffled]
    return order[~held], order[held]


def _renamed(batch: Batch, new: np.ndarray, what: str) -> Batch:
    names = new[np.asarray(batch.labels)]
    part = _take(batch, np.flatnonzero(names >= 0), what)
    return part._replace(labels=jnp.asarray(names[names >= 0]))


def _take(batch: Batch, chosen: np.ndarray, what: str) -> Batch:
    if is_mapped(batch):
        _check_room(batch.inputs[0].nbytes * len(chosen), what)
    return Batch(*(jnp.asarray(array[chosen]) for array in batch))


def _check_room(size: int, what: str) -> None:
    check_room(size, f"{what} would take", "Use fewer, as with `--set stream.rows=10000`.")
