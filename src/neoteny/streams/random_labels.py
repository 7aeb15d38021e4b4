"""Random labels: the same images, to be memorised under new random labels at every task."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer

from neoteny.streams.selection import resident
from neoteny.types import Dataset, PRNGKey, Stream, Task


def random_labels(dataset: Dataset) -> Stream:
    """Each task gives every training row of `dataset` a label drawn uniformly from all classes.

    Nothing can be predicted of unseen rows, so `heldout` is `None`: what is measured is how
    well and how fast the network still memorises, chance being `1 / num_classes`. The labels
    depend on `key` and the index alone, so tasks may be drawn in any order.

    **Source:** the test of memorisation is Zhang et al. (2017); as a stream, Lyle et al. (2023)
    and Kumar et al. (2023), the latter with 1,200 images: see `subset`.
    """
    dataset = resident(dataset)
    shape = dataset.train.labels.shape

    def task(key: PRNGKey, index: int | Integer[Array, ""]) -> Task:
        draw = jax.random.fold_in(key, index)
        # int32 by name: the default would draw other labels in a program that enables float64
        labels = jax.random.randint(draw, shape, 0, dataset.num_classes, jnp.int32)
        return Task(dataset.train._replace(labels=labels), None)

    return task
