"""Fixed problems by name: scikit-learn's digits, and MNIST and Fashion-MNIST from their files.

`load` is the door. The two larger ones are read from a folder that the caller or the
environment names, or else are downloaded once into a cache; either way a file is used only
if it is, to the last bit, the one its authors published.
"""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from neoteny.errors import unknown
from neoteny.streams import files
from neoteny.streams.files import DataError, Progress
from neoteny.streams.idx import read_idx
from neoteny.types import Batch, Dataset


def load(
    name: str, *, folder: Path | str | None = None, progress: Progress | None = None
) -> Dataset:
    """Load the data set called `name`: one of `DATASETS`.

    Inputs are float32 in [0, 1], one flattened image a row, and labels are int32, whatever
    JAX's default precision. `digits` has 1,500 training rows of 64 pixels and 297 held out;
    `mnist` and `fashion-mnist` have the official 60,000 and 10,000 rows of 784 (220 MB).

    Their files are sought in `folder`, else in the folder that the environment variable
    NEOTENY_DATA names, else in the cache (`files.cache_folder`), where missing ones are downloaded.

    **Arguments:**

    - `name`: a key of `DATASETS`.
    - `folder`: holds the official IDX files, or a sub-folder called `name` that does, each
      file with or without its `.gz`; nothing is downloaded then. `digits` needs no files.
    - `progress`: called as `progress(file_name, bytes_done, bytes_total)` while downloading.

    **Raises:** `DataError` if the name is unknown, or a file is missing, not the official one,
    or cannot be downloaded.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name](folder=folder, progress=progress)


def subset(dataset: Dataset, rows: int) -> Dataset:
    """Keep the first `rows` training rows of a fixed, class-balanced order; all held-out rows.

    The order deals one row of each class in turn, lowest label first, and takes a class's rows
    as `dataset` has them. So class sizes differ by one at most until the smallest class runs
    out, and a smaller subset is the beginning of a larger one.

    **Raises:** `DataError` if `rows` is below 1 or above the number of training rows.
    """
    labels = np.asarray(dataset.train.labels)
    if not 1 <= rows <= len(labels):
        raise DataError(
            f"`rows` is {rows}, but {dataset.name} has {len(labels)} training rows, of which a "
            f"subset takes from 1 to {len(labels)}. Pass `rows={min(max(rows, 1), len(labels))}`."
        )
    chosen = np.lexsort((labels, _rank_within_class(labels)))[:rows]
    return dataset._replace(train=Batch(*(array[chosen] for array in dataset.train)))


def locate(name: str, *, folder: Path | str | None = None) -> str:
    """Where `load` would read the data set `name` from, without reading or downloading it.

    **Raises:** `DataError` if files are missing, saying which and where they were sought.
    """
    if name not in files.SOURCES:
        return "embedded" if name == "digits" else "its own loader"
    return str(files.locate(name, folder=folder))


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
    from sklearn.datasets import load_digits  # slow to import, and needed by this alone

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(_DIGITS_SEED).permutation(len(labels))
    pixels, labels = pixels[order] / 16, labels[order]
    place = (_rank_within_class(labels) + 0.5) / np.bincount(labels)[labels]
    trains = np.zeros(len(labels), bool)
    trains[np.argsort(place, kind="stable")[:_DIGITS_TRAIN_ROWS]] = True
    train, heldout = (_batch(pixels[rows], labels[rows]) for rows in (trains, ~trains))
    return Dataset("digits", train, heldout, num_classes=10)


def _rank_within_class(labels: np.ndarray) -> np.ndarray:
    rank = np.empty(len(labels), int)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank[rows] = np.arange(len(rows))
    return rank


def _batch(inputs: np.ndarray, labels: np.ndarray) -> Batch:
    inputs, labels = inputs.astype(np.float32, copy=False), labels.astype(np.int32)
    return Batch(jnp.asarray(inputs), jnp.asarray(labels))


# ---- the MNIST family: four official files in a folder or the cache


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
    return Dataset(name, train, heldout, num_classes=10)


def _rows(images: np.ndarray, labels: np.ndarray) -> Batch:
    return _batch(images.reshape(len(images), -1).astype(np.float32) / 255, labels)


DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": _load_digits,
    "mnist": _load_mnist,
    "fashion-mnist": _load_fashion_mnist,
}
"""Loaders by name. One of your own takes `folder` and `progress`, both possibly `None`."""
