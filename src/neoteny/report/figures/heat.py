"""How the spectrum changes along the tasks, as a map of colours."""

import numpy as np

from neoteny.report import spectra
from neoteny.report.figures.distributions import symlog_edges
from neoteny.report.figures.shapes import Axis, Figure, Heat, Panel, View, figure, symlog_ticks
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
from neoteny.report.spectra import BINS, Histories

MOST_TASKS = 60
"""Of more measured tasks, so many are drawn, evenly spaced."""


def history(recorded: Recorded) -> Figure:
    """The spectrum over tasks: eigenvalue against task, coloured by how many there are."""
    found = matrices(recorded, "hessian", "ggn")
    views = [_view(recorded, matrix, phase) for matrix in found for phase in PHASES]
    at = epsilon(recorded)
    lines = "" if at is None else f"Dotted lines are at ±ε = ±{at:g}. "
    caption = (
        f"Eigenvalues of the {either(found)} in each quarter of a decade, a column for each task "
        "on which they were measured; mean over probe vectors, then over seeds. The axis is "
        "logarithmic on both sides of zero; the row at 0 holds every eigenvalue too small for it, "
        f"and what has no colour has no eigenvalue. {lines}{explained(found)}"
    )
    return figure("spectra-over-tasks", "Spectrum over tasks", caption, views, NO_SPECTRA)


def _view(recorded: Recorded, matrix: str, phase: str) -> View:
    found = recorded.spectra.histories(recorded.section, matrix, phase)
    found = {name: _thinned(found[name]) for name in recorded.methods if name in found}
    if not found:
        return View("", ())
    exact, at = recorded.spectra.counted(recorded.section), epsilon(recorded)
    unit, edges = symlog_edges(max(map(_top, found.values())), at)
    reach = len(edges) // 2 - 1
    rows = {name: np.clip(spectra.rows_of(one.bins, unit), -reach, reach)
            for name, one in found.items()}  # fmt: skip
    low, high = (int(end(np.concatenate([*rows.values()]))) for end in (np.min, np.max))
    floor = 0.1 if exact else 1e-6
    most = max(float(np.log10(one.counts.max())) for one in found.values())
    ticks = tuple(
        (place + float(np.sign(place)) / (2 * BINS), text)
        for place, text in symlog_ticks(unit, int(edges[-1]))
        if low - 1 <= BINS * place <= high + 1
    )
    axis = Axis("eigenvalue λ", bounds=((low - 0.5) / BINS, (high + 0.5) / BINS), ticks=ticks)
    levels = () if at is None else _levels(at, unit, low)
    panels = []
    for name, one in found.items():
        z = np.full((high - low + 1, len(one.tasks)), 0.0)
        np.add.at(z, (rows[name] - low, one.places), one.counts)
        shown = np.where(z > 0, np.log10(np.maximum(z, floor)), np.nan)
        heat = Heat(
            name,
            one.tasks.astype(float),
            np.arange(low, high + 1) / BINS,
            shown,
            tuple(_row(row, unit) for row in range(low, high + 1)),
            (float(np.log10(floor)), most),
            "eigenvalues" if exact else "share of eigenvalues",
        )
        panels.append(Panel(name, Axis("task"), axis, (), levels=levels, heat=heat))
    note = PHASES[phase]
    if any(len(one.tasks) == MOST_TASKS for one in found.values()):
        note += f" At most {MOST_TASKS} of the measured tasks are shown, evenly spaced."
    return View(f"{MATRICES[matrix]}, {phase} of task", tuple(panels), note)


def _thinned(one: Histories) -> Histories:
    """No more than `MOST_TASKS` tasks, the first and the last among them."""
    if len(one.tasks) <= MOST_TASKS:
        return one
    chosen = np.unique(np.linspace(0, len(one.tasks) - 1, MOST_TASKS).round().astype(int))
    place = np.full(len(one.tasks), -1)
    place[chosen] = np.arange(len(chosen))
    kept = place[one.places] >= 0
    return Histories(one.tasks[chosen], place[one.places][kept], one.bins[kept], one.counts[kept])


def _top(one: Histories) -> float:
    return spectra.size_of(int(np.abs(one.bins).max()))


def _levels(at: float, unit: float, low: int) -> tuple[float, ...]:
    """Where ±ε are: half a row further from zero than its place, as the row at 0 is a row."""
    place = float(np.log10(at / unit)) + 1 / (2 * BINS)
    return (place,) if low >= 0 else (-place, place)


def _row(row: int, unit: float) -> str:
    if row == 0:
        return f"|λ| < {unit:.3g}"
    ends = [unit * 10 ** ((abs(row) - inner) / BINS) for inner in (1, 0)]
    low, high = sorted(np.sign(row) * end for end in ends)
    return f"{low:.3g} to {high:.3g}".replace("-", "−").replace("e−", "e-")
