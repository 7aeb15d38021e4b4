"""Does curvature foretell how well a task is learnt?"""

from typing import NamedTuple

import numpy as np

from neoteny.report.data import ordered
from neoteny.report.figures.eigenvalues import QUANTITIES, counted
from neoteny.report.figures.lines import level, wide
from neoteny.report.figures.shapes import Axis, Figure, Panel, Series, View, figure
from neoteny.report.figures.words import GGN, words
from neoteny.report.recorded import Recorded

MOST_DOTS = 1500
"""Of more points, so many are drawn, evenly picked; correlations are of all."""


class Points(NamedTuple):
    """Measured tasks: of which method, seed and task, the count there, the accuracy reached."""

    method: np.ndarray
    seed: np.ndarray
    task: np.ndarray
    directions: np.ndarray
    reached: np.ndarray

    def where(self, chosen: np.ndarray) -> "Points":
        """Those that are `chosen`, a mask or places."""
        return Points(*(each[chosen] for each in self))


def prediction(recorded: Recorded) -> Figure:
    """Does the curvature at a task's start foretell the accuracy reached on it?"""
    judged, matrix = recorded.metric, counted(recorded)
    counts = QUANTITIES[matrix, "rank"]
    panels, notes = [], []
    for title, later in (("On the same task", 0), ("On the next task", 1)):
        points = _points(recorded, f"{matrix}_rank_start", judged, later)
        if len(points.task):
            panels.append(_panel(title, points, counts, judged))
            notes.append(f"{title}: {_correlations(points)}")
    caption = (
        f"{counts} at the start of a task against {words(judged)}, one point for each method, "
        "seed and measured task whose count was resolved. Points of one run depend on one "
        "another, so no p-value is given. "
        + " ".join([*notes, *([GGN] if matrix == "ggn" else [])])
    )
    title = "Does curvature foretell the accuracy?"
    missing = "There are no tasks with both a count of eigenvalues and an accuracy."
    return figure("prediction", title, caption, [View("", level(panels, may_log=False))], missing)


def _points(recorded: Recorded, rank: str, judged: str, later: int) -> Points:
    """The count on each task with the accuracy reached `later` tasks on."""
    reached, found = recorded.by_run(judged), []
    for (method, seed), (task, counts) in recorded.by_run(rank).items():
        tasks, values = reached.get((method, seed), (np.empty(0, int), np.empty(0)))
        _, here, there = np.intersect1d(task + later, tasks, return_indices=True)
        each = np.full(len(here), method, object), np.full(len(here), seed)
        found.append(Points(*each, task[here], counts[here], values[there]))
    empty = np.empty(0)
    return Points(*map(np.concatenate, zip(*found, strict=True))) if found else Points(*[empty] * 5)


def _panel(title: str, points: Points, counts: str, judged: str) -> Panel:
    series, total = [], len(points.task)
    if total > MOST_DOTS:
        points = points.where(np.linspace(0, total - 1, MOST_DOTS).round().astype(int))
        title += f" ({MOST_DOTS} of {total} points)"
    for name in ordered(set(points.method)):
        mine = points.where(points.method == name)
        notes = tuple(
            f"seed {seed}, task {task}" for seed, task in zip(mine.seed, mine.task, strict=True)
        )
        series.append(Series(name, name, mine.directions, mine.reached, kind="points", notes=notes))
    across = Axis(f"{counts} at the start of the task", log=wide(points.directions))
    return Panel(title, across, Axis(words(judged)), tuple(series))


def _correlations(points: Points) -> str:
    """Spearman's rho over all points, and within each method: the two can disagree."""
    overall, within = _spearman(points.directions, points.reached), {}
    for name in ordered(set(points.method)):
        mine = points.where(points.method == name)
        within[name] = _spearman(mine.directions, mine.reached)
    said = [f"{name} {rho:.2f}" for name, rho in within.items() if rho is not None]
    pooled = "is not defined" if overall is None else f"is {overall:.2f}"
    inside = f"; within methods: {', '.join(said)}" if len(within) > 1 and said else ""
    return f"Spearman's ρ {pooled} over {len(points.task)} points{inside}."


def _spearman(x: np.ndarray, y: np.ndarray) -> float | None:
    """Spearman's rho, or None where there is none: too few points, or one side constant."""
    from neoteny.statistics import spearman

    rho = spearman(x.tolist(), y.tolist()) if len(x) > 1 else np.nan
    return None if np.isnan(rho) else float(rho)
