"""The IDX format of MNIST and its kin: a header of sizes, then the numbers."""

import gzip
import math
import zlib
from io import BufferedIOBase
from pathlib import Path

import numpy as np

LIMIT = 2**30
"""Bytes of array that a file may ask for: twenty times the largest of the MNIST family."""

_CHUNK = 2**20
_MAX_DIMENSIONS = 64  # of a NumPy array
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path | str) -> np.ndarray:
    """Read one IDX file, gzip-compressed or not, into an array of the shape it declares.

    A file that does not hold exactly what its header declares is refused. Memory grows with
    the bytes that are there, never with what the header or a compressed stream promises:
    reading stops one byte after the declared end, and at `LIMIT` at the latest.

    **Raises:** `ValueError`, naming the file, if it is no IDX file, or is truncated, damaged,
    too long, or larger than `LIMIT`; `OSError` if it cannot be opened.

    **Source:** the format note on Y. LeCun's MNIST page: two zero bytes, a type, the number
    of dimensions, each size as a big-endian 32-bit integer, then the entries in C order.
    """
    path = Path(path)
    with path.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if not compressed:
                return _parse(raw, path)
            with gzip.open(raw) as stream:
                return _parse(stream, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(_refusal(path, f"its compression is damaged ({error})")) from error


def _parse(stream: BufferedIOBase, path: Path) -> np.ndarray:
    dtype, shape = _header(stream, path)
    sizes = " x ".join(map(str, shape))
    # NumPy's limit on an array's size looks past its empty dimensions, and so does this one
    if math.prod(size or 1 for size in shape) * dtype.itemsize > LIMIT:
        declared = f"its header declares {sizes} entries of {dtype.itemsize} bytes"
        raise ValueError(_refusal(path, f"{declared}, and {LIMIT:,} bytes are read at most"))
    expected = math.prod(shape) * dtype.itemsize
    data = _read_up_to(stream, expected + 1)
    if len(data) != expected:
        found = f"only {len(data):,} follow" if len(data) < expected else "more follow"
        declared = f"its header declares {sizes} entries, {expected:,} bytes"
        raise ValueError(_refusal(path, f"{declared}, and {found}"))
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(stream: BufferedIOBase, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = bytes(_read_up_to(stream, 4))
    known = len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _TYPES
    if not (known and 1 <= magic[3] <= _MAX_DIMENSIONS):
        start = f"it starts with the bytes {magic.hex(' ')}" if magic else "it is empty"
        layout = "00 00, a type (08 to 0e) and a number of dimensions belong there"
        raise ValueError(_refusal(path, f"{start}, and {layout}"))
    sizes = _read_up_to(stream, 4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError(_refusal(path, f"it ends before the sizes of its {magic[3]} dimensions"))
    return np.dtype(_TYPES[magic[2]]), tuple(map(int, np.frombuffer(sizes, ">u4")))


def _read_up_to(stream: BufferedIOBase, size: int) -> bytearray:
    data = bytearray()
    while chunk := stream.read(min(_CHUNK, size - len(data))):
        data += chunk
    return data


def _refusal(path: Path, reason: str) -> str:
    return (
        f"`{path}` is not a whole IDX file: {reason}. Replace it with a fresh copy from where it "
        "was published."
    )
