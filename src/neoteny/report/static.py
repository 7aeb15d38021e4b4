"""The report's figures as files, drawn by matplotlib from the same descriptions."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from neoteny import store
from neoteny.report import data, figures
from neoteny.report.palette import Ink, inks
from neoteny.report.recorded import every

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure

STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e7e8eb",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
    "pdf.fonttype": 42,
}
DASHED = (0, (4, 2))
_PANEL = (3.7, 2.6)


class Stroke(NamedTuple):
    """How wide a line is drawn, in points, and how opaque its band."""

    width: float = 1.4
    shade: float = 0.16


def save_figures(
    connection: duckdb.DuckDBPyConnection,
    folder: Path | str,
    *,
    formats: Sequence[str] = ("png", "pdf"),
    settings: Sequence[figures.Figure] = (),
) -> list[Path]:
    """Save every view of every figure that has data, and return the files written.

    A file is named after its study (where there are several), stream, figure and view. Figures of
    `settings`, of which each shows several streams, come first, by their own names.
    Figures without data write none. No global setting of matplotlib is changed.

    **Raises:** `ValueError` if matplotlib cannot write one of `formats`, `StoreError` if a file
    cannot be put there: what stood in its place then still does.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = FigureCanvasAgg.get_supported_filetypes()
    for one in formats:
        if one not in known:
            raise ValueError(
                f"`formats` has {one!r}, which matplotlib does not write. Choose from "
                f"{', '.join(sorted(known))}: `formats=('png', 'pdf')`."
            )
    folder = Path(folder)
    colours = inks(data.methods(connection))
    saved = []
    with matplotlib.rc_context(STYLE):
        own = [(slug(one.name), view, one.title) for one in settings for view in one.views]
        for name, view, title in [*own, *_named_views(connection)]:
            drawn = draw(view, title, colours)
            for one in formats:
                saved.append(folder / f"{name}.{one}")
                look = {"format": one, "dpi": 160, "metadata": _undated(one)}
                store.write_file(saved[-1], partial(drawn.savefig, **look))
    return saved


def _undated(kind: str) -> dict | None:
    """Without a date of creation, the same data give the same bytes."""
    return {"CreationDate": None} if kind == "pdf" else {"Date": None} if kind == "svg" else None


def _named_views(
    connection: duckdb.DuckDBPyConnection,
) -> list[tuple[str, figures.View, str]]:
    streams, found, taken = every(connection), [], set()
    several = len({one.section.study for one in streams}) > 1
    for one in streams:
        prefix = [*one.section] if several else [one.section.stream]
        for figure in figures.of_stream(one):
            for place, view in enumerate(figure.views):
                parts = [*prefix, figure.name, *([view.label] if place else [])]
                name = slug("-".join(parts))
                while name in taken:
                    name += "-"
                taken.add(name)
                title = " · ".join(part for part in (*prefix, figure.title, view.label) if part)
                found.append((name, view, title))
    return found


def slug(text: str) -> str:
    """`text` as a file name or anchor: letters, digits, underscores and single hyphens."""
    return re.sub(r"[^\w]+", "-", text).strip("-").lower() or "unnamed"


def draw(view: figures.View, title: str, colours: dict[str, Ink]) -> "matplotlib.figure.Figure":
    """A matplotlib figure of `view`, with up to three panels in a row and one legend."""
    from matplotlib.figure import Figure

    count = len(view.panels)
    across = 1 if count == 1 else 2 if count in (2, 4) else 3
    down = -(-count // across)
    width = 6.4 if count == 1 else _PANEL[0] * across
    figure = Figure(figsize=(width, (3.4 if count == 1 else _PANEL[1] * down) + 0.7))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for place, panel in zip(axes, view.panels, strict=False):
        draw_panel(place, panel, colours)
    for unused in axes[count:]:
        unused.set_axis_off()
    _draw_legend(figure, view, colours)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    return figure


def draw_panel(
    axes: "matplotlib.axes.Axes",
    panel: figures.Panel,
    colours: Mapping[str, Ink],
    strokes: Mapping[str, Stroke] = MappingProxyType({}),
) -> None:
    """Draw `panel` on `axes`, series in their order; `strokes` are those of some keys."""
    for series in panel.series:
        _draw_series(axes, series, colours[series.key], strokes.get(series.key, Stroke()))
    if panel.heat is not None:
        _draw_heat(axes, panel.heat)
    for x, label in panel.marks:
        axes.axvline(x, color="#8a8f98", linewidth=0.8, linestyle=":")
        axes.annotate(
            label, (x, 1), (3, -3), ("data", "axes fraction"), "offset points", va="top", size=7
        )
    for y in panel.levels:
        axes.axhline(y, color="#8a8f98", linewidth=0.8, zorder=1.5)
    axes.set(title=panel.title, xlabel=panel.x.label, ylabel=panel.y.label)
    for axis, which in ((panel.x, "x"), (panel.y, "y")):
        if axis.log:
            getattr(axes, f"set_{which}scale")("log")
        if axis.bounds:
            getattr(axes, f"set_{which}lim")(*axis.bounds)
        if axis.log:
            _set_log_ticks(getattr(axes, f"{which}axis"))
        elif axis.label == "task":
            getattr(axes, f"{which}axis").get_major_locator().set_params(integer=True)
        if axis.ticks:
            places, labels = zip(*axis.ticks, strict=True)
            getattr(axes, f"set_{which}ticks")(places, labels)


def _draw_heat(axes: "matplotlib.axes.Axes", heat: figures.Heat) -> None:
    from matplotlib.ticker import FuncFormatter

    low, high = heat.bounds
    colours = "RdBu_r" if heat.signed else "viridis_r"
    drawn = axes.pcolormesh(heat.x, heat.y, heat.z, cmap=colours, vmin=low, vmax=high,
                            shading="nearest", rasterized=True)  # fmt: skip
    if heat.signed:
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.figure.colorbar(drawn, ax=axes, shrink=0.8, label=heat.unit)
        return
    text = lambda value, _: figures.power(round(value)) if value == round(value) else ""
    bar = axes.figure.colorbar(drawn, ax=axes, format=FuncFormatter(text), shrink=0.8)
    bar.ax.set_title(heat.unit, size=6.5, loc="left")
    axes.grid(visible=False)


def _set_log_ticks(axis: "matplotlib.axis.Axis") -> None:
    """Powers of ten, or 1, 2, 5 where few are in sight; matplotlib's own labels need mathtext."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    few = high < 300 * low
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12 if few else 5))
    axis.set_minor_locator(NullLocator())
    text = lambda value, _: f"{value:,.6g}" if few else figures.power(round(math.log10(value)))
    axis.set_major_formatter(FuncFormatter(text))


def _draw_series(
    axes: "matplotlib.axes.Axes", series: figures.Series, ink: Ink, stroke: Stroke
) -> None:
    steps = "mid" if "steps" in series.kind else None
    if series.low is not None and series.high is not None:
        look = {"color": ink.light, "alpha": stroke.shade, "lw": 0}
        axes.fill_between(series.x, series.low, series.high, step=steps, **look)
    options = {"color": ink.light, "linewidth": stroke.width, "markersize": 3.2}
    if series.kind == "points":
        options |= {"linestyle": "none", "marker": ink.marker, "alpha": 0.65, "mew": 0}
        if ink.marker in "_":
            options["mew"] = 1
    elif "dashed" in series.kind or series.kind == "marks":
        options |= {"linestyle": DASHED, "linewidth": 0.8 * stroke.width}
    if series.kind == "marks" or (series.kind == "line" and len(series.x) <= 30):
        options |= {"marker": "o", "markersize": 2.2 if series.kind == "marks" else 2.6}
    axes.plot(series.x, series.y, drawstyle=f"steps-{steps}" if steps else "default", **options)


def _draw_legend(
    figure: "matplotlib.figure.Figure", view: figures.View, colours: dict[str, Ink]
) -> None:
    from matplotlib.lines import Line2D

    every = [series for panel in view.panels for series in panel.series]
    kinds = {series.key: series.kind for series in reversed(every)}
    kinds = {key: kinds[key] for key in dict.fromkeys(series.key for series in every)}
    handles = [
        Line2D(
            [],
            [],
            color=colours[key].light,
            linestyle={"points": "none", "marks": DASHED}.get(kind, "-"),
            marker=colours[key].marker if kind == "points" else "",
            markersize=4,
        )
        for key, kind in kinds.items()
    ]
    if not handles:
        return
    entry = 0.55 + 0.075 * max(map(len, kinds))  # inches of the widest
    across = max(1, min(len(kinds), 8, int(figure.get_figwidth() / entry)))
    figure.legend(handles, list(kinds), loc="outside lower center", ncols=across)
