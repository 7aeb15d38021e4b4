"""Class groups: all classes of one group a task; on Omniglot, the characters of one alphabet."""

import jax.numpy as jnp
import numpy as np

from neoteny.errors import UserError
from neoteny.streams.class_rows import Index, dealt, shuffled, tables, whole
from neoteny.types import Dataset, PRNGKey, Stream, Task


def class_groups(dataset: Dataset) -> Stream:
    """Each task is to name the classes of one group of `dataset`, as the letters of an alphabet.

    Labels count from 0 inside the group, in the order of its classes. The groups come in a
    random order, and once all were met in another. The network has as many outputs as the
    largest group has classes; `classes` marks those of a task and `prefix` its rows, so that all
    tasks are of one shape. Rows come one of each class in turn, of each as many as the smallest
    class of `dataset` has. Orders depend on `key` and the cycle alone, so tasks may be drawn in
    any order.

    **Raises:** `UserError` if the classes of `dataset` have no groups.

    **Source:** the alphabets of Omniglot, Lake et al. (2015), one after another.
    """
    if dataset.groups is None or len(dataset.groups) != dataset.num_classes:
        found = "none" if dataset.groups is None else f"{len(dataset.groups)} of them"
        raise UserError(
            f"A task is one group of classes, so each of the {dataset.num_classes} classes of "
            f"{dataset.name} needs the number of its group, and there are {found}. Use a data set "
            "with groups, as `omniglot`, or `dataset._replace(groups=...)` with one for each class."
        )
    groups = np.asarray(dataset.groups)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    sizes = np.array([len(classes) for classes in members], np.int32)
    most = int(sizes.max())
    # padded with a class of its own, which no row that counts is of
    padded = np.stack([np.resize(classes, most) for classes in members]).astype(np.int32)
    train, heldout = tables(dataset)

    def task(key: PRNGKey, index: Index) -> Task:
        order, place = shuffled(key, index, len(members), len(members))
        chosen, count = jnp.asarray(padded)[order[place]], jnp.asarray(sizes)[order[place]]
        rows, filled = dealt(dataset.train, train, chosen, count)
        unseen, filled_heldout = dealt(dataset.heldout, heldout, chosen, count)
        return Task(rows, unseen, jnp.arange(most) < count, whole(filled, filled_heldout))

    return task
