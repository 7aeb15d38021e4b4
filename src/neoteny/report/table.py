"""The table of methods: how well each starts, how well it ends, and what it costs."""

from typing import Any

import duckdb
import numpy as np

from neoteny.report import data
from neoteny.report.data import Section, source
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
    found = data.sections(connection)
    chosen = [s for s in found if s.stream == stream and study in (None, s.study)]
    if not chosen:
        raise ValueError(_missing_message(stream, study, found))
    return [row for section in chosen for row in _rows(connection, section)]


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
    found = data.sections(connection)
    several = len({section.study for section in found}) > 1
    rows = []
    for section in found:
        name = f"{section.study}: {section.stream}" if several else section.stream
        for row in _rows(connection, section):
            rows.append({column: row[column] for column in SUMMARY} | {"stream": name})
    return rows


def _missing_message(stream: str, study: str | None, found: list[Section]) -> str:
    known = ", ".join(sorted({repr(section.stream) for section in found})) or "no stream at all"
    place = "" if study is None else f" of study {study!r}"
    return f"`stream` is {stream!r}{place}, but these tables hold {known}. Pass one of those."


def _rows(connection: duckdb.DuckDBPyConnection, section: Section) -> list[dict[str, Any]]:
    tasks = data.length(connection, section)
    window, accuracy = max(1, tasks // 10), data.metric(connection, section)
    first = _window_means(connection, section, accuracy, 0, window)
    last = _window_means(connection, section, accuracy, max(0, tasks - window), window)
    gaps = _gaps(connection, section, accuracy, tasks)
    reached, runs = _reached(connection, section), _runs(connection, section)
    return [
        {
            "study": section.study,
            "stream": section.stream,
            "method": method,
            "metric": accuracy,
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
        for method in data.methods(connection, section)
    ]


def _window_means(
    connection: duckdb.DuckDBPyConnection, section: Section, accuracy: str, start: int, size: int
) -> dict[str, dict[int, float]]:
    """Per method and seed, the mean over `size` tasks from `start` on, if all were measured."""
    tasks = source(connection, "tasks", task="BIGINT", **{accuracy: "DOUBLE"})
    rows = connection.execute(
        f'SELECT method, seed, avg("{accuracy}") FROM {tasks} '
        f'WHERE study = ? AND stream = ? AND task >= ? AND task < ? AND isfinite("{accuracy}") '
        "GROUP BY method, seed HAVING count(DISTINCT task) = ? ORDER BY seed",
        [*section, start, start + size, size],
    ).fetchall()
    return _by_method(rows)


def _gaps(
    connection: duckdb.DuckDBPyConnection, section: Section, accuracy: str, furthest: int
) -> dict[str, dict[int, float]]:
    """Per method and seed; where no run says how many tasks it was to have, the furthest's."""
    fresh = data.reference(accuracy)
    tasks = source(connection, "tasks", task="BIGINT", **{accuracy: "DOUBLE", fresh: "DOUBLE"})
    rows = connection.execute(
        f'SELECT method, seed, list("{accuracy}" ORDER BY task), list("{fresh}" ORDER BY task) '
        f"FROM {tasks} WHERE study = ? AND stream = ? GROUP BY method, seed ORDER BY seed",
        list(section),
    ).fetchall()
    asked = {
        (method, seed): document["tasks"]
        for method, seed, document in data.configurations(connection, section)
        if isinstance(document.get("tasks"), int)
    }
    gaps = [
        (
            method,
            seed,
            late_gap(
                np.array(own, float), np.array(new, float), asked.get((method, seed), furthest)
            ),
        )
        for method, seed, own, new in rows
    ]
    return _by_method([row for row in gaps if np.isfinite(row[2])])


def _reached(connection: duckdb.DuckDBPyConnection, section: Section) -> dict[str, dict[int, int]]:
    tasks = source(connection, "tasks", task="BIGINT")
    rows = connection.execute(
        f"SELECT method, seed, max(task) + 1 FROM {tasks} WHERE study = ? AND stream = ? "
        "AND task IS NOT NULL GROUP BY method, seed",
        list(section),
    ).fetchall()
    return _by_method(rows)


def _runs(connection: duckdb.DuckDBPyConnection, section: Section) -> dict[str, dict[int, tuple]]:
    runs = source(connection, "runs", status="VARCHAR", microseconds_per_step="DOUBLE")
    rows = connection.execute(
        f"SELECT method, seed, status, microseconds_per_step FROM {runs} "
        "WHERE study = ? AND stream = ? ORDER BY seed",
        list(section),
    ).fetchall()
    return _by_method([(method, seed, (status, time)) for method, seed, status, time in rows])


def _by_method(rows: list[tuple]) -> dict[str, dict[int, Any]]:
    grouped: dict[str, dict[int, Any]] = {}
    for method, seed, value in rows:
        grouped.setdefault(method or "", {})[int(seed or 0)] = value
    return grouped


def _statuses(runs: dict[int, tuple]) -> dict[str, int]:
    found = [status or "unknown" for status, _ in runs.values()]
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
    method: str, runs: dict[str, dict[int, tuple]], reached: dict[str, dict[int, int]]
) -> dict[str, Any]:
    ours, theirs = _median(runs.get(method, {})), _median(runs.get(BASELINE, {}))
    longest = [max(reached.get(name, {}).values(), default=0) for name in (method, BASELINE)]
    relative = ours / theirs if ours and theirs and min(longest) > TIMED else None
    return {"microseconds": ours, "relative_time": relative}


def _median(runs: dict[int, tuple]) -> float | None:
    times = [time for _, time in runs.values() if time is not None and np.isfinite(time)]
    return float(np.median(times)) if times else None
