"""Plain arrays of images and labels, checked to be one problem and made a `Dataset`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from neoteny.streams import groups
from neoteny.streams.files import DataError
from neoteny.streams.memory import is_large
from neoteny.streams.npz import Arrays, read
from neoteny.types import Batch, Dataset


class Expected(NamedTuple):
    """What arrays under a published name must be; `rows` to train on and held out, if known."""

    num_classes: int
    image_shape: tuple[int, int, int]
    rows: tuple[int, int] | None = None


PUBLISHED = {
    "cifar10": Expected(10, (32, 32, 3), (50_000, 10_000)),
    "cifar100": Expected(100, (32, 32, 3), (50_000, 10_000)),
    "cifar10-subset": Expected(10, (32, 32, 3)),
    "tiny-imagenet-32": Expected(200, (32, 32, 3)),
    "omniglot": Expected(1623, (28, 28, 1)),
}


def load(name: str, path: Path) -> Dataset:
    """Read and check the arrays of the file `path`, which is to be the data set `name`.

    **Raises:** `DataError` if it is no whole `.npz` file, lacks an array, needs unpickling, does
    not fit in memory, or its arrays are not those of one problem, or not of the one so called.
    """
    dataset = to_dataset(name, read(path), str(path))
    if name in PUBLISHED:
        _check_published(dataset, PUBLISHED[name], path)
    return dataset


def find(name: str, places: Sequence[Path]) -> Path | None:
    """The file of arrays called `name` in one of these folders."""
    return next((path for place in places if (path := place / f"{name}.npz").is_file()), None)


def to_dataset(name: str, arrays: Arrays, place: str) -> Dataset:
    """Check that the arrays from `place` are one problem, and hand it over in JAX's arrays.

    Images that would fill much of memory are left where they are if they are mapped.
    """
    parts = ((*arrays[:2], "train"), (*arrays[2:4], "test"))
    for images, labels, part in parts:
        _check_part(images, labels, part, place)
    _check_together(arrays, place)
    num_classes = int(arrays.train_labels.max()) + 1
    found = arrays.groups
    if found is not None:
        found = tuple(_numbers(found, "groups", place).tolist())
    size = arrays.train_images.nbytes + arrays.test_images.nbytes
    train, heldout = (_batch(images, labels, is_large(size)) for images, labels, _ in parts)
    height, width, channels = train.inputs.shape[1:]
    members = groups.of(name, num_classes, found)
    return Dataset(name, train, heldout, num_classes, (height, width, channels), members)


def _batch(images: np.ndarray, labels: np.ndarray, large: bool) -> Batch:
    images = images[..., None] if images.ndim == 3 else images
    stays = large and isinstance(images, np.memmap)
    inputs = images if stays else jnp.asarray(images)
    return Batch(inputs, jnp.asarray(labels.astype(np.int32)))  # pyright: ignore[reportArgumentType]


# ---- what must hold of them


def _check_part(images: np.ndarray, labels: np.ndarray, part: str, place: str) -> None:
    if images.dtype != np.uint8:
        hint = "1 - 0 -> 255 - 0" if images.dtype == bool else "[0, 1] -> [0, 255]"
        raise DataError(
            f"`{part}_images` of `{place}` are {images.dtype}, but images are bytes (uint8). "
            f"Write them so ({hint})."
        )
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(
            f"`{part}_images` of `{place}` have shape {images.shape}, but images are (rows, "
            "height, width) or (rows, height, width, channels), none of them 0."
        )
    numbers = _numbers(labels, f"{part}_labels", place)
    if len(numbers) != len(images):
        raise DataError(
            f"`{place}` has {len(images)} `{part}_images`, but {len(numbers)} `{part}_labels`. "
            "Write one label for each image."
        )


def _numbers(values: np.ndarray, key: str, place: str) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "iu" or not len(values):
        raise DataError(
            f"`{key}` of `{place}` is {values.dtype} of shape {values.shape}, but must be one row "
            "of integers, counted from 0."
        )
    if (lowest := int(values.min())) < 0:
        raise DataError(f"`{key}` of `{place}` has {lowest}, but numbers are counted from 0.")
    return values


def _check_together(arrays: Arrays, place: str) -> None:
    shapes = [images.shape[1:] for images in (arrays.train_images, arrays.test_images)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"Training images of `{place}` are {shapes[0]} and test images {shapes[1]}. One "
            "network reads both: bring them to one shape."
        )
    highest = max(int(arrays.train_labels.max()), int(arrays.test_labels.max()))
    if highest >= len(arrays.train_labels) + len(arrays.test_labels):  # before counting up to it
        raise DataError(
            f"`{place}` has a label {highest}, but only {len(arrays.train_labels)} training rows. "
            "Number the classes from 0, leaving out none."
        )
    sizes = np.bincount(arrays.train_labels.astype(np.int64), minlength=highest + 1)
    if len(sizes) < 2:
        raise DataError(f"`{place}` has one class only, so there is nothing to tell apart.")
    if empty := np.flatnonzero(sizes == 0).tolist():
        raise DataError(
            f"No training row of `{place}` has the label {empty[0]}, but labels go up to {highest}"
            f"{f' ({len(empty)} such labels)' if len(empty) > 1 else ''}. Number the classes from "
            "0, leaving out none."
        )


def _check_published(dataset: Dataset, expected: Expected, path: Path) -> None:
    rows = len(dataset.train.labels), len(dataset.heldout.labels)
    found = Expected(dataset.num_classes, dataset.image_shape or (0, 0, 0), rows)
    if found._replace(rows=expected.rows and rows) != expected:
        raise DataError(
            f"`{path}` is not {dataset.name}: that has {_described(expected)}, and this has "
            f"{_described(found)}. Give the file another name to use it as data of your own."
        )


def _described(problem: Expected) -> str:
    size = " x ".join(map(str, problem.image_shape))
    rows = f", {problem.rows[0]} training and {problem.rows[1]} test rows" if problem.rows else ""
    return f"{problem.num_classes} classes and images of {size}{rows}"
