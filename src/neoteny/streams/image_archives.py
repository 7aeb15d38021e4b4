"""The official archives of Omniglot and Tiny ImageNet: pictures in zip files.

They are decoded and made small once; the arrays are kept in the cache.
"""

import contextlib
import hashlib
import io
import os
import re
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from neoteny import cache
from neoteny.streams import npz
from neoteny.streams.files import DataError, Progress
from neoteny.streams.image_folder import pillow
from neoteny.streams.npz import KEYS, Arrays
from neoteny.streams.sources import SOURCES

_VERSION = 1  # of what is kept
_TOGETHER = 1024  # pictures between two reports
_LARGEST = 2**21  # bytes of a file: pictures have a few thousand, Tiny ImageNet's notes the most
_MOST_PIXELS = 2**16  # of a picture: official ones have 105 x 105 and 64 x 64


class _Picture(NamedTuple):
    """A picture's place in an archive, and its label."""

    archive: zipfile.ZipFile
    entry: str
    label: int


def read_omniglot(paths: Sequence[Path], *, progress: Progress | None = None) -> Arrays:
    """Letters at 28 x 28 pixels, ink in 255ths: drawers 1 to 15 to learn from, 16 to 20 held out.

    A class's number is its author's, less one: of `0709_03.png` it is 708, the drawer the third.
    Pixels are means over 3 or 4 of the 105 a side.

    **Raises:** `DataError` if Pillow is missing, an archive is not what it should be, or the
    cache is full.

    **Source:** `images_background.zip` and `images_evaluation.zip` of Lake, Salakhutdinov &
    Tenenbaum (2015), with 964 and 659 characters by 20 people.
    """
    return _kept("omniglot", paths, _omniglot, progress)


def read_tiny_imagenet(paths: Sequence[Path], *, progress: Progress | None = None) -> Arrays:
    """Photographs at 32 x 32 pixels, means of 2 x 2: 500 of each of 200 classes, 50 held out.

    Classes are in the order of their WordNet numbers. The test half has no labels and is left.

    **Raises:** `DataError`, as `read_omniglot`.

    **Source:** `tiny-imagenet-200.zip` of Stanford's course CS231n.
    """
    return _kept("tiny-imagenet-32", paths, _tiny_imagenet, progress)


def _omniglot(archives: Sequence[zipfile.ZipFile], decode: "_Decode") -> Arrays:
    halves: tuple[list[_Picture], list[_Picture]] = [], []
    for archive in archives:
        for entry in archive.namelist():
            if found := re.fullmatch(r"[^_].*/(\d{4})_(\d{2})\.png", entry):
                character, drawer = map(int, found.groups())
                halves[drawer > 15].append(_Picture(archive, entry, character - 1))
    train, test = (sorted(half, key=lambda each: (each.label, each.entry)) for half in halves)
    return Arrays(*decode(train, _ink), *decode(test, _ink))


def _tiny_imagenet(archives: Sequence[zipfile.ZipFile], decode: "_Decode") -> Arrays:
    (archive,) = archives
    root = "tiny-imagenet-200"
    found = [
        (match[1], entry)
        for entry in sorted(archive.namelist())
        if (match := re.fullmatch(rf"{root}/train/(n\d+)/images/[^/]+\.JPEG", entry))
    ]
    number = {wnid: label for label, wnid in enumerate(sorted({wnid for wnid, _ in found}))}
    notes = _content(archive, f"{root}/val/val_annotations.txt").decode().splitlines()
    held = [line.split("\t")[:2] for line in notes]
    train = [_Picture(archive, entry, number[wnid]) for wnid, entry in found]
    test = [_Picture(archive, f"{root}/val/images/{name}", number[wnid]) for name, wnid in held]
    return Arrays(*decode(train, _halved), *decode(test, _halved))


# ---- pictures as small arrays


def _ink(image) -> np.ndarray:
    """How much of each of 28 x 28 boxes is ink, which is black."""
    if image.size != (105, 105):
        raise ValueError(f"a letter of {image.size[0]} x {image.size[1]} pixels, not 105 x 105")
    ink = np.asarray(image.convert("L")) < 128
    edges = np.linspace(0, len(ink), 29).round().astype(int)
    sums = np.add.reduceat(np.add.reduceat(ink, edges[:-1], 0, np.int32), edges[:-1], 1)
    sizes = np.diff(edges)
    return (255 * sums / np.outer(sizes, sizes)).round().astype(np.uint8)


def _halved(image) -> np.ndarray:
    Image, _ = pillow()
    small = image.convert("RGB").resize((32, 32), Image.Resampling.BOX)
    return np.asarray(small)


class _Decode:
    """Turns pictures into arrays, on all cores, telling how many bytes of them are done."""

    def __init__(self, name: str, archives: Sequence[zipfile.ZipFile], progress: Progress | None):
        self.name, self.progress, self.done = name, progress, 0
        entries = [entry for archive in archives for entry in archive.infolist()]
        read = [entry for entry in entries if entry.filename.endswith((".png", ".JPEG"))]
        self.total = sum(entry.file_size for entry in read if "/test/" not in entry.filename)

    def __call__(
        self, pictures: Sequence[_Picture], shrink: Callable
    ) -> tuple[np.ndarray, np.ndarray]:
        if not pictures:
            raise ValueError("it has no pictures where they should be")
        images = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(pictures), _TOGETHER):
                some = pictures[start : start + _TOGETHER]
                contents = [_content(picture.archive, picture.entry) for picture in some]
                self.done += sum(map(len, contents))
                images += pool.map(partial(_decoded, shrink), contents)
                if self.progress is not None:
                    self.progress(self.name, min(self.done, self.total), self.total)
        return np.stack(images), np.array([picture.label for picture in pictures], np.int32)


def _content(archive: zipfile.ZipFile, name: str) -> bytes:
    entry = archive.getinfo(name)
    if entry.file_size > _LARGEST:
        raise ValueError(f"{name} has {entry.file_size:,} bytes")
    return archive.read(entry)


def _decoded(shrink: Callable, content: bytes) -> np.ndarray:
    Image, _ = pillow()
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        if image.width * image.height > _MOST_PIXELS:
            raise ValueError(f"a picture of {image.width} x {image.height} pixels")
        return shrink(image)


# ---- kept in the cache, under the sums of the official files, which they were checked to be


def _kept(
    name: str,
    paths: Sequence[Path],
    make: Callable[[Sequence[zipfile.ZipFile], _Decode], Arrays],
    progress: Progress | None,
) -> Arrays:
    """What `make` makes of the archives, from where it was put when it was made."""
    pillow()
    target = cache.folder() / "data" / "made" / f"{name}-{_stamp(name)}-v{_VERSION}.npz"
    if target.is_file():
        with contextlib.suppress(DataError):  # cut short, and made anew below
            return npz.read(target)
    _keep(_made(name, paths, make, progress), target)
    return npz.read(target)


def _stamp(name: str) -> str:
    digests = b"".join(bytes.fromhex(file.sha256) for file in SOURCES[name].files)
    return hashlib.sha256(digests).hexdigest()[:16]


def _made(
    name: str,
    paths: Sequence[Path],
    make: Callable[[Sequence[zipfile.ZipFile], _Decode], Arrays],
    progress: Progress | None,
) -> Arrays:
    try:
        with contextlib.ExitStack() as stack:
            archives = [stack.enter_context(zipfile.ZipFile(path)) for path in paths]
            return make(archives, _Decode(name, archives, progress))
    except Exception as error:  # zip and picture readers raise whatever damage leads them to
        raise DataError(
            f"{' and '.join(f'`{path}`' for path in paths)}: not the whole of {name} ({error}). "
            "Replace it with a fresh copy from where it was published."
        ) from error


def _keep(arrays: Arrays, target: Path) -> None:
    try:
        with cache.placed(target) as part, part.open("wb") as stream:
            np.savez(stream, **{key: getattr(arrays, key) for key in KEYS})
    except OSError as error:
        raise DataError(
            f"Could not write `{target}`, in which decoded pictures are kept: {error}. Make room "
            "or name another cache (NEOTENY_CACHE=DIR)."
        ) from error
