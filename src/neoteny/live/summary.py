"""What the page is told of the runs below a folder: counts, curves and reasons, as plain data."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from neoteny import store
from neoteny.live.pace import Key, Work
from neoteny.report.data import ordered
from neoteny.report.palette import inks

STATES = ("running", "waiting", "finished", "pruned", "diverged", "failed", "interrupted")
"""Waiting are runs that were asked for and have not begun."""

STOPPED = ("pruned", "diverged", "failed", "interrupted")
MOST_REASONS, LONGEST_REASON = 100, 400


class Group(NamedTuple):
    """The runs of one method on one stream, and how many of them are in which state."""

    runs: list[store.Followed]
    states: Counter[str]
    work: Work
    asked: int


def groups(view: store.View, planned: Mapping[tuple, int]) -> dict[Key, Group]:
    """All runs by study, stream and method, those included that have yet to begin."""
    found: dict[Key, list[store.Followed]] = {}
    begun = set()
    for run in view.runs:
        key = (run.row["study"], run.row["stream"], run.row["method"])
        found.setdefault(key, []).append(run)
        begun.add((*key, str(run.row["seed"])))
    waiting: dict[Key, list[int]] = {}
    for (study, stream, method, seed), tasks in planned.items():
        if (study, stream, method, str(seed)) not in begun:
            waiting.setdefault((study, stream, method), []).append(tasks)
    return {
        key: _group(found.get(key, []), waiting.get(key, []))
        for key in dict.fromkeys([*found, *waiting])
    }


def _group(runs: list[store.Followed], waiting: list[int]) -> Group:
    rows = [run.row for run in runs]
    states = Counter(row["status"] for row in rows) + Counter({"waiting": len(waiting)})
    going = [row for row in rows if row["status"] == "running"]
    left = sum(waiting) + sum(max(0, row["tasks_asked"] - row["tasks_done"]) for row in going)
    done = sum(row["tasks_done"] for row in rows)
    work = Work(done, sum(row["seconds"] for row in rows), left)
    return Group(runs, states, work, sum(row["tasks_asked"] for row in rows) + sum(waiting))


def total(found: Iterable[Group]) -> dict[str, Any]:
    """How many runs are in which state, and how many tasks are done of those asked for."""
    found = list(found)
    states = sum((group.states for group in found), Counter())
    return {state: states[state] for state in STATES} | {
        "runs": sum(states.values()),
        "done": sum(group.work.done for group in found),
        "asked": sum(group.asked for group in found),
    }


def section(
    names: list[str], found: Mapping[Key, Group], rates: Mapping[Key, float], key: tuple[str, str]
) -> dict[str, Any]:
    """One stream: a row for each of the methods `names`, and the curve of each that has one."""
    mine = {name: found[(*key, name)] for name in names}
    metrics = [run.row["metric"] for group in mine.values() for run in group.runs]
    metric = next(filter(None, metrics), None)
    shown = {
        name: [run for run in group.runs if run.row["metric"] == metric]
        for name, group in mine.items()
    }
    return {
        "metric": metric,
        "tasks": max(
            (run.row["tasks_asked"] for runs in shown.values() for run in runs), default=0
        ),
        "methods": [
            {"method": name, "rate": rates.get((*key, name))} | total([group])
            for name, group in mine.items()
        ],
        "curves": [curve for name, runs in shown.items() if (curve := _curve(name, runs))],
    }


def _curve(method: str, runs: list[store.Followed]) -> dict[str, Any] | None:
    """Mean, lowest and highest run of each block of tasks; of as many runs as have come so far."""
    block = max((run.block for run in runs), default=1)
    runs = [run for run in runs if run.block == block and np.isfinite(run.values).any()]
    if not runs:
        return None
    values = np.full((len(runs), max(len(run.values) for run in runs)), np.nan)
    for row, run in zip(values, runs, strict=True):
        row[: len(run.values)] = run.values
    measured = np.isfinite(values)
    places = np.flatnonzero(measured.any(0))
    values, measured = values[:, places], measured[:, places]
    return {
        "method": method,
        "task": (places * block + (block - 1) / 2).tolist(),
        "mean": _short(np.where(measured, values, 0.0).sum(0) / measured.sum(0)),
        "low": _short(np.where(measured, values, np.inf).min(0)),
        "high": _short(np.where(measured, values, -np.inf).max(0)),
        "runs": measured.sum(0).tolist(),
    }


def _short(values: np.ndarray) -> list[float]:
    """Five significant digits are more than a screen shows."""
    return [float(f"{value:.5g}") if math.isfinite(value) else 0.0 for value in values]


def reasons(view: store.View) -> dict[str, Any]:
    """Runs that did not come through, the latest first, with what was said of them."""
    stopped = [run.row for run in view.runs if run.row["status"] in STOPPED]
    stopped.sort(key=lambda row: row["written"], reverse=True)
    told = [
        {"folder": folder, "status": "unreadable", "reason": why[:LONGEST_REASON]}
        for folder, why in view.damaged.items()
    ]
    told += [
        {
            "folder": row["folder"],
            "status": row["status"],
            "reason": (row["reason"] or "its process ended without a word")[:LONGEST_REASON],
        }
        for row in stopped
    ]
    return {"shown": told[:MOST_REASONS], "more": max(0, len(told) - MOST_REASONS)}


def colours(methods: Iterable[str]) -> dict[str, list[str]]:
    """Of each method, on a light page and on a dark one; the same as in the report."""
    names = ordered(set(methods))
    return {name: [ink.light, ink.dark] for name, ink in inks(names).items() if name in names}
