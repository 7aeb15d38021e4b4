"""Which images a folder of classes holds, which of them are held out, and whether one changed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neoteny.streams.files import DataError
from neoteny.streams.selection import a_fifth_held_out

_HELDOUT = ("test", "val", "valid", "validation")
_CLUTTER = {"thumbs.db", "desktop.ini"}


class Listing(NamedTuple):
    """Files and labels to train on and held out; `stamp` changes when one of them does."""

    train: list[tuple[Path, int]]
    heldout: list[tuple[Path, int]]
    stamp: str


def looks_like_one(root: Path) -> bool:
    """Whether there is a folder with sub-folders."""
    return root.is_dir() and bool(_folders(root))


def listing(root: Path) -> Listing:
    """What there is below `root`, as `image_folder.read` has it.

    **Raises:** `DataError` if classes are fewer than two, empty, or not the same in both halves.
    """
    if not root.is_dir():
        raise DataError(
            f"There is no folder `{root}`. Name one that has a sub-folder of images for each "
            "class, as `folder:PATH`."
        )
    halves = {path.name.lower(): path for path in _folders(root)}
    heldout = next((halves[name] for name in _HELDOUT if name in halves), None)
    if "train" in halves and heldout is not None:
        return _two_halves(halves["train"], heldout, root)
    names, rows = _classes(root)
    labels = np.array([label for _, label in rows])
    for label in np.flatnonzero(np.bincount(labels) < 2):
        raise DataError(
            f"`{root / names[label]}` has one image only, but one is needed to train on and one "
            "to hold out. Add some, or give the folders `train` and `test`."
        )
    train, held = ([rows[row] for row in part] for part in a_fifth_held_out(labels))
    return Listing(train, held, _stamp(root, rows))


def _two_halves(train: Path, heldout: Path, root: Path) -> Listing:
    (names, rows), (other_names, other_rows) = _classes(train), _classes(heldout)
    if names != other_names:
        odd = sorted({*names} ^ {*other_names})
        raise DataError(
            f"`{train}` and `{heldout}` do not have the same classes: only one of them has "
            f"`{odd[0]}`{f' and {len(odd) - 1} more' if odd[1:] else ''}. Give both every class."
        )
    return Listing(rows, other_rows, _stamp(root, [*rows, *other_rows]))


def _classes(root: Path) -> tuple[list[str], list[tuple[Path, int]]]:
    folders = _folders(root)
    if len(folders) < 2:
        found = f"one, `{folders[0].name}`" if folders else "none"
        raise DataError(
            f"`{root}` must have a sub-folder for each of at least two classes, but has {found}."
        )
    rows = []
    for label, folder in enumerate(folders):
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and _counts(path)]
        if not files:
            raise DataError(f"The class folder `{folder}` is empty. Fill it or remove it.")
        rows += [(path, label) for path in files]
    return [folder.name for folder in folders], rows


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and _counts(path))


def _counts(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower() not in _CLUTTER


def _stamp(root: Path, rows: Sequence[tuple[Path, int]]) -> str:
    digest = hashlib.sha256()
    for path, label in rows:
        found = path.stat()
        line = f"{path.relative_to(root)}\0{label}\0{found.st_size}\0{found.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
