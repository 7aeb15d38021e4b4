"""Reading runs, while others may write them: which there are, how far, and SQL over them all."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from neoteny.store import loading
from neoteny.store.files import StoreError, is_locked
from neoteny.store.records import read_record
from neoteny.store.sql import KEY, first_line


class Result(NamedTuple):
    """What a query found: names of the columns, and the rows under them."""

    columns: list[str]
    rows: list[tuple]


TUNING = "tuning.json"
"""The file that marks a folder of runs in search of settings."""


def find_runs(folder: Path | str) -> list[Path]:
    """All run folders at or below `folder`, sorted, with seed-2 before seed-10.

    Without those that a tuning made below it, which are no results: name its own folder for them.
    """
    found = []
    for place, below, files in os.walk(folder):
        if TUNING in files and Path(place) != Path(folder):
            below.clear()
            continue
        if "run.json" in files:
            found.append(Path(place))
            below.clear()
    return sorted(found, key=lambda path: [natural(part) for part in path.parts])


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts texts as people would: `seed-2` before `seed-10`."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", text)]


def connect(folder: Path | str, *, spectra: bool = True, writable: Path | None = None):
    """A DuckDB connection in memory, with the tables of all runs at or below `folder`.

    - `runs`: study, stream, method, seed, status, reason, tasks (done), seconds,
      microseconds_per_step, folder, config and provenance (JSON text).
    - `tasks`: study, stream, method, seed, task, online_accuracy, final_accuracy,
      heldout_accuracy, fresh_accuracy, and all other columns of any run.
    - `spectra`: study, stream, method, seed, task, phase, matrix, probe, node, weight,
      size; empty with `spectra=False`, which spares reading thousands of files.

    The same question has the same bits for an answer every time. The tables are copies: nothing
    done to them reaches the folder. Where runs disagree on the type of a column, it has the
    wider one. A run whose record says it is running while no process holds its lock has status
    `"interrupted"`.

    The connection has no way to files, settings or extensions: what is stored may be anybody's.
    With `writable` it may write in that folder. Ask it within `asking`, for the same reason.

    **Raises:** `StoreError` if there is no run, or a file is damaged.
    """
    import duckdb

    folder = Path(folder).absolute()
    records = _records(folder)
    database = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
    with asking():
        loading.load(database, folder, records, spectra)
        if writable is not None:
            place = str(writable.absolute()).replace("'", "''")
            database.execute(f"SET allowed_directories = ['{place}/']")
        for setting in _SEALED:
            database.execute(f"SET {setting}")
    return database


@contextmanager
def asking() -> Iterator[None]:
    """Where tables are asked that anybody may have written: what they lack is no mistake of ours.

    **Raises:** `StoreError` in place of DuckDB's errors.
    """
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise StoreError(
            f"The tables of these runs are not as neoteny writes them: {first_line(error)}"
        ) from error


def query(folder: Path | str, sql: str) -> Result:
    """Answer `sql` over the tables of `connect`, with no way to the file system.

    **Raises:** `StoreError` if there is no run, or with DuckDB's own words if the SQL is
    wrong or asks for files, settings or extensions.
    """
    import duckdb

    if sql != sql.encode(errors="replace").decode():
        raise StoreError(f"The SQL {sql!r} is no text. Type it anew, in UTF-8.")
    database = connect(folder, spectra="spectra" in sql.lower())
    try:
        tables = f"Tables and columns: {_listing(database, sql)}"
        answer = database.execute(sql)
        if answer is None or answer.description is None:
            raise StoreError(f"The SQL {sql!r} asks for nothing. {tables}")
        return Result([column[0] for column in answer.description], answer.fetchall())
    except duckdb.Error as error:
        unknown = "does not exist" in str(error) or "not found" in str(error)
        hint = f" {tables}" if unknown else ""
        hint = " A query only reads the tables." if _refused(error) else hint
        raise StoreError(first_line(error) + hint) from error
    finally:
        database.close()


_SEALED = (
    "threads = 1",  # sums over several come out in another order, and so other bits, every time
    "python_enable_replacements = false",
    "temp_directory = ''",
    "enable_external_access = false",
    "lock_configuration = true",
)


def _listing(database, sql: str) -> str:
    """The columns of the tables that `sql` names, or of all if it names none."""
    found = {
        table: [name for name, *_ in database.execute(f"DESCRIBE {table}").fetchall()]
        for table in ("runs", "tasks", "spectra")
    }
    named = [table for table in found if re.search(rf"\b{table}\b", sql.lower())] or [*found]
    return "; ".join(f"{table} ({', '.join(found[table])})" for table in named) + "."


def _refused(error: Exception) -> bool:
    return any(word in str(error) for word in ("disabled", "locked"))


def status(folder: Path | str) -> list[dict]:
    """How far each run at or below `folder` is, as dictionaries in the order of `find_runs`.

    Keys: study, stream, method, seed, status, tasks_done, tasks_asked, seconds, reason,
    failures (the reasons for which it failed before it was tried again), folder (relative to the
    given one). Status is as in `connect`.
    """
    folder = Path(folder).absolute()
    return [status_row(path, record, folder) for path, record in _records(folder)]


def status_row(path: Path, record: dict, folder: Path) -> dict:
    """What `status` says of one run, whose folder is `path`."""
    return {name: record["config"][name] for name in KEY} | {
        "status": record["status"],
        "tasks_done": record["tasks"],
        "tasks_asked": record["config"]["tasks"],
        "seconds": record["seconds"],
        "reason": record["reason"],
        "failures": list(record.get("failures", [])),
        "folder": path.relative_to(folder).as_posix(),
    }


def _records(folder: Path) -> list[tuple[Path, dict]]:
    if not folder.is_dir():
        raise StoreError(
            f"There is no folder `{folder}`. Type `neoteny run ... --out {folder}` to make runs "
            "there, or name the folder given to --out."
        )
    if not (paths := find_runs(folder)):
        if tunings := sorted(folder.rglob(TUNING)):
            raise StoreError(
                f"`{folder}` holds no runs but those of a tuning. Name the folder "
                f"`{tunings[0].parent}` for these."
            )
        raise StoreError(
            f"`{folder}` holds no runs. Type `neoteny run ... --out {folder}` to make some there, "
            "or name the folder given to --out."
        )
    return [(path, _live_record(path)) for path in paths]


def _live_record(folder: Path) -> dict:
    record = read_record(folder)
    if record["status"] == "running" and not is_locked(folder):
        record = read_record(folder)  # it may have ended between the two looks
        if record["status"] == "running":
            record["status"] = "interrupted"
    return record
