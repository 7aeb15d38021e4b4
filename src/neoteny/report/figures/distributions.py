"""Where eigenvalues lie, early in the stream against late."""

from collections.abc import Callable

import numpy as np

from neoteny.report import spectra
from neoteny.report.figures.shapes import (
    Axis,
    Figure,
    Panel,
    Series,
    View,
    figure,
    symlog_ticks,
)
from neoteny.report.figures.words import (
    MATRICES,
    NO_SPECTRA,
    PHASES,
    either,
    epsilon,
    explained,
    matrices,
)
from neoteny.report.recorded import Recorded
from neoteny.report.spectra import Measured, Quadrature


def spectrum(recorded: Recorded) -> Figure:
    """The spectral counting function N(x), early against late, method by method."""
    found = matrices(recorded, "ggn", "hessian")
    views = [_counting_view(recorded, matrix, phase) for matrix in found for phase in PHASES]
    caption = (
        f"How many eigenvalues of the {either(found)} exceed x in magnitude: dashed early, solid "
        "late in the stream. Counted straight from quadrature nodes and weights, with no "
        "smoothing; mean over probe vectors, then over seeds, with bands from the lowest to the "
        "highest seed; late is the last measured task that at least half of the seeds reached. "
        f"A line that falls further left has lost curvature. {explained(found)}"
    )
    title = "Eigenvalues above x, early and late"
    return figure("spectrum", title, caption, views, NO_SPECTRA)


def _counting_view(recorded: Recorded, matrix: str, phase: str) -> View:
    found, at = recorded.spectra.early_and_late(recorded.section, matrix, phase), epsilon(recorded)
    quadratures = [q for pair in found.values() for m in pair for q in m.seeds]
    top = max((float(np.abs(q.nodes).max()) for q in quadratures), default=0.0)
    if top <= 0:
        return View("", ())
    grid = np.geomspace(min(top * 1e-6, (at or top) / 10), top * 1.5, 160)
    exact = recorded.spectra.counted(recorded.section)
    total = max(float(q.counts.sum()) for q in quadratures)
    axis = Axis(
        "eigenvalues above x" if exact else "share of eigenvalues above x",
        log=True,
        bounds=(0.5 if exact else 1e-6, 2 * total),
    )
    count = lambda quadrature: spectra.counting(quadrature, grid)
    marks = () if at is None else ((at, f"ε = {at:g}"),)
    panels = tuple(
        _pair_panel(name, found[name], grid, count, "line", Axis("x = |λ|", log=True), axis)
        for name in recorded.methods
        if name in found
    )
    marked = tuple(panel._replace(marks=marks) for panel in panels)
    return View(f"{MATRICES[matrix]}, {phase} of task", marked, PHASES[phase])


def _pair_panel(
    name: str,
    pair: tuple[Measured, Measured],
    x: np.ndarray,
    count: Callable[[Quadrature], np.ndarray],
    kind: str,
    across: Axis,
    up: Axis,
) -> Panel:
    """Early (dashed) and late (solid) of one method; one solid line if they are the same."""
    early, late = pair
    dashed = {"line": "dashed", "steps": "dashed steps"}[kind]
    shown = [(late, kind)] if early.task == late.task else [(early, dashed), (late, kind)]
    series = []
    for measured, style in shown:
        values = np.stack([count(quadrature) for quadrature in measured.seeds])
        banded = len(values) > 1 and kind == "line"
        low, high = (values.min(0), values.max(0)) if banded else (None, None)
        label = f"{name}, task {measured.task}"
        series.append(Series(name, label, x, values.mean(0), low, high, style))
    title = f"{name}: task {late.task}"
    if len(shown) == 2:
        title = f"{name}: task {early.task} (dashed), task {late.task} (solid)"
    return Panel(title, across, up, tuple(series))


def signed_spectrum(recorded: Recorded) -> Figure:
    """Where on the signed axis the eigenvalues lie: negative curvature beside positive."""
    found = matrices(recorded, "hessian", "ggn")
    views = [_signed_view(recorded, matrix, phase) for matrix in found for phase in PHASES]
    caption = (
        f"Eigenvalues of the {either(found)} in each quarter of a decade, negative curvature on "
        "the left; dashed early, solid late, means over probe vectors and seeds. The axis is "
        "logarithmic on both sides; the bin at 0 holds every eigenvalue too small for it. Empty "
        f"bins are drawn at the lower edge. {explained(found)}"
    )
    title = "Negative and positive curvature, early and late"
    return figure("signed-spectrum", title, caption, views, NO_SPECTRA)


def _signed_view(recorded: Recorded, matrix: str, phase: str) -> View:
    found = recorded.spectra.early_and_late(recorded.section, matrix, phase)
    every = [q for pair in found.values() for m in pair for q in m.seeds]
    top = max((float(np.abs(q.nodes).max()) for q in every), default=0.0)
    if top <= 0:
        return View("", ())
    unit, edges = symlog_edges(top, epsilon(recorded))
    centres = (edges[1:] + edges[:-1]) / 2
    exact = recorded.spectra.counted(recorded.section)
    floor = 0.1 if exact else 1e-7
    count = lambda quadrature: np.maximum(spectra.histogram(quadrature, edges, unit), floor)
    across = Axis("eigenvalue λ", ticks=symlog_ticks(unit, int(edges[-1])))
    most = max(float(count(quadrature).max()) for quadrature in every)
    up = Axis("eigenvalues in bin" if exact else "share in bin", True, (floor, 2 * most))
    panels = tuple(
        _pair_panel(name, found[name], centres, count, "steps", across, up)
        for name in recorded.methods
        if name in found
    )
    return View(f"{MATRICES[matrix]}, {phase} of task", panels, PHASES[phase])


def symlog_edges(top: float, at: float | None) -> tuple[float, np.ndarray]:
    """The unit of a symlog axis that reaches `top`, and the edges of its bins around zero."""
    unit = 10.0 ** np.floor(np.log10(at or top * 1e-5))
    reach = max(1.0, np.ceil(spectra.BINS * np.log10(top / unit) + 1) / spectra.BINS)
    positive = np.arange(1e-9, reach + 1 / spectra.BINS, 1 / spectra.BINS)
    return float(unit), np.concatenate([-positive[::-1], positive])
