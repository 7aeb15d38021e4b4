"""Figures of claims in few words, as the report draws them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from neoteny.report.figures import Axis, Figure, Heat, Panel, Series, View


def curve(
    name: str,
    x: Any,
    y: Any,
    *,
    low: Any = None,
    high: Any = None,
    points: bool = False,
    dashed: bool = False,
) -> Series:
    """A line over sorted `x`, or a cloud of points; what is not finite is left out."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    bounds = [None if side is None else np.asarray(side, float) for side in (low, high)]
    kept = np.isfinite(x) & np.isfinite(y)
    order = np.flatnonzero(kept)[np.argsort(x[kept], kind="stable")]
    sides = [None if side is None else side[order] for side in bounds]
    kind = "points" if points else "dashed" if dashed else "line"
    return Series(name, name, x[order], y[order], sides[0], sides[1], kind=kind)


def over_seeds(name: str, rows: Any, x: str, y: str, **options: Any) -> Series:
    """The mean of column `y` over seeds at each value of column `x`, and the extremes."""
    places = sorted(rows.values(x))
    found = [rows.where(**{x: place})[y] for place in places]
    return curve(
        name,
        places,
        [values.mean() for values in found],
        low=[values.min() for values in found],
        high=[values.max() for values in found],
        **options,
    )


def panel(
    title: str,
    x: str,
    y: str,
    series: Sequence[Series],
    *,
    log: str = "",
    levels: Sequence[float] = (),
) -> Panel:
    """A pair of axes; `log` names those that are logarithmic, as `"xy"`."""
    drawn = tuple(one for one in series if len(one.x))
    return Panel(
        title, Axis(x, log="x" in log), Axis(y, log="y" in log), drawn, levels=tuple(levels)
    )


def pictures(title: str, images: np.ndarray, unit: str, across: int = 5) -> Panel:
    """Images, `(count, height, width)` of numbers of either sign, as tiles of one picture.

    Each in units of its own largest size, first ones at the top.
    """
    count, height, width = images.shape
    down = -(-count // across)
    largest = np.abs(images).max((1, 2), keepdims=True)
    tiles = np.full((down * across, height + 1, width + 1), np.nan)
    tiles[:count, :-1, :-1] = images / np.where(largest > 0, largest, 1)
    grid = tiles.reshape(down, across, height + 1, width + 1).transpose(0, 2, 1, 3)
    grid = grid.reshape(down * (height + 1), across * (width + 1))[-2::-1, :-1]
    places = [np.arange(size, dtype=float) for size in grid.shape]
    rows = ("",) * len(grid)
    heat = Heat(title, places[1], places[0], grid, rows, (-1.0, 1.0), unit, signed=True)
    return Panel(title, Axis(""), Axis(""), (), heat=heat)


def figure(name: str, title: str, caption: str, panels: Sequence[Panel]) -> Figure:
    """A figure of the panels that have anything to draw."""
    drawn = tuple(one for one in panels if one.series or one.heat)
    return Figure(name, title, caption, (View("", drawn),) if drawn else ())
