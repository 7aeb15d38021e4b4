"""Five plus one: hard tasks of several classes and easy ones of a single class take turns."""

import jax.numpy as jnp

from neoteny.errors import UserError
from neoteny.streams.class_rows import Index, dealt, shuffled, tables, whole, within
from neoteny.types import Batch, Dataset, PRNGKey, Stream, Task


def five_plus_one(dataset: Dataset, *, hard: int = 5, easy: int = 1) -> Stream:
    """Tasks of five classes and of one class take turns, all of them new, under their own names.

    Even tasks are hard and odd ones easy: one class is learnt by its name alone, which draws the
    network into a constant answer that the next hard task has to undo. Labels are those of
    `dataset` and all outputs count, in both. The classes are put in a random order and dealt to
    the tasks; once too few are left, they are ordered anew. Rows come one of each class in turn,
    of each as many as its smallest class has. Both kinds have room for `hard` classes, and
    `prefix` says how much of it a task fills. Orders depend on `key` and the cycle alone, so
    tasks may be drawn in any order.

    **Arguments:**

    - `hard`, `easy`: classes of an even and of an odd task; `easy` is at most `hard`.

    **Raises:** `UserError` if `dataset` has fewer than `hard + easy` classes.

    **Source:** the 5+1 CIFAR-100 of Kumar et al. (2023), whose code stops when its one order is
    used up and gives both kinds equally many steps. They judge a method by its hard tasks.
    """
    if not 1 <= easy <= hard:
        raise UserError(
            f"`easy` is {easy} and `hard` is {hard}, but an easy task has from 1 to `hard` "
            "classes. The published stream is `hard=5, easy=1`."
        )
    both = hard + easy
    within("hard", hard, 1, dataset)
    if both > dataset.num_classes:
        raise UserError(
            f"A hard task of {hard} classes and an easy one of {easy} need {both}, but "
            f"{dataset.name} has {dataset.num_classes}. Pass `hard={dataset.num_classes - easy}` "
            "or less."
        )
    train, heldout = tables(dataset)
    cycle = 2 * (dataset.num_classes // both)

    def task(key: PRNGKey, index: Index) -> Task:
        order, place = shuffled(key, index, cycle, dataset.num_classes)
        pair, odd = jnp.divmod(place, 2)
        start, count = pair * both + odd * hard, jnp.where(odd, easy, hard)
        # an easy task reads only the first of these; past the end, any class fills its room
        chosen = order[(start + jnp.arange(hard)) % dataset.num_classes]
        rows, filled = dealt(dataset.train, train, chosen, count)
        unseen, filled_heldout = dealt(dataset.heldout, heldout, chosen, count)
        own = lambda batch: Batch(
            batch.inputs, chosen[batch.labels].astype(dataset.train.labels.dtype)
        )
        return Task(own(rows), own(unseen), prefix=whole(filled, filled_heldout))

    return task
