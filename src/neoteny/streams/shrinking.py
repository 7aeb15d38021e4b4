"""Smaller images: blocks of pixels become their mean, so that a small machine can do more tasks."""

import jax.numpy as jnp

from neoteny.errors import UserError
from neoteny.streams.selection import resident
from neoteny.types import Batch, Dataset


def shrunk(dataset: Dataset, factor: int) -> Dataset:
    """Images of which each block of `factor` by `factor` pixels has become one, its mean.

    Bytes stay bytes, rounded to the nearest; rows keep their form, flattened or not.

    **Raises:** `UserError` if rows are not known to be images, or `factor` divides neither side.
    """
    shape = dataset.image_shape
    if shape is None:
        raise UserError(
            f"`stream.shrink` is {factor}, but rows of {dataset.name} are not known to be images. "
            "Pass `--set stream.shrink=1`."
        )
    height, width, channels = shape
    if factor < 1 or height % factor or width % factor:
        fits = [n for n in range(1, min(height, width) + 1) if not (height % n or width % n)]
        raise UserError(
            f"`stream.shrink` is {factor}, but images of {dataset.name} are {height} x {width}. "
            f"Pass one of {', '.join(map(str, fits))}."
        )
    small = (height // factor, width // factor, channels)

    def means(batch: Batch) -> Batch:
        rows = len(batch.labels)
        blocks = batch.inputs.reshape(rows, small[0], factor, small[1], factor, channels)
        inputs = blocks.astype(jnp.float32).mean((2, 4))
        if batch.inputs.dtype == jnp.uint8:
            inputs = jnp.round(inputs).astype(jnp.uint8)
        flat = batch.inputs.ndim == 2
        return batch._replace(inputs=inputs.reshape(rows, -1) if flat else inputs)

    whole = resident(dataset)
    return dataset._replace(
        train=means(whole.train), heldout=means(whole.heldout), image_shape=small
    )
