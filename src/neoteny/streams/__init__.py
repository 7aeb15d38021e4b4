"""What there is to learn: data sets, and the rules that make an endless stream of tasks of one.

A stream is a pure function `(key, index) -> Task`. Add a rule of your own with
`neoteny.streams.STREAMS["mine"] = mine`, where `mine(dataset)` gives such a function.
"""

from collections.abc import Callable

from neoteny.errors import unknown
from neoteny.streams.augmentation import crop_and_flip
from neoteny.streams.datasets import DATASETS, load, locate
from neoteny.streams.files import DataError
from neoteny.streams.idx import read_idx
from neoteny.streams.permuted_labels import permuted_labels
from neoteny.streams.permuted_pixels import permuted_pixels
from neoteny.streams.random_labels import random_labels
from neoteny.streams.selection import classes, resident, subset
from neoteny.types import Dataset, Stream

STREAMS: dict[str, Callable[[Dataset], Stream]] = {
    "permuted-pixels": permuted_pixels,
    "random-labels": random_labels,
    "permuted-labels": permuted_labels,
}


def make(rule: str, dataset: Dataset) -> Stream:
    """Make the stream of tasks over `dataset` that the rule called `rule` gives.

    **Raises:** `UserError` if `rule` is not a key of `STREAMS`.
    """
    if rule not in STREAMS:
        raise unknown("stream rule", rule, STREAMS)
    return STREAMS[rule](dataset)


__all__ = [
    "DATASETS",
    "STREAMS",
    "DataError",
    "classes",
    "crop_and_flip",
    "load",
    "locate",
    "make",
    "permuted_labels",
    "permuted_pixels",
    "random_labels",
    "read_idx",
    "resident",
    "subset",
]
