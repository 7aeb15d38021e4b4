"""Images of other sizes: small ones for small machines, and digits as large as those of MNIST."""

import jax
import jax.numpy as jnp

from neoteny.errors import UserError
from neoteny.streams.selection import resident
from neoteny.types import Batch, Dataset, as_floats


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


def enlarged(dataset: Dataset, side: int) -> Dataset:
    """Images of `side` by `side` pixels, by linear interpolation, as floats.

    Rows keep their form, flattened or not. As many directions are in them as before.

    **Raises:** `UserError` if rows are not known to be images, or are larger than that.
    """
    shape = dataset.image_shape
    if shape is None or side < max(shape[:2]):
        what = "no images known" if shape is None else f"{shape[0]} x {shape[1]}"
        raise UserError(f"`side` is {side}, but rows of {dataset.name} are {what}: enlarge images.")
    large = (side, side, shape[2])

    def resized(batch: Batch) -> Batch:
        rows = len(batch.labels)
        images = as_floats(batch.inputs).reshape(rows, *shape)
        inputs = jax.image.resize(images, (rows, *large), "linear")
        return batch._replace(inputs=inputs.reshape(rows, -1) if batch.inputs.ndim == 2 else inputs)

    whole = resident(dataset)
    return dataset._replace(
        train=resized(whole.train), heldout=resized(whole.heldout), image_shape=large
    )
