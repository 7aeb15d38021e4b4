"""The columns of the tables, and how names and files are spelt in SQL."""

import re
from collections.abc import Mapping
from pathlib import Path

KEY = {"study": "VARCHAR", "stream": "VARCHAR", "method": "VARCHAR", "seed": "BIGINT"}
"""What tells a run from all others; every table begins with it."""

TASKS = {
    **KEY,
    "task": "BIGINT",
    **{f"{kind}_accuracy": "DOUBLE" for kind in ("online", "final", "heldout", "fresh")},
}
"""Columns that every row of a task has, before those that its probes name."""

RUNS = {
    **KEY,
    "status": "VARCHAR",
    "reason": "VARCHAR",
    "tasks": "BIGINT",
    "seconds": "DOUBLE",
    "microseconds_per_step": "DOUBLE",
    "folder": "VARCHAR",
    "config": "VARCHAR",
    "provenance": "VARCHAR",
}

SPECTRA = {
    **KEY,
    "task": "BIGINT",
    "phase": "VARCHAR",
    "matrix": "VARCHAR",
    "probe": "BIGINT",
    "node": "DOUBLE",
    "weight": "DOUBLE",
    "size": "BIGINT",
}


def create(table: str, columns: Mapping[str, str]) -> str:
    """SQL that makes an empty `table` with `columns`, name to type."""
    return f"CREATE TABLE {table} ({', '.join(f'{quote(n)} {k}' for n, k in columns.items())})"


def quote(name: str) -> str:
    """`name` as an identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def parquet(paths: list[Path], *, filename: str | None = None, by_name: bool = True) -> str:
    """SQL that reads the files, whatever their names: DuckDB would take `*?[` for patterns.

    With `filename` a column of that name, as an identifier, says which file a row is from. All have
    the columns of any, or unless `by_name`, of the first.
    """
    literal = [re.sub(r"([*?\[])", r"[\1]", str(path)).replace("'", "''") for path in paths]
    files = ", ".join(f"'{path}'" for path in literal)
    name = "" if filename is None else f", filename = {filename}"
    union = "true" if by_name else "false"
    return f"read_parquet([{files}], union_by_name = {union}, hive_partitioning = false{name})"


def first_line(error: Exception) -> str:
    """What DuckDB says is wrong, as one sentence, without its picture of the SQL."""
    text = str(error).strip().split("\n")[0].rstrip(".!: ")
    return f"{text}."
