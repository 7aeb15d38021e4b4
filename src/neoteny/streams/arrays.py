"""Plain arrays: images and labels from an `.npz` file, checked and made a `Dataset`.

Large ones stay in their file: what is stored uncompressed can be mapped from where it lies.
"""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from neoteny.streams import groups
from neoteny.streams.files import DataError
from neoteny.streams.memory import check_room, is_large
from neoteny.types import Batch, Dataset

KEYS = ("train_images", "train_labels", "test_images", "test_labels")
"""What a file must hold; `groups`, a number for each class, may come with them."""


class Arrays(NamedTuple):
    """Bytes (rows, height, width) or (rows, height, width, channels), and labels from 0."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    groups: np.ndarray | None = None


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


# ---- reading: headers first, so that nothing is filled for which there is no room


class _Member(NamedTuple):
    """An array in the archive: where its entries begin in the file, if they lie there as such."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int | None

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


def read(path: Path) -> Arrays:
    """Read an `.npz` file, or map what is large in it; nothing in it is ever executed.

    **Raises:** `DataError`, naming the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"`{path}` is not a whole .npz file ({error or type(error).__name__}). Write it anew "
            "with `numpy.savez`."
        ) from error


def _read(archive: zipfile.ZipFile, path: Path) -> Arrays:
    present = {entry.removesuffix(".npy") for entry in archive.namelist()}
    if missing := [key for key in KEYS if key not in present]:
        raise DataError(
            f"`{path}` has no array {' and no '.join(f'`{key}`' for key in missing)}; it has "
            f"{', '.join(sorted(present)[:8]) or 'none'}. Write it with `numpy.savez(path, "
            "train_images=..., train_labels=..., test_images=..., test_labels=...)`."
        )
    wanted = [key for key in Arrays._fields if key in present]
    members = {key: _member(archive, path, key) for key in wanted}
    large = is_large(sum(member.nbytes for member in members.values()))
    mapped = {key for key in wanted if large and members[key].offset is not None}
    check_room(
        sum(member.nbytes for key, member in members.items() if key not in mapped),
        f"`{path}` would take",
        "Write it with `numpy.savez`, uncompressed, to use it from where it lies, or make it less.",
    )
    return Arrays(
        **{
            key: _map(path, members[key]) if key in mapped else _whole(archive, key)
            for key in wanted
        }
    )


def _member(archive: zipfile.ZipFile, path: Path, key: str) -> _Member:
    entry = archive.getinfo(f"{key}.npy")
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        header = stream.tell()
    if dtype.hasobject:
        raise DataError(
            f"`{key}` of `{path}` holds Python objects, and reading those could run a program "
            "hidden in them. Write plain numbers, as `images.astype('uint8')`."
        )
    stored = entry.compress_type == zipfile.ZIP_STORED
    member = _Member(shape, dtype, fortran, _start(path, entry) + header if stored else None)
    if header + member.nbytes != entry.file_size:
        raise ValueError(f"{key} does not have the bytes that its header declares")
    return member


def _start(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where an entry's data begin: after its local header, whose fields may differ in length."""
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    return entry.header_offset + 30 + int(lengths.sum())


def _map(path: Path, member: _Member) -> np.ndarray:
    order = "F" if member.fortran else "C"
    return np.memmap(path, member.dtype, "r", member.offset or 0, member.shape, order)


def _whole(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as stream:  # the archive checks each entry's sum as it reads
        return np.lib.format.read_array(stream, allow_pickle=False)


def find(name: str, places: Sequence[Path]) -> Path | None:
    """The file of arrays called `name` in one of these folders."""
    return next((path for place in places if (path := place / f"{name}.npz").is_file()), None)
