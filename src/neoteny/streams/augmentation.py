"""Random changes of images that keep what they show, as functions of a key."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num

from neoteny.errors import UserError
from neoteny.types import PRNGKey


def crop_and_flip(
    key: PRNGKey, images: Num[Array, "rows height width channels"], padding: int = 4
) -> Num[Array, "rows height width channels"]:
    """Shift each image by up to `padding` pixels either way, and mirror every other one.

    Each is surrounded by `padding` zeros and cut out again at a place of its own, uniform over
    the `(2 * padding + 1)**2` there are; then turned left to right with probability one half.
    Bytes stay bytes. Which place and side depends on `key` and the number of images alone,
    whatever JAX's default precision.

    **Raises:** `UserError` if `padding` is negative.

    **Source:** He et al. (2016) for CIFAR-10, who pad by 4, as Lee et al. (2015) did.
    """
    if padding < 0:
        raise UserError(f"`padding` is {padding}, but takes 0 (only mirror) or more, as 4.")
    rows, height, width, channels = images.shape
    place, side = jax.random.split(key)
    corners = jax.random.randint(place, (rows, 2), 0, 2 * padding + 1, jnp.int32)
    mirrored = jax.random.randint(side, (rows, 1, 1, 1), 0, 2, jnp.int32) == 1
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))

    def cut(image, corner):
        start = (corner[0], corner[1], jnp.int32(0))
        return jax.lax.dynamic_slice(image, start, (height, width, channels))

    cropped = jax.vmap(cut)(jnp.pad(images, around), corners)
    return jnp.where(mirrored, cropped[:, :, ::-1], cropped)
