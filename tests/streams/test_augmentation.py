"""Augmentation: what comes out is always a crop of the padded image, one side or the other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neoteny.errors import UserError
from neoteny.streams import crop_and_flip

ROWS, SHAPE, PADDING = 64, (6, 5, 3), 2
augment = jax.jit(crop_and_flip, static_argnames="padding")


@pytest.fixture
def images():
    """Every byte of an image tells its place, so that no two crops of it are the same."""
    pixels = np.arange(1, 1 + np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)
    return jnp.asarray(pixels[None] + np.arange(ROWS, dtype=np.uint8)[:, None, None, None])


def choices(image, padding):
    """All that may come of an image, by its corner and side."""
    height, width, _ = image.shape
    around = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = around[top : top + height, left : left + width]
            yield (top, left, False), crop
            yield (top, left, True), crop[:, ::-1]


def drawn(images, changed, padding):
    """Of each image, which choice it was: one and one only."""
    found = []
    for image, new in zip(np.asarray(images), np.asarray(changed), strict=True):
        same = [which for which, crop in choices(image, padding) if np.array_equal(crop, new)]
        assert len(same) == 1
        found.append(same[0])
    return np.array(found)


@pytest.mark.parametrize("padding", [0, PADDING])
def test_each_image_becomes_one_crop_or_mirrored_crop_of_itself(images, key, padding):
    changed = augment(key, images, padding=padding)
    assert changed.shape == images.shape and changed.dtype == jnp.uint8
    drawn(images, changed, padding)


def test_every_place_and_both_sides_come_as_often_as_chance_has_it(images):
    many = [augment(jax.random.key(seed), images, padding=PADDING) for seed in range(40)]
    found = np.concatenate([drawn(images, changed, PADDING) for changed in many])
    trials = len(found)
    top_left = np.bincount(found[:, 0] * 5 + found[:, 1], minlength=25)
    # five standard deviations of a binomial count
    assert np.all(abs(top_left - trials / 25) < 5 * np.sqrt(trials / 25 * 24 / 25))
    assert abs(found[:, 2].sum() - trials / 2) < 5 * np.sqrt(trials / 4)
    apart = np.corrcoef(found.T)[np.triu_indices(3, 1)]
    assert np.all(abs(apart) < 5 / np.sqrt(trials))


def test_it_depends_on_the_key_alone(images, key):
    with jax.enable_x64(False):
        single = crop_and_flip(key, images, PADDING)
    np.testing.assert_array_equal(single, augment(key, images, padding=PADDING))
    assert np.any(np.asarray(augment(jax.random.key(1), images)) != augment(key, images))


def test_floats_are_moved_alike_and_stay_floats(images, key):
    floats = crop_and_flip(key, images.astype(jnp.float32), PADDING)
    assert floats.dtype == jnp.float32
    np.testing.assert_array_equal(floats, crop_and_flip(key, images, PADDING))


def test_it_vectorises_over_keys(images):
    keys = jax.random.split(jax.random.key(2), 3)
    together = jax.vmap(partial(crop_and_flip, images=images))(keys)
    for one, key in zip(together, keys, strict=True):
        np.testing.assert_array_equal(one, augment(key, images))


def test_less_than_no_padding_is_refused(images, key):
    with pytest.raises(UserError, match="`padding` is -1"):
        crop_and_flip(key, images, -1)
