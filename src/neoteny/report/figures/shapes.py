"""What a figure consists of, whoever draws it."""

from typing import NamedTuple

import numpy as np


class Series(NamedTuple):
    """One line, or one cloud of points, of one method.

    `key` is the method: it sets the colour, and showing or hiding acts on all its series.
    `low` and `high` bound a band, `seeds` counts what is behind each point. `kind` is "line",
    "dashed", "steps", "dashed steps", "plain" (never with markers, cut where there is NaN), "marks"
    (dashed, with a marker where measured) or "points" (markers alone). `column` names the column
    of the table of tasks that a line shows as it is.
    """

    key: str
    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    kind: str = "line"
    notes: tuple[str, ...] = ()
    column: str = ""


class Heat(NamedTuple):
    """A map of colours of one method: ten to `z[i, j]` at `y[i]` and `x[j]`, nothing where NaN.

    `rows` says what each `y` is, `unit` what is counted; colours reach over `bounds` of `z`. Where
    it is `signed`, `z` is the number itself, of either sign, and the map a picture without axes.
    """

    key: str
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    rows: tuple[str, ...]
    bounds: tuple[float, float]
    unit: str
    signed: bool = False


class Axis(NamedTuple):
    """An axis: its label and unit, its scale, and where not left to the renderer, its ticks."""

    label: str
    log: bool = False
    bounds: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] = ()


class Panel(NamedTuple):
    """A pair of axes; `marks` are vertical lines at `(x, label)`, `levels` horizontal ones."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    marks: tuple[tuple[float, str], ...] = ()
    levels: tuple[float, ...] = ()
    heat: Heat | None = None


class View(NamedTuple):
    """One way to look at a figure; `note` is added to the caption while it shows."""

    label: str
    panels: tuple[Panel, ...]
    note: str = ""


class Figure(NamedTuple):
    """What one figure of a section shows, and what it means."""

    name: str
    title: str
    caption: str
    views: tuple[View, ...]


def figure(name: str, title: str, caption: str, views: list[View], missing: str) -> Figure:
    """A figure of the `views` that have panels; where there is none, it says what is `missing`."""
    drawn = tuple(view for view in views if view.panels)
    return Figure(name, title, caption.strip() if drawn else missing, drawn)


def symlog_ticks(unit: float, reach: int) -> tuple[tuple[float, str], ...]:
    """At most three powers of ten on either side of zero; `unit` is a power of ten."""
    first, step = round(np.log10(unit)), max(1, -(-reach // 3))
    ticks = [(float(place), power(first + place)) for place in range(step, reach + 1, step)]
    return (*((-x, f"−{label}") for x, label in reversed(ticks)), (0.0, "0"), *ticks)


def power(exponent: int) -> str:
    """Ten to `exponent` as plain text."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
