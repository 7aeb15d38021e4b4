"""What the report asks of the store's tables, in SQL that forgives what is missing.

Tables `tasks`, `runs` and `spectra` may lack columns, rows, or be absent altogether: an
absent column reads as NULL, and NULL and NaN alike mean "not measured".
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import duckdb
import numpy as np

from neoteny.errors import UserError

MOST_POINTS = 500
"""Longer lines are drawn as means over blocks of tasks: more than a screen has pixels for."""

_IDENTITY = {"study": "VARCHAR", "stream": "VARCHAR", "method": "VARCHAR", "seed": "BIGINT"}


class Section(NamedTuple):
    """One stream of one study: what the report gives a section to."""

    study: str
    stream: str


class Curve(NamedTuple):
    """A quantity of one method along tasks: its mean over seeds, lowest and highest seed.

    `seeds` counts the seeds behind each point, fewer where runs stopped early.
    """

    task: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray


def columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The names of the columns of `table`, none where there is no such table."""
    try:
        return [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
    except duckdb.CatalogException:
        return []


def source(connection: duckdb.DuckDBPyConnection, table: str, **needed: str) -> str:
    """A sub-select of `table` that has the identity columns and those `needed`, typed.

    `needed` maps a column to its SQL type; what the table lacks, or what cannot be read as
    that type, is NULL. A missing table is an empty one.
    """
    present = set(columns(connection, table))
    wanted = _IDENTITY | needed
    chosen = [
        f'TRY_CAST("{name}" AS {kind}) AS "{name}"'
        if name in present
        else f'CAST({_default(kind)} AS {kind}) AS "{name}"'
        for name, kind in wanted.items()
    ]
    origin = f"FROM {table}" if present else "WHERE false"
    return f"(SELECT {', '.join(chosen)} {origin})"


def _default(kind: str) -> str:
    return "''" if kind == "VARCHAR" else "NULL"


def sections(connection: duckdb.DuckDBPyConnection) -> list[Section]:
    """Every (study, stream) that has a run or a task, in order of name."""
    runs, tasks = source(connection, "runs"), source(connection, "tasks")
    found = connection.execute(
        f"SELECT study, stream FROM {runs} UNION SELECT study, stream FROM {tasks} "
        "ORDER BY study, stream"
    ).fetchall()
    return [Section(study or "", stream or "") for study, stream in found]


def methods(connection: duckdb.DuckDBPyConnection, section: Section | None = None) -> list[str]:
    """Methods of a section, or of all; the baseline `bp` first, then `l2_er`, then by name."""
    runs, tasks = source(connection, "runs"), source(connection, "tasks")
    where, values = ("", []) if section is None else ("WHERE study = ? AND stream = ?", section)
    found = connection.execute(
        f"SELECT DISTINCT method FROM (SELECT study, stream, method FROM {runs} "
        f"UNION ALL SELECT study, stream, method FROM {tasks}) {where}",
        list(values),
    ).fetchall()
    return ordered(row[0] or "" for row in found)


def ordered(names: Iterable[str]) -> list[str]:
    """Methods in the order of every legend: `bp`, `l2_er`, then by name."""
    first = {"bp": 0, "l2_er": 1}
    return sorted(names, key=lambda name: (first.get(name, 2), name))


def configurations(
    connection: duckdb.DuckDBPyConnection, section: Section
) -> list[tuple[str, int, dict]]:
    """`(method, seed, configuration)` of each run; a configuration that is no JSON is empty."""
    return _documents(connection, section, "config")


def provenances(connection: duckdb.DuckDBPyConnection) -> list[dict]:
    """The provenance of every run that has one."""
    found = [_documents(connection, section, "provenance") for section in sections(connection)]
    return [document for rows in found for _, _, document in rows if document]


def _documents(
    connection: duckdb.DuckDBPyConnection, section: Section, column: str
) -> list[tuple[str, int, dict]]:
    runs = source(connection, "runs", **{column: "VARCHAR"})
    rows = connection.execute(
        f'SELECT method, seed, "{column}" FROM {runs} WHERE study = ? AND stream = ? '
        "ORDER BY method, seed",
        list(section),
    ).fetchall()
    return [(method or "", int(seed or 0), _json(text)) for method, seed, text in rows]


def _json(text: Any) -> dict:
    try:
        document = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def setting(connection: duckdb.DuckDBPyConnection, section: Section, *path: str) -> Any:
    """The first value that any run of the section has at `setting.<path>`, else None."""
    for _, _, configuration in configurations(connection, section):
        value: Any = configuration.get("setting")
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


ACCURACIES = ("online_accuracy", "final_accuracy", "heldout_accuracy")
RETURNS = ("online_return", "final_return")


def metric(connection: duckdb.DuckDBPyConnection, section: Section) -> str:
    """What this stream is judged by: as configured, else the first accuracy that was measured."""
    configured = setting(connection, section, "metric")
    if configured in ACCURACIES + RETURNS:
        return configured
    found = (name for name in ACCURACIES + RETURNS if measured(connection, section, name))
    return next(found, ACCURACIES[0])


def alike(metric: str) -> tuple[str, ...]:
    """All metrics of the same kind: accuracies, or returns."""
    return RETURNS if metric in RETURNS else ACCURACIES


def reference(accuracy: str) -> str:
    """The column that holds a fresh network's `accuracy`, or return, on the same task."""
    return {"final_accuracy": "fresh_accuracy"}.get(accuracy, f"fresh_{accuracy}")


def length(connection: duckdb.DuckDBPyConnection, section: Section) -> int:
    """How many tasks the furthest run of the section has reached."""
    tasks = source(connection, "tasks", task="BIGINT")
    row = connection.execute(
        f"SELECT max(task) + 1 FROM {tasks} WHERE study = ? AND stream = ?", list(section)
    ).fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def block(connection: duckdb.DuckDBPyConnection, section: Section) -> int:
    """How many consecutive tasks share one point of a line: 1 up to `MOST_POINTS` tasks."""
    return max(1, -(-length(connection, section) // MOST_POINTS))


def refuse_twice(connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse tables in which a run is there twice: their rows could not be told apart.

    **Raises:** `UserError`, naming both folders.
    """
    runs = source(connection, "runs", folder="VARCHAR")
    twice = connection.execute(
        f"SELECT method, stream, seed, min(folder), max(folder) FROM {runs} "
        "GROUP BY study, stream, method, seed HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
    ).fetchone()
    if twice:
        raise UserError(
            "`{}` on `{}` with seed {} is there twice, in `{}` and `{}`. Name a folder that has "
            "one of them.".format(*twice)
        )


def layers(connection: duckdb.DuckDBPyConnection, *names: str) -> list[int]:
    """The layer numbers `n` for which a column `<name>_n` exists for some of `names`."""
    pattern = re.compile(rf"(?:{'|'.join(names)})_(\d+)")
    found = (pattern.fullmatch(name) for name in columns(connection, "tasks"))
    return sorted({int(match[1]) for match in found if match})


def measured(connection: duckdb.DuckDBPyConnection, section: Section, column: str) -> bool:
    """Whether any task of the section has a finite value in `column`."""
    tasks = source(connection, "tasks", **{column: "DOUBLE"})
    found = connection.execute(
        f'SELECT 1 FROM {tasks} WHERE study = ? AND stream = ? AND isfinite("{column}") LIMIT 1',
        list(section),
    ).fetchone()
    return found is not None


def methods_agree(connection: duckdb.DuckDBPyConnection, section: Section, column: str) -> bool:
    """Whether all methods have the same `column` wherever seed and task are the same."""
    tasks = source(connection, "tasks", task="BIGINT", **{column: "DOUBLE"})
    row = connection.execute(
        f'SELECT max(spread) FROM (SELECT max("{column}") - min("{column}") AS spread '
        f'FROM {tasks} WHERE study = ? AND stream = ? AND isfinite("{column}") '
        "GROUP BY seed, task)",
        list(section),
    ).fetchone()
    return bool(row and row[0] is not None and row[0] < 1e-9)


def curves(
    connection: duckdb.DuckDBPyConnection,
    section: Section,
    column: str,
    *,
    window: int = 1,
    minus: str | None = None,
    pooled: bool = False,
) -> dict[str, Curve]:
    """The curve of `column` for each method that has any finite value in it.

    With `minus`, the curve of `column` minus that column, where both were measured.

    Each seed is first averaged over a centred window of `window` tasks and over blocks of
    tasks (see `block`); mean, lowest and highest are then taken over seeds. With `pooled`,
    there is one curve, named "", for what methods share.
    """
    needed = {column: "DOUBLE"} | ({minus: "DOUBLE"} if minus else {})
    tasks = source(connection, "tasks", task="BIGINT", **needed)
    value = f'"{column}" - "{minus}"' if minus else f'"{column}"'
    if pooled:
        tasks = (
            f"(SELECT study, stream, '' AS method, seed, task, "
            f'max("{column}") FILTER (isfinite("{column}")) AS "{column}" '
            f"FROM {tasks} GROUP BY study, stream, seed, task)"
        )
    half, size = (window - 1) // 2, block(connection, section)
    rows = connection.execute(
        f"""
        WITH moving AS (
            SELECT method, seed, task, avg({value}) OVER (
                PARTITION BY method, seed ORDER BY task
                RANGE BETWEEN {half} PRECEDING AND {half} FOLLOWING) AS value
            FROM {tasks}
            WHERE study = ? AND stream = ? AND task IS NOT NULL AND isfinite({value})
        ), blocks AS (
            SELECT method, seed, task // {size} AS part, avg(task) AS task, avg(value) AS value
            FROM moving GROUP BY method, seed, part
        )
        SELECT method, avg(task), avg(value), min(value), max(value), count(*)
        FROM blocks GROUP BY method, part ORDER BY method, part
        """,
        list(section),
    ).fetchall()
    grouped: dict[str, list] = {}
    for method, *point in rows:
        grouped.setdefault(method or "", []).append(point)
    return {name: Curve(*np.array(points, float).T) for name, points in grouped.items()}
