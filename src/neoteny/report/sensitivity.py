"""How much the settings matter: the score against each hyperparameter, method by method."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from neoteny.report.data import ordered
from neoteny.report.figures import Axis, Figure, Panel, Series, View


class Tried(NamedTuple):
    """A setting of a method on a stream, and what it came to.

    `scores` are those of the seeds that came through, `unfinished` how many did not.
    """

    stream: str
    method: str
    values: dict[str, Any]
    metric: str
    scores: tuple[float, ...]
    unfinished: int = 0


CAPTION = (
    "Each point is a setting: its mean over seeds, with a bar from the lowest to the highest seed. "
    "A line joins the best settings at each value, where values were tried more than once, or "
    "nothing else was varied. On the line at the bottom are settings with which a run did not come "
    "through (it diverged, failed, was pruned, or is not done)."
)


def sensitivity(tried: Iterable[Tried]) -> list[Figure]:
    """For each stream a figure of the score against each hyperparameter that was varied.

    Hyperparameters of one name share a panel, whichever method's they are. Its scale is logarithmic
    where all values are positive and a factor of ten lies between them. Numbers may be given as
    text. A hyperparameter with one value has no panel, a stream without panels no figure.
    """
    by_stream: dict[str, list[Tried]] = {}
    for one in tried:
        by_stream.setdefault(one.stream, []).append(one)
    found = []
    for stream, settings in by_stream.items():
        names = dict.fromkeys(_short(name) for one in settings for name in one.values)
        panels = [_panel(name, settings) for name in names]
        view = View("", tuple(panel for panel in panels if panel is not None))
        if view.panels:
            title = f"Score against each setting, {stream}"
            found.append(Figure(f"settings-{stream}", title, CAPTION, (view,)))
    return found


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _panel(name: str, settings: Sequence[Tried]) -> Panel | None:
    """One hyperparameter's panel; None if it was not varied."""
    varied = {
        method: [(_value(one, name), one) for one in settings if one.method == method]
        for method in ordered({one.method for one in settings})
    }
    varied = {
        method: [(value, one) for value, one in points if value is not None]
        for method, points in varied.items()
    }
    values = list(dict.fromkeys(value for points in varied.values() for value, _ in points))
    if len(values) < 2:
        return None
    numbers = [value for value in values if isinstance(value, float)]
    ticks = ()
    if len(numbers) < len(values):  # words
        values.sort(key=str)
        ticks = tuple((float(place), str(value)) for place, value in enumerate(values))
    at = {value: float(values.index(value)) if ticks else float(value) for value in values}
    log = not ticks and 0 < min(numbers) <= max(numbers) / 10
    scores = [score for points in varied.values() for _, one in points for score in one.scores]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    bottom = low - 0.08 * ((high - low) or 1.0)
    series, fallen = [], False
    for method, points in varied.items():
        placed = [(at[value], one) for value, one in points]
        series += _series(method, sorted(placed, key=lambda pair: pair[0]), bottom, not ticks)
        fallen = fallen or any(one.unfinished for _, one in placed)
    label = settings[0].metric.replace("heldout", "held-out").replace("_", " ")
    levels = (bottom,) if fallen else ()
    return Panel(name, Axis(name, log=log, ticks=ticks), Axis(label), tuple(series), levels=levels)


def _value(one: Tried, name: str) -> Any:
    """What a setting has there: a number, if it can be read as one."""
    found = next((value for axis, value in one.values.items() if _short(axis) == name), None)
    try:
        number = float(found) if found is not None and not isinstance(found, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    return number if math.isfinite(number) else None if found is None else str(found)


def _series(
    method: str, points: list[tuple[float, Tried]], bottom: float, joined: bool
) -> list[Series]:
    through = [(x, one) for x, one in points if not one.unfinished]
    fallen = [(x, one) for x, one in points if one.unfinished]
    x = np.array([x for x, _ in through])
    mean = np.array([np.mean(one.scores) for _, one in through])
    notes = tuple(f"{len(one.scores)} seeds" for _, one in through)
    drawn = []
    if through:
        drawn.append(Series(method, method, x, mean, kind="points", notes=notes))
    if any(len(one.scores) > 1 for _, one in through):
        ends = [(min(one.scores), max(one.scores), np.nan) for _, one in through]
        drawn.append(Series(method, method, np.repeat(x, 3), np.ravel(ends), kind="plain"))
    alone = all(len(one.values) == 1 for _, one in through)
    if joined and len(set(x)) > 1 and (alone or len(set(x)) < len(x)):
        best = [(value, mean[x == value].max()) for value in np.unique(x)]
        drawn.append(Series(method, method, *np.array(best).T, kind="plain"))
    if fallen:
        places = np.array([x for x, _ in fallen])
        notes = tuple("did not come through" for _ in fallen)
        at = np.full(len(fallen), bottom)
        drawn.append(Series(method, method, places, at, kind="points", notes=notes))
    return drawn
