"""Rotated images: quarter turns are exact, others keep what lies in the middle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import PROBLEMS
from scipy import ndimage, stats

from neoteny import streams
from neoteny.types import Batch, Dataset


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("quarters", range(4))
def test_a_quarter_turn_moves_each_pixel_to_where_it_belongs(key, name, quarters):
    data = PROBLEMS[name]
    task = streams.rotated(data, step=90.0)(key, quarters)
    for made, given in zip(task[:2], (data.train, data.heldout), strict=True):
        images = np.asarray(given.inputs).reshape(-1, 8, 8)
        turned = np.rot90(images, quarters, axes=(1, 2)).reshape(given.inputs.shape)
        # the sine of a float32 angle errs by 1e-7, over four pixels from the middle of at most 1
        tolerance = 0 if turned.dtype == np.uint8 else 2e-6
        np.testing.assert_allclose(made.inputs, turned, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(made.labels, given.labels)


def test_channels_turn_together_and_as_scipy_turns_them(key):
    pixels = np.random.default_rng(1).uniform(size=(3, 9, 7, 2)).astype(np.float32)
    batch = Batch(jnp.asarray(pixels), jnp.zeros(3, jnp.int32))
    data = Dataset("oblong", batch, batch, 1, (9, 7, 2))
    turned = streams.rotated(data, step=25.0)(key, 2).train.inputs
    for image, other in zip(pixels, np.asarray(turned), strict=True):
        expected = ndimage.rotate(image, 50, order=1, reshape=False, mode="grid-constant")
        np.testing.assert_allclose(other, expected, atol=1e-5)


def test_steps_count_up_and_start_upright_again_past_the_range(key):
    stream = streams.rotated(PROBLEMS["digits"], degrees=100.0, step=25.0)
    for index in range(4):
        one, other = stream(key, index), stream(jax.random.key(1), index + 4)
        np.testing.assert_array_equal(one.train.inputs, other.train.inputs)


def test_random_angles_are_uniform(key):
    # one dark pixel to the right of the middle of a large image tells the angle it is turned by
    image = np.zeros((1, 101, 101, 1), np.float32)
    image[0, 50, 90] = 1
    batch = Batch(jnp.asarray(image), jnp.zeros(1, jnp.int32))
    stream = streams.rotated(Dataset("dot", batch, batch, 1, (101, 101, 1)), degrees=180.0)
    shown = jax.jit(jax.vmap(lambda i: stream(key, i).train.inputs[0, :, :, 0]))(jnp.arange(300))
    places = np.arange(101) - 50
    weights = np.asarray(shown) / np.asarray(shown).sum((1, 2), keepdims=True)
    row, column = (weights.sum(axis) @ places for axis in (2, 1))
    angles = np.rad2deg(np.arctan2(-row, column)) % 360
    assert stats.kstest(angles / 180, "uniform").pvalue > 1e-4
