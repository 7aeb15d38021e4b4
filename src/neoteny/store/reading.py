"""Reading runs, while others may write them: which there are, how far, and SQL over them all."""

import json
import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from neoteny.store.files import StoreError, damaged, is_locked, read_arrays
from neoteny.store.records import read_record
from neoteny.store.sql import KEY, RUNS, SPECTRA, TASKS, create, first_line, parquet


class Result(NamedTuple):
    """What a query found: names of the columns, and the rows under them."""

    columns: list[str]
    rows: list[tuple]


def find_runs(folder: Path | str) -> list[Path]:
    """All run folders at or below `folder`, sorted, with seed-2 before seed-10."""
    found = []
    for place, below, files in os.walk(folder):
        if "run.json" in files:
            found.append(Path(place))
            below.clear()
    return sorted(found, key=lambda path: [_natural(part) for part in path.parts])


def _natural(text: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", text)]


def connect(folder: Path | str, *, spectra: bool = True):
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

    **Raises:** `StoreError` if there is no run, or a file is damaged.
    """
    import duckdb

    folder = Path(folder).absolute()
    records = _records(folder)
    # One thread: sums over several come out in another order, and so other bits, every time.
    settings = {"autoinstall_known_extensions": False, "threads": 1}
    database = duckdb.connect(":memory:", config=settings)
    database.execute(create("runs", RUNS))
    for path, record in records:
        row = _run_row(path, record, folder)
        database.execute(f"INSERT INTO runs VALUES ({', '.join('?' * len(row))})", row)
    _load_tasks(database, records)
    database.execute(create("spectra", SPECTRA))
    for path, record in records if spectra else []:
        _load_spectra(database, path, record["config"])
    return database


def query(folder: Path | str, sql: str) -> Result:
    """Answer `sql` over the tables of `connect`, with no way to the file system.

    **Raises:** `StoreError` if there is no run, or with DuckDB's own words if the SQL is
    wrong or asks for files, settings or extensions.
    """
    import duckdb

    database = connect(folder, spectra="spectra" in sql.lower())
    try:
        tables = f"Tables and columns: {_listing(database, sql)}"
        for setting in _SEALED:
            database.execute(f"SET {setting}")
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
    return [
        {name: record["config"][name] for name in KEY}
        | {
            "status": record["status"],
            "tasks_done": record["tasks"],
            "tasks_asked": record["config"]["tasks"],
            "seconds": record["seconds"],
            "reason": record["reason"],
            "failures": list(record.get("failures", [])),
            "folder": path.relative_to(folder).as_posix(),
        }
        for path, record in _records(folder)
    ]


def _records(folder: Path) -> list[tuple[Path, dict]]:
    if not folder.is_dir():
        raise StoreError(
            f"There is no folder `{folder}`. Type `neoteny run ... --out {folder}` to make runs "
            "there, or name the folder given to --out."
        )
    if not (paths := find_runs(folder)):
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


def _run_row(path: Path, record: dict, folder: Path) -> list:
    progress = ("status", "reason", "tasks", "seconds", "microseconds_per_step")
    return [
        *(record["config"][name] for name in KEY),
        *(record.get(name) for name in progress),
        path.relative_to(folder).as_posix(),
        *(json.dumps(record[name], ensure_ascii=False) for name in ("config", "provenance")),
    ]


def _load_tasks(database, records: list[tuple[Path, dict]]) -> None:
    import duckdb

    written = [(path, record) for path, record in records if (path / "tasks.parquet").exists()]
    if not written:
        database.execute(create("tasks", TASKS))
        return
    try:
        with TemporaryDirectory(prefix="neoteny-") as place:
            paths = [
                _still(path / "tasks.parquet", record, Path(place, f"{number}.parquet"))
                for number, (path, record) in enumerate(written)
            ]
            database.execute(f"CREATE TABLE tasks AS SELECT * FROM {parquet(paths)}")
    except (duckdb.Error, OSError) as error:
        culprit = _first_unreadable(database, [path / "tasks.parquet" for path, _ in written])
        reason = first_line(error)
        together = f"The tables of these runs cannot be read together: {reason}"
        raise StoreError(damaged(culprit, reason) if culprit else together) from error


def _still(path: Path, record: dict, copy: Path) -> Path:
    """The table, or a copy if it may be replaced while DuckDB, which opens it twice, reads it."""
    final = record["status"] in ("finished", "diverged")
    return path if final else Path(shutil.copyfile(path, copy))


def _first_unreadable(database, paths: list[Path]) -> Path | None:
    import duckdb

    for path in paths:
        try:
            database.execute(f"SELECT * FROM {parquet([path])}").fetchall()
        except duckdb.Error:
            return path
    return None


def _load_spectra(database, folder: Path, config: dict) -> None:
    found = []
    for path in folder.glob("spectra/task-*.npz"):
        if name := re.fullmatch(r"task-(\d+)-(\w+)-(\w+)", path.stem):
            arrays = read_arrays(path)
            if not {"nodes", "weights"} <= arrays.keys():
                continue
            shapes = arrays["nodes"].shape, arrays["weights"].shape
            if shapes[0] != shapes[1] or shapes[0] == ():
                raise StoreError(damaged(path, "its nodes and weights differ in shape"))
            found.append((int(name[1]), name[2], name[3], arrays))
    if not found:
        return
    found.sort(key=lambda item: item[:3])
    labels = sorted({label for item in found for label in item[1:3]})
    parts = [
        _flat(task, labels.index(phase), labels.index(matrix), arrays)
        for task, phase, matrix, arrays in found
    ]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    database.register("quadratures", columns)
    database.execute(
        "WITH named AS (SELECT *, ?::VARCHAR[] AS labels FROM quadratures) "
        "INSERT INTO spectra SELECT ?, ?, ?, ?, task, labels[phase + 1], labels[matrix + 1], "
        "probe, node, weight, CASE WHEN size >= 0 THEN size END FROM named",
        [labels, *(config[name] for name in KEY)],
    )
    database.unregister("quadratures")


def _flat(
    task: int, phase: int, matrix: int, arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    nodes, weights = arrays["nodes"], arrays["weights"]
    whole = lambda value: np.full(nodes.size, value, np.int64)
    return {
        "task": whole(task),
        "phase": whole(phase),
        "matrix": whole(matrix),
        "probe": np.arange(nodes.size) // max(nodes.shape[-1], 1),
        "node": nodes.ravel().astype(np.float64),
        "weight": weights.ravel().astype(np.float64),
        "size": whole(arrays.get("size", -1)),
    }
