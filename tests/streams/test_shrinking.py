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
