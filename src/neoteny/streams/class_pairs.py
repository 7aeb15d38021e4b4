"""Class pairs: two classes to tell apart, and two others at the next task; Continual ImageNet."""

import jax
import jax.numpy as jnp

from neoteny.streams.class_rows import Index, dealt, shuffled, tables, within
from neoteny.types import Batch, Dataset, PRNGKey, Stream, Task


def class_pairs(dataset: Dataset, *, classes_per_task: int = 2, scaled: bool = True) -> Stream:
    """Each task is to tell two classes of `dataset` apart, named 0 and 1 whichever they are.

    The classes are put in a random order and taken two by two; once they are used up they are
    ordered anew. What an order leaves over, as the last of an odd number of classes, sits that
    cycle out. Rows come one of each class in turn, of each as many as the smallest class of
    `dataset` has. The network has `classes_per_task` outputs: that is the length of the task's
    `classes`. Orders depend on `key` and the cycle alone, so tasks may be drawn in any order.

    **Arguments:**

    - `classes_per_task`: more than two, for the same with larger tasks.
    - `scaled`: with `False` bytes are numbers from 0 to 255, as the main paper's code has them.

    **Raises:** `UserError` if `dataset` has fewer classes than a task, or a class without rows.

    **Source:** Continual ImageNet of Dohare et al. (2024). Their code draws one order for a run
    and repeats it, so a pair comes again after 500 tasks; ours meets new pairs in each cycle.
    """
    within("classes_per_task", classes_per_task, 2, dataset)
    train, heldout = tables(dataset)
    cycle = dataset.num_classes // classes_per_task

    def task(key: PRNGKey, index: Index) -> Task:
        order, place = shuffled(key, index, cycle, dataset.num_classes)
        chosen = jax.lax.dynamic_slice(order, (place * classes_per_task,), (classes_per_task,))
        return Task(
            given(dealt(dataset.train, train, chosen, classes_per_task)[0]),
            given(dealt(dataset.heldout, heldout, chosen, classes_per_task)[0]),
            classes=jnp.ones(classes_per_task, bool),
        )

    def given(batch: Batch) -> Batch:
        return batch if scaled else batch._replace(inputs=batch.inputs.astype(jnp.float32))

    return task
