"""What the report asks of the store's tables, in SQL that forgives what is missing.

Tables `tasks`, `runs` and `spectra` may lack columns, rows, or be absent altogether: an
absent column reads as NULL, and NULL and NaN alike mean "not measured". Every question is
asked once for all streams together, so that ten thousand runs take no more queries than ten.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import duckdb
import numpy as np

from neoteny import store
from neoteny.errors import UserError

IDENTITY = {"study": "VARCHAR", "stream": "VARCHAR", "method": "VARCHAR", "seed": "BIGINT"}
"""What tells a run from all others."""


class Section(NamedTuple):
    """One stream of one study: what the report gives a section to."""

    study: str
    stream: str


class Run(NamedTuple):
    """One run as its record has it; a configuration that is no JSON is empty."""

    section: Section
    method: str
    seed: int
    status: str | None
    reason: str | None
    seconds: float | None
    microseconds: float | None
    configuration: dict[str, Any]


def columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The names of the columns of `table`, none where there is no such table."""
    try:
        return [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
    except duckdb.CatalogException:
        return []


def source(connection: duckdb.DuckDBPyConnection, table: str, **needed: str) -> str:
    """A sub-select of `table` that has the identity columns and those `needed`, typed.

    `needed` maps a column to its SQL type; what the table lacks, or what cannot be read as
    that type, is NULL, and a name that is NULL is empty. A missing table is an empty one.
    """
    present = set(columns(connection, table))
    chosen = [
        _typed(name, kind, name in present, name in IDENTITY)
        for name, kind in (IDENTITY | needed).items()
    ]
    origin = f"FROM {table}" if present else "WHERE false"
    return f"(SELECT {', '.join(chosen)} {origin})"


def _typed(name: str, kind: str, present: bool, names_a_run: bool) -> str:
    value = f"TRY_CAST({store.quote(name)} AS {kind})" if present else f"CAST(NULL AS {kind})"
    if kind == "VARCHAR" and (names_a_run or not present):
        value = f"coalesce({value}, '')"
    return f"{value} AS {store.quote(name)}"


def arrays(answer: duckdb.DuckDBPyConnection) -> dict[str, np.ndarray]:
    """The columns of an answer that has numbers alone, none of them NULL."""
    return {name: np.ma.getdata(np.asanyarray(c)) for name, c in answer.fetchnumpy().items()}


def sections(connection: duckdb.DuckDBPyConnection) -> list[Section]:
    """Every (study, stream) that has a run or a task, in order of name."""
    return sorted({section for section, _ in _lines(connection)})


def methods(connection: duckdb.DuckDBPyConnection, section: Section | None = None) -> list[str]:
    """Methods of a section, or of all; the baseline `bp` first, then `l2_er`, then by name."""
    found = _lines(connection)
    return ordered({method for place, method in found if section in (None, place)})


def _lines(connection: duckdb.DuckDBPyConnection) -> set[tuple[Section, str]]:
    runs, tasks = source(connection, "runs"), source(connection, "tasks")
    found = connection.execute(
        f"SELECT study, stream, method FROM {runs} UNION SELECT study, stream, method FROM {tasks}"
    ).fetchall()
    return {(Section(study, stream), method) for study, stream, method in found}


def ordered(names: Iterable[str]) -> list[str]:
    """Methods in the order of every legend: `bp`, `l2_er`, then by name."""
    first = {"bp": 0, "l2_er": 1}
    return sorted(names, key=lambda name: (first.get(name, 2), name))


def every_run(connection: duckdb.DuckDBPyConnection) -> list[Run]:
    """Every run, by stream, method and seed."""
    table = source(
        connection,
        "runs",
        status="VARCHAR",
        reason="VARCHAR",
        seconds="DOUBLE",
        microseconds_per_step="DOUBLE",
        config="VARCHAR",
    )
    rows = connection.execute(f"SELECT * FROM {table} ORDER BY study, stream, method, seed")
    return [
        Run(
            Section(study, stream),
            method,
            int(seed or 0),
            status,
            reason,
            time,
            step,
            document(text),
        )
        for study, stream, method, seed, status, reason, time, step, text in rows.fetchall()
    ]


def provenances(connection: duckdb.DuckDBPyConnection) -> list[tuple[dict, int]]:
    """Every provenance that some run has, with the number of its runs."""
    table = source(connection, "runs", provenance="VARCHAR")
    rows = connection.execute(
        f"SELECT provenance, count(*) FROM {table} GROUP BY ALL ORDER BY min(method), 1"
    ).fetchall()
    found = [(document(text), count) for text, count in rows]
    return [(entries, many) for entries, many in found if entries]


def document(text: Any) -> dict[str, Any]:
    """JSON text as a dictionary, empty if it is none."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


ACCURACIES = ("online_accuracy", "final_accuracy", "heldout_accuracy")
RETURNS = ("online_return", "final_return")


def metrics(
    connection: duckdb.DuckDBPyConnection, known: Iterable[Run] | None = None
) -> dict[Section, str]:
    """What each stream is judged by: as configured, else the first accuracy that was measured.

    `known` are the runs, where the caller has read them already.
    """
    found = {section: ACCURACIES[0] for section in sections(connection)} | _measured(connection)
    for run in reversed(list(every_run(connection) if known is None else known)):
        setting = run.configuration.get("setting")
        configured = setting.get("metric") if isinstance(setting, Mapping) else None
        if configured in ACCURACIES + RETURNS:
            found[run.section] = configured
    return found


def _measured(connection: duckdb.DuckDBPyConnection) -> dict[Section, str]:
    """The first accuracy or return that each stream has any finite value of."""
    kinds = ACCURACIES + RETURNS
    tasks = source(connection, "tasks", **dict.fromkeys(kinds, "DOUBLE"))
    seen = ", ".join(f'bool_or(isfinite("{kind}"))' for kind in kinds)
    rows = connection.execute(f"SELECT study, stream, {seen} FROM {tasks} GROUP BY ALL").fetchall()
    return {
        Section(study, stream): next(k for k, has in zip(kinds, flags, strict=True) if has)
        for study, stream, *flags in rows
        if any(flags)
    }


def metric(connection: duckdb.DuckDBPyConnection, section: Section) -> str:
    """What one stream is judged by; see `metrics`, which asks for all at once."""
    return metrics(connection).get(section, ACCURACIES[0])


def alike(metric: str) -> tuple[str, ...]:
    """All metrics of the same kind: accuracies, or returns."""
    return RETURNS if metric in RETURNS else ACCURACIES


def reference(accuracy: str) -> str:
    """The column that holds a fresh network's `accuracy`, or return, on the same task."""
    return {"final_accuracy": "fresh_accuracy"}.get(accuracy, f"fresh_{accuracy}")


class Score(NamedTuple):
    """A run's mean over its tasks of what its stream is judged by.

    None if the run did not come through, so that its mean may not stand beside others, or if
    nothing was measured.
    """

    section: Section
    method: str
    seed: int
    metric: str
    score: float | None


def scores(connection: duckdb.DuckDBPyConnection) -> list[Score]:
    """The score of every run, by stream, method and seed."""
    judged = metrics(connection)
    kinds = sorted(set(judged.values()))
    if not kinds:
        return []
    table = source(connection, "runs", status="VARCHAR")
    tasks = source(connection, "tasks", **dict.fromkeys(kinds, "DOUBLE"))
    means = ", ".join(f'avg("{kind}") FILTER (isfinite("{kind}"))' for kind in kinds)
    rows = connection.execute(
        f"SELECT study, stream, method, seed, status = 'finished', {means} FROM {table} "
        f"LEFT JOIN {tasks} USING (study, stream, method, seed) "
        "GROUP BY study, stream, method, seed, status ORDER BY study, stream, method, seed"
    ).fetchall()
    found = []
    for study, stream, method, seed, finished, *values in rows:
        kind = judged[Section(study, stream)]
        score = values[kinds.index(kind)] if finished else None
        found.append(Score(Section(study, stream), method, int(seed or 0), kind, score))
    return found


def refuse_twice(connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse tables in which a run is there twice: their rows could not be told apart.

    **Raises:** `UserError`, naming both folders.
    """
    table = source(connection, "runs", folder="VARCHAR")
    twice = connection.execute(
        f"SELECT method, stream, seed, min(folder), max(folder) FROM {table} "
        "GROUP BY study, stream, method, seed HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    ).fetchone()
    if twice:
        raise UserError(
            "`{}` on `{}` with seed {} is there twice, in `{}` and `{}`. Name a folder that has "
            "one of them.".format(*twice)
        )
