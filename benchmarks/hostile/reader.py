"""What a reader is to the campaign, and folders that are made and thrown away quickly."""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple


class Reader(NamedTuple):
    """A way into neoteny, and what is thrown at it.

    - `prepare`: once in each process, in a folder of its own: what is sound, to be spoilt.
    - `make`: a hostile input; the same for the same random numbers.
    - `read`: hands it over, in a folder that is empty; raises only what users may see.
    - `share`: of all inputs, relative to others; slow readers have fewer.
    """

    prepare: Callable[[Path], Any]
    make: Callable[[Random, Any], bytes]
    read: Callable[[bytes, Any, Path], object]
    share: float
    refuses: tuple[type[Exception], ...] = ()


def emptied(folder: Path) -> Path:
    """The folder, with nothing in it."""
    if folder.is_symlink() or any(folder.iterdir()):
        shutil.rmtree(folder)
        folder.mkdir()
    return folder
