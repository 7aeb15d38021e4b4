"""A folder of images of one's own: a sub-folder for each class, pictures of any size.

They are cut square, brought to one size once, and kept in the cache until one of them changes.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from neoteny import cache, npy
from neoteny.streams.files import DataError, Progress
from neoteny.streams.image_listing import Listing, listing
from neoteny.streams.npz import KEYS, Arrays

SIZE = 32
"""Pixels a side, unless a name ends in another, as `folder:birds@64`."""

_VERSION = 1  # of what is cached
_TOGETHER = 256  # images decoded before they are written
_PIXELS, _PIXELS_A_BYTE = 2**24, 256
"""An image may have as many pixels as the first, or for each byte of its file as the second."""

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "PCX", "TGA", "ICO")
"""What is decoded in this process: for others, such as EPS, Pillow runs another program."""


def read(root: Path, *, size: int = SIZE, progress: Progress | None = None) -> Arrays:
    """The images below `root`, `size` pixels a side, mapped from the cache.

    Classes are the sub-folders in the order of their names; hidden ones do not count. Where
    `root` has the folders `train` and `test` (or `val`, `valid`, `validation`), those hold the
    classes; else a fifth of each class, chosen once and for all, is held out. Each image is
    turned as its camera says, cut to its central square and resized (antialiased), in RGB.

    **Raises:** `DataError`, naming the file or folder, if classes are fewer than two, empty, or
    not the same in both halves, a file is no image, Pillow is missing, or the cache is full.
    """
    if not 1 <= size <= 4096:
        raise DataError(f"Images cannot have {size} pixels a side; name 1 to 4096, as in `@64`.")
    pillow()
    found = listing(root)
    target = _cached(root, size, found)
    if not target.is_dir():
        _make(root, size, found, target, progress)
    return _mapped(target)


def pillow():
    """Pillow's modules `Image` and `ImageOps`.

    **Raises:** `DataError` if it is not installed.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError(
            "Folders of images are read with Pillow, which is not installed. Install it with "
            "`pip install 'neoteny[images]'`."
        ) from error
    return Image, ImageOps


# ---- what is kept: a folder of four arrays


def _cached(root: Path, size: int, found: Listing) -> Path:
    place = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    kept = f"{found.stamp[:32]}-v{_VERSION}"
    return cache.folder() / "data" / "folders" / f"{place}-{size}" / kept


def _mapped(target: Path) -> Arrays:
    try:
        return Arrays(*(_map(target / f"{key}.npy") for key in KEYS))
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        raise DataError(
            f"`{target}`, in which resized images are kept, is damaged ({error}). Delete it and "
            "try again: it will be made anew."
        ) from error


def _map(path: Path) -> np.ndarray:
    with path.open("rb") as stream:
        header = npy.read_header(stream)
    if header.begin + header.nbytes != path.stat().st_size:
        raise ValueError(f"{path.name} does not have the bytes that its header declares")
    return np.load(path, mmap_mode="r")


def _make(root: Path, size: int, found: Listing, target: Path, progress: Progress | None) -> None:
    report = _reporter(root, found, progress)
    try:
        with cache.placed(target) as part:
            part.mkdir()
            for name, rows in (("train", found.train), ("test", found.heldout)):
                _write_images(part / f"{name}_images.npy", [path for path, _ in rows], size, report)
                labels = np.array([label for _, label in rows], np.int32)
                np.save(part / f"{name}_labels.npy", labels)
        _forget_others(target)
    except OSError as error:
        raise DataError(
            f"Could not write `{target}`, to which images of `{root}` are resized: {error}. Make "
            "room or name another cache (NEOTENY_CACHE=DIR)."
        ) from error


def _forget_others(target: Path) -> None:
    """Remove what was made of the images as they were before."""
    for other in target.parent.iterdir():
        if other != target and other.suffix != ".part":
            shutil.rmtree(other, ignore_errors=True)


def _reporter(
    root: Path, found: Listing, progress: Progress | None
) -> Callable[[Sequence[Path]], None]:
    total = sum(path.stat().st_size for path, _ in (*found.train, *found.heldout))
    done = 0

    def report(paths: Sequence[Path]) -> None:
        nonlocal done
        done += sum(path.stat().st_size for path in paths)
        if progress is not None:
            progress(root.resolve().name, done, total)

    report(())
    return report


def _write_images(
    target: Path, paths: Sequence[Path], size: int, report: Callable[[Sequence[Path]], None]
) -> None:
    """Row after row, so that a full disk is an error and memory holds a few images only."""
    shape = (len(paths), size, size, 3)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    with target.open("wb") as stream, ThreadPoolExecutor(cores) as pool:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(paths), _TOGETHER):
            some = paths[start : start + _TOGETHER]
            for pixels in pool.map(partial(_pixels, size=size), some):
                stream.write(pixels)
            report(some)


def _pixels(path: Path, *, size: int) -> bytes:
    Image, ImageOps = pillow()
    try:
        with Image.open(path, formats=_FORMATS) as image:
            bytes_there = path.stat().st_size
            if image.width * image.height > max(_PIXELS, _PIXELS_A_BYTE * bytes_there):
                declared = f"{image.width} x {image.height} pixels"
                raise ValueError(f"it declares {declared}, and has {bytes_there:,} bytes")
            turned = _bytes(ImageOps.exif_transpose(image), Image)
            square = ImageOps.fit(turned.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
            return square.tobytes()
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise DataError(
            f"`{path}` is not an image that Pillow can read ({type(error).__name__}: {error}). "
            "Repair it or move it out of the class folders."
        ) from error


def _bytes(image, Image):
    """The same image in a mode of which Pillow makes RGB without clipping or a warning."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels of 32 bits have no known range; save it with 8 or 16 bits")
    return image.convert("RGBA") if "transparency" in image.info else image
