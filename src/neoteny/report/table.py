"""The table of methods: how well each starts, how well it ends, and what it costs."""

from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np

from neoteny.report import data
from neoteny.report.data import Run, Section
from neoteny.report.recorded import Recorded, every
from neoteny.studies import late_gap

BASELINE = "bp"

TIMED = 5
"""Tasks after the first without which a time is no more than an accident of the machine's."""


def methods_table(
    connection: duckdb.DuckDBPyConnection, stream: str, *, study: str | None = None
) -> list[dict[str, Any]]:
    """One row for each method on `stream`, the baseline `bp` first.

    With T the tasks that the furthest run has reached and k = max(1, T // 10), accuracy
    being the one the stream is judged by, the columns are

    - `study`, `stream`, `method`; `metric`: which accuracy; `window`: k;
    - `seeds`: how many seeds have run; `statuses`: runs by status; `tasks`: tasks reached;
    - `first`, `last`: mean accuracy on tasks 0..k-1 and T-k..T-1, over the seeds that have
      all k of them (`last_seeds` for the second), so a diverged run is not in `last`;
    - `gap`: `neoteny.studies.late_gap`, by which the verdict judges: learner minus fresh network
      on those of the last third of the tasks on which one was trained; negative means plasticity
      was lost. Over the seeds that came through all their tasks;
    - `difference`, `low`, `high`: `last` minus that of `bp`, paired by seed, with the
      bootstrap interval of `neoteny.statistics.paired_difference`; `pairs`: seeds in it;
      fewer than two give no interval;
    - `microseconds`: median time of a step, over the tasks after the first, which compiles;
      `relative_time`: that over the baseline's, where both have a run with `TIMED` such tasks.

    What was not measured is None. Accuracies are shares, not percentages.

    **Arguments:**

    - `stream`: a stream of the tables; `study`: one study's runs on it, or every study's.

    **Raises:** `ValueError` if no run of the tables is on `stream`.
    """
    found = every(connection)
    chosen = [
        one for one in found if one.section.stream == stream and study in (None, one.section.study)
    ]
    if not chosen:
        raise ValueError(_missing_message(stream, study, [one.section for one in found]))
    return [row for one in chosen for row in methods_of(one)]


SUMMARY = (
    "stream", "method", "seeds", "first", "last", "gap", "difference", "low", "high",
    "relative_time",
)  # fmt: skip


def methods_summary(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The methods of every stream in as few columns as a terminal has room for.

    The columns are those of `methods_table` that are named in `SUMMARY`, unrounded; streams
    come in order of name, methods as there. Where the tables hold several studies, each
    stream is named with its study, as `study: stream`.
    """
    found = every(connection)
    several = len({one.section.study for one in found}) > 1
    rows = []
    for one in found:
        name = ": ".join(one.section) if several else one.section.stream
        for row in methods_of(one):
            rows.append({column: row[column] for column in SUMMARY} | {"stream": name})
    return rows


def _missing_message(stream: str, study: str | None, found: list[Section]) -> str:
    known = ", ".join(sorted({repr(section.stream) for section in found})) or "no stream at all"
    place = "" if study is None else f" of study {study!r}"
    return f"`stream` is {stream!r}{place}, but these tables hold {known}. Pass one of those."


def methods_of(recorded: Recorded) -> list[dict[str, Any]]:
    """The rows of `methods_table` for one stream."""
    window = max(1, recorded.length // 10)
    first = _window_means(recorded, 0, window)
    last = _window_means(recorded, max(0, recorded.length - window), window)
    gaps = _by_method(_gaps(recorded))
    reached = _by_method(
        {run: int(recorded.task[rows[-1]]) + 1 for run, rows in recorded.rows_of.items()}
    )
    runs = _by_method({(run.method, run.seed): run for run in recorded.runs})
    return [
        {
            "study": recorded.section.study,
            "stream": recorded.section.stream,
            "method": method,
            "metric": recorded.metric,
            "window": window,
            "seeds": len(reached.get(method, {}).keys() | runs.get(method, {}).keys()),
            "statuses": _statuses(runs.get(method, {})),
            "tasks": max(reached.get(method, {}).values(), default=0),
            "first": _mean(first.get(method, {})),
            "last": _mean(last.get(method, {})),
            "last_seeds": len(last.get(method, {})),
            "gap": _mean(gaps.get(method, {})),
            **_difference(method, last),
            **_time(method, runs, reached),
        }
        for method in recorded.methods
    ]


def _window_means(recorded: Recorded, start: int, size: int) -> dict[str, dict[int, float]]:
    """Per method and seed, the mean over `size` tasks from `start` on, if all were measured."""
    means = {}
    for run, (task, values) in recorded.by_run(recorded.metric).items():
        inside = (task >= start) & (task < start + size)
        if len(np.unique(task[inside])) == size:
            means[run] = float(np.mean(values[inside]))
    return _by_method(means)


def _gaps(recorded: Recorded) -> dict[tuple[str, int], float]:
    """Per method and seed; where no run says how many tasks it was to have, the furthest's."""
    own = recorded.values(recorded.metric)
    new = recorded.values(data.reference(recorded.metric))
    asked = {
        (run.method, run.seed): run.configuration["tasks"]
        for run in recorded.runs
        if isinstance(run.configuration.get("tasks"), int)
    }
    gaps = {
        run: late_gap(own[rows], new[rows], asked.get(run, recorded.length))
        for run, rows in recorded.rows_of.items()
    }
    return {run: gap for run, gap in gaps.items() if np.isfinite(gap)}


def _by_method(found: Mapping[tuple[str, int], Any]) -> dict[str, dict[int, Any]]:
    grouped: dict[str, dict[int, Any]] = {}
    for (method, seed), value in sorted(found.items(), key=lambda item: item[0]):
        grouped.setdefault(method, {})[seed] = value
    return grouped


def _statuses(runs: Mapping[int, Run]) -> dict[str, int]:
    found = [run.status or "unknown" for run in runs.values()]
    return {status: found.count(status) for status in sorted(set(found))}


def _mean(by_seed: dict[int, float]) -> float | None:
    return float(np.mean(list(by_seed.values()))) if by_seed else None


def _difference(method: str, last: dict[str, dict[int, float]]) -> dict[str, Any]:
    ours, theirs = last.get(method, {}), last.get(BASELINE, {})
    shared = sorted(ours.keys() & theirs.keys())
    empty = {"difference": None, "low": None, "high": None, "pairs": len(shared)}
    if method == BASELINE or not shared:
        return empty
    if len(shared) == 1:
        return empty | {"difference": ours[shared[0]] - theirs[shared[0]]}
    from neoteny.statistics import paired_difference

    found = paired_difference({s: ours[s] for s in shared}, {s: theirs[s] for s in shared})
    return empty | {"difference": found.mean, "low": found.low, "high": found.high}


def _time(
    method: str, runs: Mapping[str, dict[int, Run]], reached: Mapping[str, dict[int, int]]
) -> dict[str, Any]:
    ours, theirs = _median(runs.get(method, {})), _median(runs.get(BASELINE, {}))
    longest = [max(reached.get(name, {}).values(), default=0) for name in (method, BASELINE)]
    relative = ours / theirs if ours and theirs and min(longest) > TIMED else None
    return {"microseconds": ours, "relative_time": relative}


def _median(runs: Mapping[int, Run]) -> float | None:
    found = [run.microseconds for run in runs.values()]
    times = [time for time in found if time is not None and np.isfinite(time)]
    return float(np.median(times)) if times else None
