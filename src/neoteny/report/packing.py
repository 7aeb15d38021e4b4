"""The numbers of a page, packed so that it opens quickly.

A page holds a document of its own for each stream, which is read when the stream comes into
sight. Arrays are the base64 of their 32-bit floats (seven digits, more than a screen can
show); lines over tasks that several figures show are there once, under the name of their
column, and their tasks once for all columns that were measured on the same ones.
"""

import base64
import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from neoteny.report import figures
from neoteny.report.about import about
from neoteny.report.recorded import MOST_POINTS, Recorded
from neoteny.report.rows import block_means

MOST_NUMBERS = 3_000_000
"""In the means, lowest and highest of all columns; beyond, lines have fewer points."""

FEWEST_POINTS = 40

MOST_OF_SEEDS = 1_000_000
"""In the lines of single seeds; columns beyond that have means alone."""


def packed(values: np.ndarray) -> str:
    """Base64 of 32-bit floats, little-endian."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")


def script_json(value: Any) -> str:
    """JSON that no HTML parser can mistake for the end of its script element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def fit(streams: list[Recorded]) -> None:
    """Give lines so few points that all of them fit into a page."""
    lines = sum(len(one.methods) * len(columns(one)) for one in streams)
    points = MOST_NUMBERS // (3 * max(lines, 1))
    for one in streams:
        one.thin(min(MOST_POINTS, max(FEWEST_POINTS, points)))


def columns(recorded: Recorded) -> list[str]:
    """What can be looked at along tasks: all but errors of estimates."""
    return [name for name in recorded.columns if not name.endswith("_se")]


def columns_with_seeds(streams: list[Recorded]) -> set[str]:
    """The columns of which the page has room for single seeds: first what is judged by."""
    judged = [one.metric for one in streams]
    others = [name for one in streams for name in columns(one)]
    chosen, room = set(), MOST_OF_SEEDS
    for name in dict.fromkeys([*judged, *others]):
        size = sum(one.measurements(name) // one.block for one in streams)
        if size <= room:
            chosen.add(name)
            room -= size
    return chosen


def document(
    recorded: Recorded, drawn: Iterable[tuple[str, figures.Figure]], of_seeds: set[str]
) -> dict[str, Any]:
    """All that the page holds of one stream; `drawn` are its figures by address."""
    tasks: dict[str, int] = {}
    place = lambda task: tasks.setdefault(packed(task), len(tasks))
    measures, seeds = {}, {}
    for name in columns(recorded):
        curves = recorded.curves(name)
        if curves:
            measures[name] = {method: _curve(place, one) for method, one in curves.items()}
        if curves and name in of_seeds and any(np.any(one.seeds > 1) for one in curves.values()):
            seeds[name] = _seeds(place, recorded, name)
    return {
        "figures": {address: plain(figure.views) for address, figure in drawn},
        "measures": measures,
        "seeds": seeds,
        "about": about(recorded),
        "tasks": list(tasks),
    }


def _curve(place, curve) -> list:
    """Which tasks, the mean, lowest and highest if they differ, and how many seeds."""
    banded = bool(np.any(curve.high > curve.low))
    same = bool(np.all(curve.seeds == curve.seeds[0]))
    return [
        place(curve.task),
        packed(curve.mean),
        packed(curve.low) if banded else None,
        packed(curve.high) if banded else None,
        int(curve.seeds[0]) if same else packed(curve.seeds),
    ]


def _seeds(place, recorded: Recorded, column: str) -> dict[str, list]:
    found: dict[str, list] = {}
    for (method, seed), line in recorded.by_run(column).items():
        task, value = block_means(*line, recorded.block)
        found.setdefault(method, []).append([seed, place(task), packed(value)])
    return found


def plain(value: Any) -> Any:
    """Descriptions as JSON: tuples with names become objects, arrays are packed.

    A series that shows a column as it is has no arrays of its own.
    """
    if isinstance(value, figures.Series) and value.column:
        return {"key": value.key, "label": value.label, "kind": value.kind, "column": value.column}
    if isinstance(value, np.ndarray):
        return {"floats": packed(value), "shape": list(value.shape)}
    if hasattr(value, "_asdict"):
        return {name: plain(one) for name, one in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
