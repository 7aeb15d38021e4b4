"""A study at several settings: every combination of some fields' values, each a stream of its own.

So a grid needs nothing that a study does not have: its runs are stored, resumed, queried and
reported as any others.
"""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neoteny import sweep
from neoteny.config import RunConfig, Setting, Study, changed, validated, value_of
from neoteny.errors import UserError, unknown
from neoteny.methods import METHODS, make

if TYPE_CHECKING:
    from neoteny.report.sensitivity import Tried

SHORT = {"lr": "training.learning_rate"}
"""Names that people say."""


class Point(NamedTuple):
    """One setting of a grid: of which stream, and what it has there of each axis."""

    stream: str
    values: dict[str, Any]


def expand(study: Study, axes: Mapping[str, Sequence[Any]]) -> tuple[list[RunConfig], dict]:
    """The runs of `study` at every combination, and the `Point` that each stream's name means.

    A hyperparameter of one method varies for that method alone; others run once without it.
    Streams are called `STREAM--NAME-VALUE--...`, after the last parts of the fields' names.

    **Arguments:**

    - `axes`: by name, the values to try. A name is `METHOD.HYPERPARAMETER`, as
      `l2.weight_decay`; the path of a field of a setting, as `training.learning_rate`; or the
      last part of one, where that is clear. Values are read as `changed` reads them.

    **Raises:** `UserError` if there is no such field, it is named twice, a method has a value of
    its own for it, a value does not fit or is there twice, or two combinations would have one name.
    """
    paths = {name: resolved(name) for name in axes}
    axes = {name: [_stripped(value) for value in values] for name, values in axes.items()}
    _check(study, axes, paths)
    own = {name: path for name, path in paths.items() if path.split(".")[0] in METHODS}
    if strangers := {path.split(".")[0] for path in own.values()} - set(study.methods):
        stranger = min(strangers)
        raise UserError(
            f"The grid varies `{stranger}`, which is not run. Add it: `--methods "
            f"{','.join([*study.methods, stranger])}`."
        )
    _refuse_many(study, axes, own)
    runs, points = [], {}
    for general in _combinations(axes, [name for name in axes if name not in own]):
        at = changed(study, {paths[name]: value for name, value in general.items()})
        for run in sweep.expand(at):
            mine = [name for name, path in own.items() if path.split(".")[0] == run.method]
            for special in _combinations(axes, mine):
                values = general | special
                point = Point(run.stream, values)
                name = _named(point)
                if points.setdefault(name, point) != point:
                    raise UserError(
                        f"Two combinations would be called `{name}`: {points[name].values} and "
                        f"{values}. Vary one of them in a sweep of its own."
                    )
                runs.append(_at(run, name, {own[axis]: special[axis] for axis in mine}))
    return runs, points


def _refuse_many(study: Study, axes: Mapping[str, Sequence[Any]], own: Mapping[str, str]) -> None:
    """Count before anything is built: a few axes make any number of combinations."""
    size = lambda names: math.prod(len(axes[name]) for name in names)
    mine = lambda method: [name for name, path in own.items() if path.split(".")[0] == method]
    of_methods = sum(size(mine(method)) for method in {*study.methods})
    general = size(name for name in axes if name not in own)
    sweep.refuse_many(len(study.streams) * study.seeds * general * of_methods)


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _check(study: Study, axes: Mapping[str, Sequence[Any]], resolved: Mapping[str, str]) -> None:
    for name, values in axes.items():
        read = [value_of(value) for value in values]
        if not values or any(value in read[:place] for place, value in enumerate(read)):
            raise UserError(f"`{name}` has the values {list(values)}; give one or more, each once.")
        same = [other for other, path in resolved.items() if path == resolved[name]]
        if len(same) > 1:
            raise UserError(f"{' and '.join(f'`{other}`' for other in same)} are one field.")
        section, _, field = resolved[name].partition(".")
        for setting in study.streams.values():
            for method in study.methods:
                if section == "training" and field in setting.training_of.get(method, {}):
                    raise UserError(
                        f"The grid varies `{name}`, but `{method}` has a value of its own there "
                        f"(`training_of.{method}.{field}`), which would stay. Leave it out of "
                        "`--methods`."
                    )


def _combinations(axes: Mapping[str, Sequence[Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    every = product(*(axes[name] for name in names))
    return [dict(zip(names, values, strict=True)) for values in every]


def resolved(name: str) -> str:
    """The path that an axis means: `METHOD.HYPERPARAMETER`, or that of a setting's field."""
    if name in SHORT:
        return SHORT[name]
    if name.startswith("hyperparameters."):
        name = name.removeprefix("hyperparameters.")
    first, _, rest = name.partition(".")
    if rest and first in METHODS:
        make(first)
        return name
    paths = _paths(Setting().model_dump())
    if name in paths or first in Setting.model_fields:
        return name
    ends = [path for path in paths if path.rpartition(".")[2] == name]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UserError(f"`{name}` may be {' or '.join(ends)}: name one of them.")
    raise unknown("field", name, [*SHORT, *paths, *(f"{method}.…" for method in METHODS)])


def _paths(fields: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in fields.items():
        deeper = isinstance(value, dict) and value
        found += _paths(value, f"{prefix}{name}.") if deeper else [prefix + name]
    return found


def _named(point: Point) -> str:
    short = lambda axis: axis if axis.split(".")[0] in METHODS else axis.rpartition(".")[2]
    parts = [f"{short(axis)}-{value}" for axis, value in point.values.items()]
    return "--".join([point.stream, *(re.sub(r"[^\w.-]+", "_", part) for part in parts)])


def _at(run: RunConfig, stream: str, hyperparameters: Mapping[str, Any]) -> RunConfig:
    own = {path.partition(".")[2]: value_of(value) for path, value in hyperparameters.items()}
    chosen = dict(run.hyperparameters) | own
    make(run.method, chosen)
    return validated(RunConfig, run.model_dump() | {"stream": stream, "hyperparameters": chosen})


def best(connection: Any, points: Mapping[str, Point]) -> list[dict[str, Any]]:
    """How each method does at each setting: rows, the best of a stream and method first.

    `score` is the mean over seeds of the mean over tasks of what the stream is judged by, of runs
    that came through; `seeds` how many those are, and `unfinished` how many did not. Settings with
    fewer seeds come last, as what diverges must not win by its lucky seed.

    **Raises:** `UserError` if a run is there twice.
    """
    rows = [
        {
            "stream": one.stream,
            "method": one.method,
            **{axis: str(value) for axis, value in one.values.items()},
            "metric": one.metric,
            "score": float(np.mean(one.scores)) if one.scores else None,
            "seeds": len(one.scores),
            "unfinished": one.unfinished,
        }
        for one in tried(connection, points)
    ]
    last = -np.inf
    order = lambda row: (
        row["stream"], row["method"], row["unfinished"],
        -(last if row["score"] is None else row["score"]),
    )  # fmt: skip
    return sorted(rows, key=order)


def tried(connection: Any, points: Mapping[str, Point]) -> "list[Tried]":
    """What each method came to at each setting, seed by seed.

    **Raises:** `UserError` if a run is there twice.
    """
    from neoteny.report import data
    from neoteny.report.sensitivity import Tried

    data.refuse_twice(connection)
    runs: dict[tuple, list[data.Score]] = {}
    for run in data.scores(connection):
        if run.section.stream in points:
            runs.setdefault((run.section, run.method, run.metric), []).append(run)
    found = []
    for (section, method, metric), own in runs.items():
        stream, values = points[section.stream]
        scores = tuple(run.score for run in own if run.score is not None)
        found.append(Tried(stream, method, values, metric, scores, len(own) - len(scores)))
    return found
