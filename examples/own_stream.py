"""A stream of your own in one file: each task hides a square of every image.

    neoteny run spectral-collapse-digits --plugin examples/own_stream.py \
        --set stream.rule=hidden-square --methods bp,l2
"""

import jax
import jax.numpy as jnp

from neoteny.streams import STREAMS
from neoteny.types import Task


def hidden_square(dataset):
    """Each task blanks a patch of a quarter of the image, at a place of the task's own."""
    side = int(dataset.train.inputs.shape[1] ** 0.5)

    def task(key, index) -> Task:
        row, column = jax.random.randint(jax.random.fold_in(key, index), (2,), 0, side // 2)
        rows, columns = jnp.divmod(jnp.arange(side * side), side)
        inside = lambda place, start: (place >= start) & (place < start + side // 2)
        hidden = inside(rows, row) & inside(columns, column)
        blank = lambda batch: batch._replace(inputs=batch.inputs * ~hidden[None])
        return Task(blank(dataset.train), blank(dataset.heldout))

    return task


STREAMS["hidden-square"] = hidden_square
