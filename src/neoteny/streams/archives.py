"""The official archives of CIFAR-10 and CIFAR-100: records of bytes in a tar file.

The binary versions are read, as the Python ones hold pickles, which run whatever is in them.
"""

import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neoteny.streams.files import DataError, Progress
from neoteny.streams.memory import check_room
from neoteny.streams.npz import Arrays

_PIXELS = (3, 32, 32)  # of a record: red, green and blue, each row by row
_MOST_ROWS = 50_000  # of a file


class _Layout(NamedTuple):
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int  # before the pixels of each record; the last is the label


_LAYOUTS = {
    "cifar10": _Layout(
        tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)),
        ("cifar-10-batches-bin/test_batch.bin",),
        label_bytes=1,
    ),
    "cifar100": _Layout(("cifar-100-binary/train.bin",), ("cifar-100-binary/test.bin",), 2),
}


def read_cifar(name: str, paths: Sequence[Path], *, progress: Progress | None = None) -> Arrays:
    """Images (rows, 32, 32, 3) and labels of the one archive; nothing is unpacked to disk.

    **Raises:** `DataError`, naming the file, if it is not the archive of the data set `name`.

    **Source:** "Binary version" on A. Krizhevsky's CIFAR page: a label (CIFAR-100: that of the
    superclass, then that of the class), then 3,072 bytes, first all red, then green, then blue.
    """
    del progress  # it takes a second or two
    (path,), layout = paths, _LAYOUTS[name]
    try:
        with tarfile.open(path, "r:gz") as archive:
            train = _records(archive, layout.train, layout.label_bytes)
            test = _records(archive, layout.test, layout.label_bytes)
    except (tarfile.TarError, KeyError, EOFError, zlib.error, ValueError, OSError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"`{path}` is not a whole archive of {name}'s binary version ({error}). Replace it "
            "with a fresh copy from where it was published."
        ) from error
    return Arrays(*train, *test)


def _records(archive: tarfile.TarFile, names: tuple[str, ...], label_bytes: int):
    members = [archive.getmember(name) for name in names]
    size = label_bytes + int(np.prod(_PIXELS))
    for member in members:
        if not member.isreg() or member.sparse or not member.size or member.size % size:
            raise ValueError(f"{member.name} has no whole number of records")
        if member.size > _MOST_ROWS * size:
            raise ValueError(f"{member.name} has {member.size // size:,} records")
    total = sum(member.size for member in members)
    check_room(2 * total, "Reading CIFAR would take", "Free some.")
    data = b"".join(_content(archive, member) for member in members)
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    images = records[:, label_bytes:].reshape(-1, *_PIXELS).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, label_bytes - 1]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None  # it is a file
    content = stream.read(member.size)
    if len(content) < member.size:
        raise ValueError(f"{member.name} ends early")
    return content
