"""A whole study in one picture: for each stream, accuracy and curvature over the tasks."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from neoteny import store
from neoteny.report import data, figures, static
from neoteny.report.palette import REFERENCE, Ink, inks
from neoteny.report.recorded import Recorded, every
from neoteny.report.table import BASELINE

if TYPE_CHECKING:
    import matplotlib.figure

PROMINENT = (BASELINE, "l2_er")
"""The methods drawn thick, over all others: what fails, and what the main paper proposes."""

_STROKES = dict.fromkeys(PROMINENT, static.Stroke(2.6, 0.2)) | {REFERENCE: static.Stroke(1.6)}
_THIN = static.Stroke(1.1, 0.1)
_RANKS = {REFERENCE: 1} | {name: 2 + place for place, name in enumerate(PROMINENT)}
"""What is drawn later lies on top: thin lines, the reference, the prominent methods."""

_SIZE = (10.0, 16 / 3)
_STYLE: dict[Any, Any] = static.STYLE | {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
}


def save_overview(connection: duckdb.DuckDBPyConnection, path: Path | str) -> Path:
    """Save one PNG of 1500 x 800 pixels that shows a whole study; return its path.

    A column for each stream has the accuracy on each task above the curvature directions at
    each task's start (GGN eigenvalues above epsilon; the Hessian's where there is no GGN).
    Long streams are smoothed as the report's moving mean, and the axis says so. Dashed is a
    fresh network: that of `bp` where each method has its own. Thick lines are the methods in
    `PROMINENT`. No global setting of matplotlib is changed.

    **Raises:** `ValueError` if the tables have no accuracy and no count of eigenvalues.
    """
    import matplotlib
    from matplotlib.figure import Figure

    columns = [(one.section, _panels(one)) for one in every(connection)]
    columns = [(section, panels) for section, panels in columns if any(p.series for p in panels)]
    if not columns:
        raise ValueError(
            "`connection` has no task with an accuracy or a count of eigenvalues, so there is "
            "nothing to show. Run a study first: `neoteny run spectral-collapse-digits`."
        )
    several = len({section.study for section, _ in columns}) > 1
    names = [f"{s.study}: {s.stream}" if several else s.stream for s, _ in columns]
    rows = [
        [panels[row] for _, panels in columns]
        for row in (0, 1)
        if any(panels[row].series for _, panels in columns)
    ]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, facecolor="white")
        figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
        grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col")
        _draw(grid, rows, names, inks(data.methods(connection)))
        store.write_file(path, partial(figure.savefig, format="png", dpi=150))
    return Path(path)


def _panels(recorded: Recorded) -> tuple[figures.Panel, figures.Panel]:
    """Accuracy with one fresh reference, and curvature directions."""
    window = figures.smoothing(recorded)
    view = figures.accuracy_view(recorded, recorded.metric, window)
    empty = figures.Panel("", figures.Axis("task"), figures.Axis(""), ())
    panel = view.panels[0] if view.panels else empty
    lines = [series for series in panel.series if series.kind != "marks"]
    fresh = [
        series._replace(key=REFERENCE)
        for series in panel.series
        if series.kind == "marks" and series.key in (REFERENCE, BASELINE)
    ]
    label = panel.y.label + (f"\n(moving mean of {window} tasks)" if window > 1 else "")
    accuracy = panel._replace(y=panel.y._replace(label=label), series=(*lines, *fresh))
    directions = figures.directions(recorded)
    label = directions.y.label.replace(" eigenvalues ", " eigenvalues\n") + ", at task start"
    return accuracy, directions._replace(title="", y=directions.y._replace(label=label))


def _draw(
    grid: np.ndarray, rows: list[list[figures.Panel]], names: list[str], colours: dict[str, Ink]
) -> None:
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, loc="left", weight="bold")
    shown: set[str] = set()
    for row, (line, panels) in enumerate(zip(grid, rows, strict=True), start=1):
        same = len({panel.y.label for panel in panels}) == 1
        for place, (axes, panel) in enumerate(zip(line, panels, strict=True)):
            if not panel.series:
                axes.set_axis_off()
                continue
            series = tuple(sorted(panel.series, key=lambda one: _RANKS.get(one.key, 0)))
            strokes = {one.key: _STROKES.get(one.key, _THIN) for one in series}
            shown |= strokes.keys()
            up = panel.y._replace(label="" if same and place else panel.y.label)
            static.draw_panel(axes, panel._replace(series=series, y=up), colours, strokes)
            if row < len(rows):
                axes.set_xlabel("")
    _legend(grid[0, 0].figure, data.ordered(shown), colours)


def _legend(figure: "matplotlib.figure.Figure", names: list[str], colours: dict[str, Ink]) -> None:
    """One legend above all: methods in the report's order, the fresh network last."""
    from matplotlib.lines import Line2D

    names.sort(key=lambda name: name == REFERENCE)
    handles = [
        Line2D(
            [],
            [],
            color=colours[name].light,
            linewidth=_STROKES.get(name, _THIN).width,
            linestyle=static.DASHED if name == REFERENCE else "-",
        )
        for name in names
    ]
    across = len(names) if len(names) <= 8 else -(-len(names) // 2)
    figure.legend(handles, names, loc="outside upper left", ncols=across, handlelength=1.8)
