"""Plain arrays in an `.npz` file: headers first, so that nothing is filled without room for it.

Large ones stay in their file: what is stored uncompressed can be mapped from where it lies.
"""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neoteny import npy
from neoteny.streams.files import DataError
from neoteny.streams.memory import check_room, is_large

KEYS = ("train_images", "train_labels", "test_images", "test_labels")
"""What a file must hold; `groups`, a number for each class, may come with them."""


class Arrays(NamedTuple):
    """Bytes (rows, height, width) or (rows, height, width, channels), and labels from 0."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    groups: np.ndarray | None = None


class _Member(NamedTuple):
    """An array in the archive: where its entries begin in the file, if they lie there as such."""

    header: npy.Header
    offset: int | None

    @property
    def nbytes(self) -> int:
        return self.header.nbytes


def read(path: Path) -> Arrays:
    """Read an `.npz` file, or map what is large in it; nothing in it is ever executed.

    **Raises:** `DataError`, naming the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except DataError:
        raise
    except Exception as error:  # a damaged archive raises whatever its parser stumbles over
        reason = str(error) or type(error).__name__
        raise DataError(
            f"`{path}` is not a whole .npz file ({reason}). Write it anew with `numpy.savez`."
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
    # what is read is there twice for a moment, in NumPy's memory and in JAX's
    large = is_large(sum(member.nbytes for member in members.values()))
    mapped = {key for key in wanted if large and members[key].offset is not None}
    check_room(
        2 * sum(member.nbytes for key, member in members.items() if key not in mapped),
        f"Reading `{path}` would take",
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
        try:
            header = npy.read_header(stream)
        except npy.ObjectsError as error:
            raise DataError(
                f"`{key}` of `{path}` holds Python objects, and reading those could run a program "
                "hidden in them. Write plain numbers, as `images.astype('uint8')`."
            ) from error
    stored = entry.compress_type == zipfile.ZIP_STORED
    held = min(entry.compress_size, path.stat().st_size)
    if entry.file_size > held * _MOST_SQUEEZED.get(entry.compress_type, 0):
        raise ValueError(f"{key} declares {entry.file_size:,} bytes, and has {held:,}")
    member = _Member(header, _start(path, entry) + header.begin if stored else None)
    if header.begin + member.nbytes != entry.file_size:
        raise ValueError(f"{key} does not have the bytes that its header declares")
    return member


_MOST_SQUEEZED = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
"""How many bytes can be made of one: those are the ways in which NumPy writes."""


def _start(path: Path, entry: zipfile.ZipInfo) -> int:
    """Where an entry's data begin: after its local header, whose fields may differ in length."""
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)
        lengths = np.frombuffer(file.read(4), "<u2")
    return entry.header_offset + 30 + int(lengths.sum())


def _map(path: Path, member: _Member) -> np.ndarray:
    shape, fortran, dtype, _ = member.header
    order = "F" if fortran else "C"
    return np.memmap(path, dtype, "r", member.offset or 0, shape, order)


def _whole(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as stream:  # the archive checks each entry's sum as it reads
        return np.lib.format.read_array(stream, allow_pickle=False)
