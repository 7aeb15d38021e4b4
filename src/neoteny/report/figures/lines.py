"""Panels of lines over tasks, and the scales that they share."""

import numpy as np

from neoteny.report.data import ordered
from neoteny.report.figures.shapes import Axis, Panel, Series
from neoteny.report.recorded import Recorded
from neoteny.report.rows import Curve


def panels(recorded: Recorded, names: dict[str, tuple[str, str]]) -> tuple[Panel, ...]:
    """A panel for each column of `names` that was measured and is not zero throughout."""
    found = [panel(recorded, column, axis, title) for column, (title, axis) in names.items()]
    return tuple(one for one in found if any(np.any(s.y != 0) for s in one.series))


def panel(recorded: Recorded, column: str, axis: str, title: str, *, scaled: bool = True) -> Panel:
    """A column over tasks, a line for each method; `scaled` chooses its vertical scale."""
    curves = recorded.curves(column)
    series = lines(curves, column)
    if all(np.all(curve.seeds == 1) for curve in curves.values()):
        series = _standard_errors(series, recorded.curves(f"{column}_se"))
    made = Panel(title, Axis("task"), Axis(axis), series)
    return level([made], may_log="share" not in axis)[0] if scaled else made


def lines(curves: dict[str, Curve], column: str = "") -> tuple[Series, ...]:
    """A line for each method, with a band where there are several seeds."""
    return tuple(
        Series(
            name, name, curves[name].task, curves[name].mean, *_band(curves[name]), column=column
        )
        for name in ordered(curves)
    )


def _band(curve: Curve) -> tuple[np.ndarray | None, np.ndarray | None]:
    return (curve.low, curve.high) if np.any(curve.high > curve.low) else (None, None)


def _standard_errors(series: tuple[Series, ...], errors: dict[str, Curve]) -> tuple[Series, ...]:
    """With one seed, a band of one standard error of the estimate, where it was stored."""
    banded = []
    for line in series:
        error = errors.get(line.key)
        if error is not None and np.array_equal(error.task, line.x):
            low, high = line.y - error.mean, line.y + error.mean
            line = line._replace(low=low, high=high, column="")
        banded.append(line)
    return tuple(banded)


def level(found: list[Panel], *, may_log: bool = True) -> tuple[Panel, ...]:
    """Panels side by side share a vertical scale: logarithmic only where all can be."""
    ends = [v for p in found for s in p.series for v in (s.y, s.low, s.high) if v is not None]
    values = np.concatenate(ends) if ends else np.array([])
    log = may_log and wide(values)
    if not len(values) or len(found) < 2:
        return tuple(one._replace(y=one.y._replace(log=log)) for one in found)
    low, high = values.min(), values.max()
    room = 0.06 * (np.log10(high / low) if log else (high - low) or 1.0)
    bounds = (low / 10**room, high * 10**room) if log else (low - room, high + room)
    scale = {"log": log, "bounds": (float(bounds[0]), float(bounds[1]))}
    return tuple(one._replace(y=one.y._replace(**scale)) for one in found)


def wide(values: np.ndarray) -> bool:
    """Whether `values` are positive and span so much that only a logarithmic axis shows them."""
    return len(values) > 0 and bool(values.min() > 0 and values.max() > 30 * values.min())
