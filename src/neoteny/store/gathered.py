"""Tables of many runs, kept as one file in the cache: ten thousand take half a minute to open.

Only runs that have ended are kept, each with the stamp of the files that it was read from. A run
that is new is read and added; where one was removed or has another stamp, all are read again. So
what is kept never outlives what it was made from, and whoever cannot write it does without.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neoteny import cache

FEW = 100
"""Runs that are opened one by one: fewer are not worth a file, nor so many new ones another."""

UNUSED = 30 * 24 * 3600.0
"""Seconds after which what nobody has asked for is forgotten."""

RUN, ROW = '"neoteny run"', '"neoteny row"'
"""Columns that say where a row is from: the name of its run, and its place in what was read."""

TOGETHER = 250
"""Runs that are read at once; to hold thousands of files open takes gigabytes."""

Read = Callable[[Sequence[str], str], None]
"""`(names, table)`: make the table of those runs, one after the other, with `RUN`."""


def create(
    database: Any,
    table: str,
    folder: Path,
    names: Sequence[str],
    stamps: Mapping[str, str],
    read: Read,
) -> None:
    """Create `table` with the rows of all runs, in their order, reading as few anew as may be.

    **Arguments:**

    - `folder`: whose runs they are; what is kept is kept for it.
    - `names`: of all runs. `stamps`: of those that have ended, what changes when they do.
    """
    place = _place(folder, table)
    for trial in range(_TRIALS):
        use = len(stamps) >= FEW and trial < _TRIALS - 1
        if _created(database, table, place, names, stamps, read, use):
            return


_TRIALS = 3  # the last without a file, which other processes may replace at any time


def _created(
    database: Any,
    table: str,
    place: Path,
    names: Sequence[str],
    stamps: Mapping[str, str],
    read: Read,
    use: bool,
) -> bool:
    """Create the table; false, and none there, if the file was replaced while it was read."""
    kept = _kept(database, place, stamps) if use else {}
    missing = [name for name in names if name in stamps and name not in kept]
    new = _parts(database, read, missing, "new")
    if use and len(missing) >= FEW and _keep(database, place, kept, new, names, stamps):
        _drop(database, new)
        kept, new = dict(stamps), []
    others = _parts(database, read, [name for name in names if name not in stamps], "other")
    whole = _whole(database, place, [kept, new, others], names)
    database.execute(f"CREATE TABLE {table} AS SELECT * EXCLUDE ({RUN}, {ROW}) FROM ({whole})")
    _drop(database, [*new, *others, "places"])
    if kept and _kept(database, place, stamps) != kept:
        _drop(database, [table])
        return False
    return True


def _drop(database: Any, tables: Sequence[str]) -> None:
    for name in tables:
        database.execute(f"DROP TABLE IF EXISTS {name}")


def _parts(database: Any, read: Read, names: Sequence[str], kind: str) -> list[str]:
    parts = []
    for start in range(0, len(names), TOGETHER):
        parts.append(f"part_{kind}_{start}")
        read(names[start : start + TOGETHER], parts[-1])
    return parts


def _whole(database: Any, place: Path, kinds: Sequence[Any], names: Sequence[str]) -> str:
    """SQL for the rows of all sources, in the order of their runs: brought into it if need be.

    `kinds` are what is kept, in the file, and the tables of runs that are new, or go on.
    """
    kept, *tables = kinds
    union = [f"FROM {_literal(place)}"] * bool(kept)
    union += [f"SELECT *, rowid AS {ROW} FROM {name}" for kind in tables for name in kind]
    whole = " UNION ALL BY NAME ".join(union)
    if sum(map(bool, kinds)) == 1:
        return whole
    database.execute("CREATE OR REPLACE TABLE places (name VARCHAR, place BIGINT)")
    database.execute("INSERT INTO places SELECT unnest(?), unnest(range(?))", [names, len(names)])
    number = f"(SELECT place FROM places WHERE name = rows.{RUN})"
    return f"SELECT * FROM ({whole}) AS rows ORDER BY {number}, {ROW}"


def _kept(database: Any, place: Path, stamps: Mapping[str, str]) -> dict[str, str]:
    """The runs that are kept and their stamps; none if one of them is not as it was."""
    import duckdb

    try:
        answer = database.execute(
            "SELECT value FROM parquet_kv_metadata(?) WHERE key = 'runs'", [str(place)]
        ).fetchone()
        kept = json.loads(answer[0])
        database.execute(f"DESCRIBE FROM {_literal(place)}")
        os.utime(place)
    except (duckdb.Error, OSError, ValueError, TypeError):  # nothing, or nothing whole
        return {}
    return kept if kept.items() <= stamps.items() else {}


def _keep(
    database: Any,
    place: Path,
    kept: Mapping[str, str],
    new: Sequence[str],
    names: Sequence[str],
    stamps: Mapping[str, str],
) -> bool:
    """Put what is kept and what is new in the file; false where that cannot be."""
    import duckdb

    whole = _whole(database, place, [kept, new], names)
    runs = json.dumps(dict(stamps)).replace("'", "''")
    form = f"FORMAT parquet, KV_METADATA {{runs: '{runs}'}}"
    try:
        with cache.placed(place) as part:
            database.execute(f"COPY ({whole}) TO {_literal(part)} ({form})")
            if kept and _kept(database, place, stamps) != kept:
                raise OSError("Another process has replaced the file while it was read.")
            for other in place.parent.glob("*.parquet"):
                if cache.is_older(other, UNUSED):
                    other.unlink()
    except (OSError, duckdb.IOException):
        return False
    return True


def _place(folder: Path, table: str) -> Path:
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]
    return cache.folder() / "tables" / f"{name}-{table}.parquet"


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def stamp(paths: Sequence[Path]) -> str:
    """What changes when a file is replaced, removed, added or written to."""
    digest = hashlib.sha256()
    for path in paths:
        found = path.stat()
        about = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        digest.update(f"{path.name}\0{about}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
