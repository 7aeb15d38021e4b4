"""Rotated: the same images, turned by another angle at every task."""

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError
from neoteny.streams.class_rows import Index
from neoteny.streams.selection import resident
from neoteny.types import Batch, Dataset, PRNGKey, Stream, Task


def rotated(dataset: Dataset, *, degrees: float = 360.0, step: float = 0.0) -> Stream:
    """Each task shows all rows of `dataset` as images turned about their middle by one angle.

    With `step=0` the angle is uniform between 0 and `degrees`, and a task's own; otherwise it is
    `step` degrees more than at the task before, starting upright and, past `degrees`, again.
    Images turn anticlockwise; a pixel is interpolated linearly between four, with black around
    the image, and bytes are rounded to bytes. The angle depends on `key` and the index alone, so
    tasks may be drawn in any order. A task costs a copy of the inputs, and a few times that
    while it is drawn.

    **Arguments:**

    - `degrees`: the range of angles, up to a full turn.
    - `step`: degrees from one task to the next, or 0 for random angles.

    **Raises:** `UserError` if the rows of `dataset` are not known to be images, or for an angle
    out of range.

    **Source:** the rotated digits of Lopez-Paz & Ranzato (2017), there with one angle of 0 to
    180 degrees for each of 20 tasks.
    """
    dataset = resident(dataset)
    if dataset.image_shape is None:
        raise UserError(
            f"Only images can be turned, and the rows of {dataset.name} are not known to be any. "
            "Say so with `dataset._replace(image_shape=(height, width, channels))`."
        )
    if not 0 < degrees <= 360:
        raise UserError(f"`degrees` is {degrees}, but a range of angles goes up to 360.")
    if not 0 <= step < degrees:
        raise UserError(
            f"`step` is {step}, but is 0 for random angles, or else less than `degrees`, {degrees}."
        )
    shape = dataset.image_shape

    def task(key: PRNGKey, index: Index) -> Task:
        if step:
            angle = (jnp.asarray(index, jnp.float32) * step) % degrees
        else:
            draw = jax.random.fold_in(key, index)
            angle = jax.random.uniform(draw, (), jnp.float32, maxval=degrees)
        source = _source(jnp.deg2rad(angle), shape[0], shape[1])
        return Task(_turn(dataset.train, shape, source), _turn(dataset.heldout, shape, source))

    return task


def _source(angle: Float[Array, ""], height: int, width: int) -> Float[Array, "2 height width"]:
    """Where each pixel of the turned image lies in the original one."""
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    rows, columns = jnp.meshgrid(
        jnp.arange(height, dtype=jnp.float32) - middle_row,
        jnp.arange(width, dtype=jnp.float32) - middle_column,
        indexing="ij",
    )
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack(
        [
            cosine * rows + sine * columns + middle_row,
            cosine * columns - sine * rows + middle_column,
        ]
    )


def _turn(
    batch: Batch, shape: tuple[int, int, int], source: Float[Array, "2 height width"]
) -> Batch:
    def plane(pixels: Num[Array, "height width"]) -> Num[Array, "height width"]:
        return map_coordinates(pixels, list(source), order=1, mode="constant")

    images = batch.inputs.reshape(-1, *shape)
    turned = jax.vmap(jax.vmap(plane, in_axes=-1, out_axes=-1))(images)
    return batch._replace(inputs=turned.reshape(batch.inputs.shape))
