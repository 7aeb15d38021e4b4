"""What is searched: for each method the learning rate and its own hyperparameters, each in a range.

A range is declared where a hyperparameter is (`neoteny.methods.Range`), the same for every stream;
that of the learning rate is around the stream's own, the same for every method.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import count, islice
from math import isfinite, prod
from typing import Any

import numpy as np

from neoteny.config import Study, TrainingConfig, value_of
from neoteny.errors import UserError
from neoteny.grid import resolved
from neoteny.methods import METHODS, Range, hyperparameter_defaults, make, search_ranges

FACTOR = 30.0
"""The learning rate is searched from a stream's own divided by this to as many times it."""

Axis = Range | tuple[Any, ...]
"""A range, or the values to choose from. A range whose ends are `int` has whole numbers alone."""

Space = dict[str, Axis]
"""By name, as `learning_rate` or `l2.weight_decay`."""


def spaces(study: Study, asked: Mapping[str, Any]) -> dict[str, dict[str, Space]]:
    """What each method searches on each stream, by stream and method.

    **Arguments:**

    - `asked`: in place of what is declared, by name: `METHOD.HYPERPARAMETER`, or a field of a
      setting's `training`, for all methods alike. A value is a `Range`, a list of values, or a
      text: `LOW:HIGH`, `LOW:HIGH:log` or `VALUE,VALUE`. One value alone is not searched.

    **Raises:** `UserError` for a name or range that cannot be.
    """
    for method in study.methods:
        make(method)
    ours = {_name(study, name): value for name, value in asked.items()}
    if len(ours) < len(asked):
        raise UserError(f"`search` has one field twice: {', '.join(asked)}. Give it once.")
    read = {name: _axis(name, value) for name, value in ours.items()}
    general = {name: axis for name, axis in read.items() if _owner(name) is None}
    found: dict[str, dict[str, Space]] = {}
    for stream, setting in study.streams.items():
        rate = setting.training.learning_rate
        shared = {"learning_rate": Range(_digits(rate / FACTOR), _digits(rate * FACTOR))} | general
        found[stream] = {
            method: shared
            | _declared(method)
            | {n: a for n, a in read.items() if _owner(n) == method}
            for method in study.methods
        }
    return found


def _declared(method: str) -> Space:
    ranges = search_ranges(method)
    return {f"{method}.{field}": _axis(f"{method}.{field}", ranges[field]) for field in ranges}


def _owner(name: str) -> str | None:
    """The method whose hyperparameter this is; None for a field of the training."""
    first, dot, _ = name.partition(".")
    return first if dot and first in METHODS else None


def _name(study: Study, asked: str) -> str:
    path = resolved(asked)
    owner = _owner(path)
    if owner is None and not path.startswith("training."):
        raise UserError(
            f"`search` has `{asked}`, which all methods share, while a tuning chooses what a method"
            " has for itself: `lr` or another field of `training`, or METHOD.HYPERPARAMETER. Vary "
            f"the rest by `neoteny sweep --grid {asked}=...`."
        )
    if owner is not None and owner not in study.methods:
        raise UserError(
            f"`search` has `{asked}`, but `{owner}` is not tuned. Add it: `--methods "
            f"{','.join([*study.methods, owner])}`."
        )
    field = path.partition(".")[2]
    if owner is not None and field not in hyperparameter_defaults(owner):
        make(owner, {field: None})  # which says so
    return path.removeprefix("training.")


def _axis(name: str, asked: Any) -> Axis:
    if isinstance(asked, str) and ":" in asked:
        asked = _range(name, asked)
    if isinstance(asked, Range):
        return _checked(name, asked)
    values = asked.split(",") if isinstance(asked, str) else asked
    if not isinstance(values, Sequence):
        values = [values]
    read = tuple(value_of(value.strip() if isinstance(value, str) else value) for value in values)
    if not read or any(value in read[:place] for place, value in enumerate(read)):
        raise UserError(
            f"`search` has the values {list(values)} for `{name}`; give one or more, each once, or "
            f"a range, as `{name}=1e-4:1e-1:log`."
        )
    return read


def _range(name: str, text: str) -> Range:
    low, high, *scale = (part.strip() for part in text.split(":"))
    ends = value_of(low), value_of(high)
    if scale not in ([], ["log"]) or any(type(end) not in (int, float) for end in ends):
        raise UserError(
            f"`search` has `{name}={text}`, but a range is two numbers, as `{name}=0.1:0.9`, or "
            f"with its scale `{name}=1e-4:1e-1:log`."
        )
    return Range(*ends, log=bool(scale))


def _checked(name: str, asked: Range) -> Range:
    default = _default(name)
    low, high, log = asked
    shown = f"`search` has `{name}` from {low:g} to {high:g}"
    if isinstance(default, bool | str):
        raise UserError(f"{shown}, but it is no number, as {default!r}. List values: `{name}=A,B`.")
    if not (isfinite(low) and isfinite(high) and low < high):
        turned = f": `{name}={high:g}:{low:g}{':log' * log}`" if high < low else ""
        raise UserError(f"{shown}, but a range goes from a lower to a higher number{turned}.")
    if log and low <= 0:
        raise UserError(
            f"{shown} on a logarithmic scale, which has no {low:g}. Begin above 0, as at "
            f"{high / 1000:g}, or leave out `:log`."
        )
    if isinstance(default, int):
        if low != int(low) or high != int(high):
            raise UserError(f"{shown}, but it counts, as {default}: give whole numbers.")
        return Range(int(low), int(high), log)
    return Range(float(low), float(high), log)


def _default(name: str) -> Any:
    if (owner := _owner(name)) is not None:
        return hyperparameter_defaults(owner)[name.partition(".")[2]]
    return TrainingConfig.model_fields[name].default


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """A value for each axis, drawn by Optuna; of a number four digits, so that it can be typed."""
    return {name: _suggested(trial, name, axis) for name, axis in space.items()}


def _suggested(trial: Any, name: str, axis: Axis) -> Any:
    if not isinstance(axis, Range):
        return trial.suggest_categorical(name, axis)
    low, high, log = axis
    if isinstance(low, int):
        return trial.suggest_int(name, low, high, log=log)
    return min(max(_digits(trial.suggest_float(name, low, high, log=log)), low), high)


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def corners(space: Space) -> list[dict[str, Any]]:
    """All axes at their lower ends, and all at their upper ones."""
    end = lambda axis, last: axis[last] if isinstance(axis, Range) else axis[-last]
    return [{name: end(axis, last) for name, axis in space.items()} for last in (0, 1)]


def gridded(found: dict[str, dict[str, Space]], trials: int) -> dict[str, dict[str, Space]]:
    """The same with each range cut into values, so that all their combinations are `trials`.

    **Raises:** `UserError` if that number cannot be had, with the next that can.
    """
    every = [space for methods in found.values() for space in methods.values()]
    if any(_levels(space, trials) is None for space in every):
        fits = (n for n in islice(count(trials + 1), 10_000) if all(_levels(s, n) for s in every))
        better = next(fits, None)
        hint = f" Pass `--trials {better}`." if better else " Pass `--sampler random`."
        raise UserError(
            f"`trials` is {trials}, but the combinations of a grid that has two values or more on "
            f"each axis of every method cannot be so many.{hint}"
        )
    return {
        stream: {method: _cut(space, trials) for method, space in methods.items()}
        for stream, methods in found.items()
    }


def _cut(space: Space, trials: int) -> Space:
    levels = iter(_levels(space, trials) or ())
    return {
        name: _spread(name, axis, next(levels)) if isinstance(axis, Range) else axis
        for name, axis in space.items()
    }


def _levels(space: Space, trials: int) -> tuple[int, ...] | None:
    """How many values each range has, the first the most; None if they cannot be."""
    ranges = sum(isinstance(axis, Range) for axis in space.values())
    listed = prod(len(axis) for axis in space.values() if not isinstance(axis, Range))
    return _factors(trials // listed, ranges) if trials % listed == 0 else None


@cache
def _factors(number: int, parts: int) -> tuple[int, ...] | None:
    """`number` as a product of `parts` factors from 2 on, as alike as can be, falling."""
    if parts == 0:
        return () if number == 1 else None
    if parts == 1:
        return (number,) if number >= 2 else None
    firsts = [n for n in range(2, number) if number % n == 0]
    found = [(n, *rest) for n in firsts if (rest := _factors(number // n, parts - 1))]
    falling = [factors for factors in found if list(factors) == sorted(factors, reverse=True)]
    return min(falling, key=max, default=None)


def _spread(name: str, axis: Range, number: int) -> tuple[Any, ...]:
    between = np.geomspace if axis.log else np.linspace
    values = between(axis.low, axis.high, number).tolist()
    if isinstance(axis.low, int):
        whole = tuple(dict.fromkeys(round(value) for value in values))
        if len(whole) < number:
            raise UserError(
                f"`search` has `{name}` from {axis.low} to {axis.high}, which is cut into {number} "
                "values for the grid, and has no so many whole numbers. Widen it, or list values."
            )
        return whole
    return tuple(_digits(value) for value in values)
