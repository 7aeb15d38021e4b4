"""What there is to learn: data sets, and the rules that make an endless stream of tasks of one.

A stream is a pure function `(key, index) -> Task`. Add a rule of your own with
`neoteny.streams.STREAMS["mine"] = mine`, where `mine(dataset, **options)` gives such a function;
keyword-only parameters are its options, each with a default.
"""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax

from neoteny.errors import UserError, of_kind, unknown
from neoteny.streams.augmentation import crop_and_flip
from neoteny.streams.class_groups import class_groups
from neoteny.streams.class_pairs import class_pairs
from neoteny.streams.colouring import coloured, shifted
from neoteny.streams.datasets import DATASETS, load, locate
from neoteny.streams.files import DataError
from neoteny.streams.five_plus_one import five_plus_one
from neoteny.streams.gradual import gradual
from neoteny.streams.idx import read_idx
from neoteny.streams.incremental_classes import incremental_classes
from neoteny.streams.moons import two_moons
from neoteny.streams.permuted_labels import permuted_labels
from neoteny.streams.permuted_pixels import permuted_pixels
from neoteny.streams.random_labels import random_labels
from neoteny.streams.rotated import rotated
from neoteny.streams.selection import classes, resident, subset
from neoteny.streams.shrinking import enlarged, shrunk
from neoteny.streams.slowly_changing_regression import slowly_changing_regression
from neoteny.streams.sparse_coding import dictionary, sparse_code
from neoteny.streams.warm_start import warm_start
from neoteny.types import Dataset, Stream, Task


def _gradual(
    dataset: Dataset,
    *,
    of: str = "permuted-pixels",
    steps: int = 10,
    kind: str = "sampling",
    **options: Any,
) -> Stream:
    """Each change of task of another rule, `of`, is spread over `steps` small ones.

    Options that are not of `gradual` are those of the other rule. See `streams.gradual`.
    """
    return gradual(make(of, dataset, options), steps, kind=kind)


STREAMS: dict[str, Callable[..., Stream]] = {
    "permuted-pixels": permuted_pixels,
    "random-labels": random_labels,
    "permuted-labels": permuted_labels,
    "class-pairs": class_pairs,
    "incremental-classes": incremental_classes,
    "five-plus-one": five_plus_one,
    "class-groups": class_groups,
    "warm-start": warm_start,
    "rotated": rotated,
    "gradual": _gradual,
    "slowly-changing-regression": slowly_changing_regression,
}
"""The rules by name, `(dataset, **options) -> Stream`. Add your own: `STREAMS["mine"] = mine`."""


def make(rule: str, dataset: Dataset, options: Mapping[str, Any] = MappingProxyType({})) -> Stream:
    """Make the stream of tasks over `dataset` that the rule called `rule` gives.

    **Raises:** `UserError` if `rule` is not a key of `STREAMS`, for an option that it does not
    have, a value of the wrong kind, or a data set of which it makes no tasks.
    """
    if rule not in STREAMS:
        raise unknown("stream rule", rule, STREAMS)
    values, defaults = {}, option_defaults(rule)
    for field, value in options.items():
        if field in defaults:
            values[field] = of_kind(f"{rule}.{field}", value, defaults[field])
        elif _passes_on(rule):
            values[field] = value
        elif defaults:
            raise unknown(f"option of `{rule}` called", field, defaults)
        else:
            raise UserError(f"`{rule}` takes no options, so leave out `{field}`.")
    return STREAMS[rule](dataset, **values)


def option_defaults(rule: str) -> dict[str, Any]:
    """A rule's options and their values unless changed."""
    parameters = inspect.signature(STREAMS[rule]).parameters.values()
    return {part.name: part.default for part in parameters if part.kind is part.KEYWORD_ONLY}


def shapes(stream: Stream) -> Task:
    """The shapes and types of every task of `stream`, without computing one."""
    return jax.eval_shape(lambda key: stream(key, 0), jax.random.key(0))


def outputs(stream: Stream, dataset: Dataset) -> int:
    """How many outputs a network needs for the tasks of `stream`, a stream over `dataset`."""
    classes = shapes(stream).classes
    return dataset.num_classes if classes is None else len(classes)


def _passes_on(rule: str) -> bool:
    parameters = inspect.signature(STREAMS[rule]).parameters.values()
    return any(part.kind is part.VAR_KEYWORD for part in parameters)


__all__ = [
    "DATASETS",
    "STREAMS",
    "DataError",
    "class_groups",
    "class_pairs",
    "classes",
    "coloured",
    "crop_and_flip",
    "dictionary",
    "enlarged",
    "five_plus_one",
    "gradual",
    "incremental_classes",
    "load",
    "locate",
    "make",
    "option_defaults",
    "outputs",
    "permuted_labels",
    "permuted_pixels",
    "random_labels",
    "read_idx",
    "resident",
    "rotated",
    "shapes",
    "shifted",
    "shrunk",
    "slowly_changing_regression",
    "sparse_code",
    "subset",
    "two_moons",
    "warm_start",
]
