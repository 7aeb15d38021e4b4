"""NumPy's array files, read without trust: nothing is filled before its size is known."""

import io
import math
import tokenize
from typing import Any, NamedTuple

import numpy as np


class ObjectsError(ValueError):
    """The array is one of Python objects."""


class Header(NamedTuple):
    """What an array file says of itself; its entries begin `begin` bytes into it."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    begin: int

    @property
    def nbytes(self) -> int:
        """Of the entries."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: Any) -> Header:
    """The header of the array file that begins here in `stream`, of bytes.

    **Raises:** `ValueError` if there is none, or it is of no array of numbers or texts that there
    can be.
    """
    begin = stream.tell()
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    except (TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise ValueError(f"its header is none ({str(error) or type(error).__name__})") from None
    header = Header(shape, fortran, dtype, stream.tell() - begin)
    if any(isinstance(size, bool) or size < 0 for size in shape) or len(shape) > 32:
        raise ValueError(f"its shape is {shape}")
    if dtype.hasobject:
        raise ObjectsError("it holds Python objects, and reading those could run a program")
    # NumPy's limit on an array's size looks past its empty dimensions and types
    if math.prod(size or 1 for size in shape) * max(dtype.itemsize, 1) >= 2**63:
        raise ValueError(f"its shape is {shape}, more than any memory holds")
    return header


def parse(content: bytes) -> np.ndarray:
    """The array that `content` is the file of: all of it, and nothing more.

    **Raises:** `ValueError` as `read_header`, or if the entries are not those declared.
    """
    stream = io.BytesIO(content)
    header = read_header(stream)
    if header.begin + header.nbytes != len(content):
        raise ValueError("an array does not have the bytes that its header declares")
    order = "F" if header.fortran else "C"
    return np.ndarray(header.shape, header.dtype, content, header.begin, order=order).copy("K")
