"""Data sets that are drawn or made of the digits: what they promise of their shapes and shares."""

import numpy as np
import pytest

from neoteny.streams import coloured, load, locate, two_moons

MOONS = ("two-moons", "two-moons-overlapping")


@pytest.mark.parametrize("name", [*MOONS, "coloured-digits"])
def test_what_needs_no_files_is_the_same_each_time_and_two_classes(name, tmp_path):
    assert locate(name, folder=tmp_path) in ("drawn", "embedded")
    first, again = load(name, folder=tmp_path), load(name)
    for part, other in zip(first.train + first.heldout, again.train + again.heldout, strict=True):
        np.testing.assert_array_equal(part, other)
    assert first.num_classes == 2 and set(np.unique(first.heldout.labels)) == {0, 1}
    assert first.train.inputs.dtype == np.float32 and first.train.labels.dtype == np.int32


def test_a_gap_parts_the_moons_along_the_first_coordinate_and_an_overlap_does_not():
    for name, edge in zip(MOONS, (0.1, -0.1), strict=True):
        rows = load(name).train
        sides = np.asarray(rows.inputs[:, 0]) * (1 - 2 * np.asarray(rows.labels))
        assert len(rows.labels) == 300 and np.sum(rows.labels) == 150
        assert edge <= sides.min() < edge + 0.05  # the nearest of 300 points is near the edge


def test_without_noise_the_moons_are_half_circles_about_the_shift():
    points, labels = two_moons(np.random.RandomState(0), rows=40, gap=0.0, noise=0.0)
    across, along = points[labels == 0].T
    heights = np.sqrt(1 - (along + 0.5) ** 2)  # of the upper half circle, in the middle of both
    np.testing.assert_allclose(np.abs(across - (heights + 0.3 - 0.25)), 0, atol=1e-6)


def test_colour_and_shape_tell_the_label_as_often_as_they_are_said_to():
    rows, random = 20_000, np.random.RandomState(1)
    digits = random.randint(10, size=rows)
    images = np.ones((rows, 1, 1), np.float32) * (1 + digits[:, None, None])
    for flip in (0.1, 0.9):
        drawn, labels = coloured(images, digits, random, flip=flip)
        assert ((drawn > 0).sum((1, 2, 3)) == 1).all()
        np.testing.assert_array_equal(drawn.sum(-1), images)
        error = 4 * np.sqrt(0.25 / rows)  # four standard errors of a share, at most
        assert abs(np.mean((digits < 5) == labels) - 0.75) < error
        assert abs(np.mean((drawn[:, 0, 0, 1] > 0) == labels) - (1 - flip)) < error


def test_the_coloured_digits_have_other_colours_where_they_are_held_out():
    found = load("coloured-digits")
    assert found.image_shape == (8, 8, 2) and found.train.inputs.shape == (1500, 128)
    for rows, right in ((found.train, 0.85), (found.heldout, 0.1)):
        images = np.asarray(rows.inputs).reshape(-1, 8, 8, 2)
        agrees = (images[..., 1].sum((1, 2)) > 0) == np.asarray(rows.labels)
        assert abs(agrees.mean() - right) < 0.06
        assert images.max() == 1.0
