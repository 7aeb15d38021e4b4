"""Images made smaller: means of blocks, by their closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from neoteny import streams
from neoteny.errors import UserError
from neoteny.types import Batch, Dataset


def _dataset(inputs, image_shape=(4, 6, 2)):
    batch = Batch(jnp.asarray(inputs), jnp.zeros(len(inputs), jnp.int32))
    return Dataset("images", batch, batch, 1, image_shape)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_each_pixel_is_the_mean_of_its_block(flat, kind):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 2)).astype(kind)
    given = images.reshape(3, -1) if flat else images
    small = streams.shrunk(_dataset(given), 2)
    assert small.image_shape == (2, 3, 2)
    assert small.train.inputs.dtype == kind
    assert small.train.inputs.shape == ((3, 12) if flat else (3, 2, 3, 2))
    found = np.asarray(small.heldout.inputs).reshape(3, 2, 3, 2)
    for row in range(2):
        for column in range(3):
            block = images[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            exact = block.astype(float).mean((1, 2))
            exact = np.round(exact) if kind is np.uint8 else exact
            np.testing.assert_allclose(found[:, row, column], exact, rtol=1e-6)


def test_what_cannot_be_shrunk_is_refused_with_what_can():
    images = np.zeros((1, 4, 6, 2), np.uint8)
    with pytest.raises(
        UserError, match=r"is 3, but images of images are 4 x 6. Pass one of 1, 2\."
    ):
        streams.shrunk(_dataset(images), 3)
    with pytest.raises(UserError, match="not known to be images"):
        streams.shrunk(_dataset(images, None), 2)


@pytest.mark.parametrize("flat", [False, True])
def test_enlarged_images_interpolate_between_the_centres_of_pixels(flat):
    images = np.random.default_rng(0).uniform(size=(3, 4, 4, 1)).astype(np.float32)
    given = images.reshape(3, -1) if flat else images
    large = streams.enlarged(_dataset(given, (4, 4, 1)), 7)
    assert large.image_shape == (7, 7, 1)
    found = np.asarray(large.train.inputs).reshape(3, 7, 7)
    centres = np.clip((np.arange(7) + 0.5) * 4 / 7 - 0.5, 0, 3)
    along = np.stack([np.interp(centres, range(4), row) for row in np.eye(4)])
    np.testing.assert_allclose(found, along.T @ images[..., 0] @ along, rtol=1e-5)


def test_bytes_are_enlarged_as_255ths_and_images_are_not_made_smaller():
    images = np.full((2, 4, 4, 2), 51, np.uint8)
    np.testing.assert_allclose(
        streams.enlarged(_dataset(images, (4, 4, 2)), 5).train.inputs, 0.2, rtol=1e-6
    )
    with pytest.raises(UserError, match="4 x 4"):
        streams.enlarged(_dataset(images, (4, 4, 2)), 3)
    with pytest.raises(UserError, match="no images"):
        streams.enlarged(_dataset(images, None), 8)
