"""Fixed problems by name: published ones from official files or plain arrays, or one's own.

`load` is the door. Digits are embedded in scikit-learn, and points are drawn. Official files are
read from a folder that the caller or the environment names, or else are downloaded once into a
cache; either way one is used only if it is, to the last bit, the one its authors published.
"""

import re
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from neoteny.errors import unknown
from neoteny.streams import archives, arrays, files, image_archives, image_folder
from neoteny.streams.colouring import shifted
from neoteny.streams.files import DataError, Progress
from neoteny.streams.idx import read_idx
from neoteny.streams.image_listing import looks_like_one
from neoteny.streams.moons import two_moons
from neoteny.streams.npz import KEYS, Arrays
from neoteny.streams.selection import a_fifth_held_out, rank_within_class
from neoteny.streams.sources import SOURCES
from neoteny.streams.sparse_coding import sparse_coding
from neoteny.types import Batch, Dataset

FOLDER = "folder:"
"""Begins a name that is the path of a folder of images."""


def load(
    name: str, *, folder: Path | str | None = None, progress: Progress | None = None
) -> Dataset:
    """Load the data set called `name`: one of `DATASETS`, or one of your own.

    `digits`, `coloured-digits`, `mnist` and `fashion-mnist` have inputs in float32 in [0, 1], one
    flattened image a row, the moons points of the plane and `sparse-coding` vectors in float32
    without bounds; all others are bytes (rows, height,
    width, channels), which networks read as 255ths. Labels are int32. Neither depends on JAX's
    default precision. What would fill much of this machine's memory stays in its file: see
    `Dataset`.

    Files are sought in `folder`, else in the folder that the environment variable NEOTENY_DATA
    names, there or in a sub-folder called `name`: first plain arrays, `NAME.npz` with
    `train_images`, `train_labels`, `test_images` and `test_labels`, then the official files.
    Without a folder, official files are taken from the cache (`files.cache_folder`), where
    missing ones are downloaded.

    Data of your own are arrays `NAME.npz` or a folder `NAME` in the folder named, or
    `folder:PATH`, with a sub-folder of images for each class (see `image_folder.read`). Append
    `@64` to have such images 64 pixels a side rather than 32.

    **Arguments:**

    - `name`: a key of `DATASETS`, `folder:PATH`, or the name of something in `folder`.
    - `folder`: where files lie; nothing is downloaded then. Digits, moons and `sparse-coding` need
      no files.
    - `progress`: called as `progress(file_name, bytes_done, bytes_total)` while downloading, or
      while images are resized.

    **Raises:** `DataError` if the name is unknown; a file is missing, damaged, not the official
    one or not what it is called; arrays are not those of one problem; there is no room in
    memory; or a file cannot be downloaded.
    """
    if name in DATASETS:
        return DATASETS[name](folder=folder, progress=progress)
    if isinstance(found := _own(name, folder), Path):
        return arrays.load(name, found)
    root, size = found
    return arrays.to_dataset(name, image_folder.read(root, size=size, progress=progress), str(root))


def locate(name: str, *, folder: Path | str | None = None) -> str:
    """Where `load` would read the data set `name` from, without reading or downloading it.

    **Raises:** `DataError` if files are missing, saying which and where they were sought.
    """
    if name in _WITHOUT_FILES:
        return _WITHOUT_FILES[name]
    if name == _PATH:
        image_folder.pillow()
        return "Pillow is there to read them"
    if name in arrays.PUBLISHED and (found := arrays.find(name, files.places(name, folder))):
        return str(found)
    if name in SOURCES:
        return str(files.locate(name, folder=folder))
    if name in arrays.PUBLISHED:
        raise DataError(f"no {_sought(name, folder)}")
    if name in DATASETS:
        return "its own loader"
    found = _own(name, folder)
    return str(found if isinstance(found, Path) else found[0])


# ---- data of one's own: arrays or a folder of images


def _own(name: str, folder: Path | str | None) -> Path | tuple[Path, int]:
    """The file of arrays that `name` means, or else the folder of images and their size."""
    found = re.fullmatch(r"(.+)@(\d{1,9})", name)
    base, size = (found[1], int(found[2])) if found else (name, image_folder.SIZE)
    if base.startswith(FOLDER):
        return Path(base.removeprefix(FOLDER)).expanduser(), size
    places = files.places(base, folder) if base == Path(base).name else []
    if not found and (file := arrays.find(base, places)):
        return file
    for place in places[:1]:
        if base not in DATASETS and looks_like_one(place):
            return place, size
    if found and base in DATASETS:
        raise DataError(
            f"`{name}` names a size, but images of {base} have one of their own. Use `{base}`."
        )
    where = f"in `{places[-1]}`" if places else "as no folder is named: `--data DIR`"
    raise DataError(
        f"{unknown('data set', name, DATASETS)} Nor is there `{base}.npz`, or a folder `{base}` "
        f"with sub-folders of images, {where}."
    )


# ---- digits: embedded in scikit-learn, split here

_DIGITS_TRAIN_ROWS = 1500
_DIGITS_SEED = 1797  # any constant would do, but it must never change: it is the split


def _load_digits(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Handwritten digits of 8 x 8 pixels, embedded: 1,500 training rows and 297 held out.

    Shuffled once; then the training rows get each class in proportion to its size: the k-th of a
    class's n rows stands at (k + 1/2) / n, and the rows with the smallest places train. NumPy
    promises the stream of `RandomState` for good, as it does not for `Generator`.
    """
    del folder, progress
    pixels, labels = _digits()
    order = np.random.RandomState(_DIGITS_SEED).permutation(len(labels))
    pixels, labels = pixels[order] / 16, labels[order]
    place = (rank_within_class(labels) + 0.5) / np.bincount(labels)[labels]
    trains = np.zeros(len(labels), bool)
    trains[np.argsort(place, kind="stable")[:_DIGITS_TRAIN_ROWS]] = True
    train, heldout = (_batch(pixels[rows], labels[rows]) for rows in (trains, ~trains))
    return Dataset("digits", train, heldout, num_classes=10, image_shape=(8, 8, 1))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """What `load_digits` gives, from its file: scikit-learn itself takes a second to import."""
    package = find_spec("sklearn")
    place = Path(package.origin or "") if package else Path()
    try:
        rows = np.loadtxt(place.parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    except OSError:  # no promise of scikit-learn's holds it there
        from sklearn.datasets import load_digits

        pixels, labels = map(np.asarray, load_digits(return_X_y=True))
        return pixels, labels
    return rows[:, :-1], rows[:, -1].astype(int)


def _batch(inputs: np.ndarray, labels: np.ndarray) -> Batch:
    inputs, labels = inputs.astype(np.float32, copy=False), labels.astype(np.int32)
    return Batch(jnp.asarray(inputs), jnp.asarray(labels))


# ---- made of the digits, or of nothing

_WITHOUT_FILES = {
    "digits": "embedded",
    "coloured-digits": "embedded",
    "two-moons": "drawn",
    "two-moons-overlapping": "drawn",
    "sparse-coding": "drawn",
}


def _load_coloured_digits(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Digits in two colours, below five or not: 1,500 training rows, 297 of the other colour.

    A quarter of the labels is wrong; the colour is right more often than the shape in training,
    and mostly wrong in the rows held out.
    """
    del folder, progress
    pixels, digits = _digits()
    images, random = pixels.reshape(-1, 8, 8) / 16, np.random.RandomState(_DIGITS_SEED)
    parts = shifted(images, digits, len(digits) - _DIGITS_TRAIN_ROWS, random)
    train, heldout = (_batch(rows.reshape(len(rows), -1), y) for rows, y in (parts[:2], parts[2:]))
    return Dataset("coloured-digits", train, heldout, num_classes=2, image_shape=(8, 8, 2))


def _load_two_moons(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Two moons with a gap of 0.2 between them: 300 training rows and 300 held out."""
    del folder, progress
    return _moons("two-moons", 0.1)


def _load_two_moons_overlapping(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Two moons that overlap by 0.2, where no line parts them: 300 training rows, 300 held out."""
    del folder, progress
    return _moons("two-moons-overlapping", -0.1)


def _moons(name: str, gap: float) -> Dataset:
    random = np.random.RandomState(_DIGITS_SEED)
    train, heldout = (_batch(*two_moons(random, gap=gap)) for _ in range(2))
    return Dataset(name, train, heldout, num_classes=2)


# ---- features that are known: drawn here


def _load_sparse_coding(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Three of 100 known features a row, two classes: 4,000 training rows and 1,000 held out.

    See `streams.sparse_code`, of which this has a readout of ones.
    """
    del folder, progress
    return sparse_coding()


# ---- the MNIST family: official files in a folder or the cache


def _load_mnist(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Handwritten digits of 28 x 28 pixels: 60,000 training rows and 10,000 held out."""
    return _load_idx("mnist", folder, progress)


def _load_fashion_mnist(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Pieces of clothing of 28 x 28 pixels: 60,000 training rows and 10,000 held out."""
    return _load_idx("fashion-mnist", folder, progress)


def _load_idx(name: str, folder: Path | str | None, progress: Progress | None) -> Dataset:
    paths = files.paths(name, folder=folder, progress=progress)
    images, labels, heldout_images, heldout_labels = map(read_idx, paths)
    train, heldout = _rows(images, labels), _rows(heldout_images, heldout_labels)
    return Dataset(name, train, heldout, num_classes=10, image_shape=(28, 28, 1))


def _rows(images: np.ndarray, labels: np.ndarray) -> Batch:
    return _batch(images.reshape(len(images), -1).astype(np.float32) / 255, labels)


def _load_kmnist(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Japanese letters in cursive, 28 x 28 pixels: 60,000 training rows and 10,000 held out."""
    paths = files.paths("kmnist", folder=folder, progress=progress)
    return arrays.to_dataset("kmnist", Arrays(*map(read_idx, paths)), "kmnist")


def _load_kmnist_t10k(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """The test half of KMNIST alone, split here: 8,000 training rows and 2,000 held out.

    For machines that have only that half. 800 and 200 rows of each class, in a fixed random
    order; accuracies on it are not those of `kmnist`.
    """
    name = "kmnist-t10k"
    images, labels = map(read_idx, files.paths(name, folder=folder, progress=progress))
    train, held = a_fifth_held_out(labels)
    split = Arrays(images[train], labels[train], images[held], labels[held])
    return arrays.to_dataset(name, split, name)


# ---- plain arrays in a folder, else the official archives


def _load_cifar10(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Photographs of 10 classes, 32 x 32 pixels: 50,000 training rows and 10,000 held out."""
    return _load_archive("cifar10", folder, progress)


def _load_cifar100(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Photographs of 100 classes in 20 groups, 32 x 32: 50,000 training rows, 10,000 held out."""
    return _load_archive("cifar100", folder, progress)


def _load_tiny_imagenet(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Photographs of 200 classes at 32 x 32 pixels: 100,000 training rows, 10,000 held out.

    Of plain arrays, as many rows as are there.
    """
    return _load_archive("tiny-imagenet-32", folder, progress)


def _load_omniglot(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Letters of 50 alphabets, 1,623 classes at 28 x 28 pixels: 15 rows each, 5 held out."""
    return _load_archive("omniglot", folder, progress)


def _load_cifar10_subset(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """A balanced part of CIFAR-10 of your choice, from arrays; its accuracies are its own."""
    del progress
    name = "cifar10-subset"
    if found := arrays.find(name, files.places(name, folder)):
        return arrays.load(name, found)
    raise DataError(
        f"`{name}` is read from arrays, and there is no {_sought(name, folder)}. Write it with "
        f"`numpy.savez` and the keys {', '.join(KEYS)}, and name its folder: `--data DIR`, "
        "`folder=DIR` or NEOTENY_DATA."
    )


_ARCHIVES: dict[str, Callable[..., Arrays]] = {
    "cifar10": partial(archives.read_cifar, "cifar10"),
    "cifar100": partial(archives.read_cifar, "cifar100"),
    "tiny-imagenet-32": image_archives.read_tiny_imagenet,
    "omniglot": image_archives.read_omniglot,
}


def _load_archive(name: str, folder: Path | str | None, progress: Progress | None) -> Dataset:
    if found := arrays.find(name, files.places(name, folder)):
        return arrays.load(name, found)
    paths = files.paths(name, folder=folder, progress=progress)
    return arrays.to_dataset(name, _ARCHIVES[name](paths, progress=progress), str(paths[0]))


def _sought(name: str, folder: Path | str | None) -> str:
    places = files.places(name, folder)
    where = f"in {' or '.join(map(str, places))}" if places else "as no folder is named"
    return f"{name}.npz {where}"


def _load_folder(*, folder: Path | str | None, progress: Progress | None) -> Dataset:
    """Images of your own: PATH has a sub-folder for each class; `folder:PATH@64` for 64 x 64."""
    del folder, progress
    raise DataError(
        f"`{_PATH}` stands for a folder of your own. Put its path for PATH, as `folder:pictures`."
    )


_PATH = f"{FOLDER}PATH"

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": _load_digits,
    "coloured-digits": _load_coloured_digits,
    "two-moons": _load_two_moons,
    "two-moons-overlapping": _load_two_moons_overlapping,
    "sparse-coding": _load_sparse_coding,
    "mnist": _load_mnist,
    "fashion-mnist": _load_fashion_mnist,
    "kmnist": _load_kmnist,
    "kmnist-t10k": _load_kmnist_t10k,
    "cifar10": _load_cifar10,
    "cifar100": _load_cifar100,
    "cifar10-subset": _load_cifar10_subset,
    "tiny-imagenet-32": _load_tiny_imagenet,
    "omniglot": _load_omniglot,
    _PATH: _load_folder,
}
"""Loaders by name. One of your own takes `folder` and `progress`, both possibly `None`."""
