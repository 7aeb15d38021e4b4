"""A run is a folder: its configuration and provenance, a table of tasks, spectra, a checkpoint.

    ROOT/<stream>/<method>/seed-<n>/
      run.json                        configuration, provenance, status, seconds
      tasks.parquet                   a row for each finished task, without timings
      spectra/task-00007-start.npz    quadratures: nodes, weights, size
      checkpoint.npz                  what training needs to go on
      .lock                           held by the process that writes

Every file is replaced whole: written beside its place, flushed to disk, renamed. A commit
writes spectra, table, checkpoint and run.json in this order, and **the checkpoint
decides**: a run killed at any instant goes on from its last checkpoint, rows of the table
beyond it are dropped and learnt again. Rows hold nothing that differs between two
executions, so a killed and resumed run ends with the table of an uninterrupted one.

Reading takes no lock, and may go on while runs are writing.
"""

import fcntl
import io
import json
import math
import os
import re
import time
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neoteny.errors import UserError

_TYPES = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", str: "VARCHAR"}
_IDENTITY = ("study", "stream", "method", "seed")
_KEY = "study VARCHAR, stream VARCHAR, method VARCHAR, seed BIGINT"
_TASKS = f"{_KEY}, task BIGINT, " + ", ".join(
    f"{kind}_accuracy DOUBLE" for kind in ("online", "final", "heldout", "fresh")
)
_RUNS = (
    f"{_KEY}, status VARCHAR, reason VARCHAR, tasks BIGINT, seconds DOUBLE, "
    "microseconds_per_step DOUBLE, folder VARCHAR, config VARCHAR, provenance VARCHAR"
)
_SPECTRA = (
    f"{_KEY}, task BIGINT, phase VARCHAR, probe BIGINT, node DOUBLE, weight DOUBLE, size BIGINT"
)


class StoreError(UserError):
    """A run's folder cannot be used as asked; the message is meant for the user."""


class Result(NamedTuple):
    """What a query found: names of the columns, and the rows under them."""

    columns: list[str]
    rows: list[tuple]


# --------------------------------------------------------------------------- writing


class Run:
    """A run's folder, open for writing by this process alone.

    - `status`: `"running"`, `"finished"`, `"diverged"` or `"failed"`.
    - `tasks_done`: rows appended so far, those not yet committed included.
    - `seconds`: training seconds at the last commit, over all processes that worked on it.

    Use it in a `with` statement, or call `close`, to let another process in; the lock also
    goes when the process dies, however it dies.
    """

    @classmethod
    def open(cls, folder: Path | str, config: dict, provenance: dict | None = None) -> "Run":
        """Create the run in `folder`, or go on with the one that is there.

        **Arguments:**

        - `folder`: where the run lives; created with its parents.
        - `config`: everything that decides the run's numbers, as plain JSON data, with at
          least `study`, `stream`, `method`, `seed` and `tasks`.
        - `provenance`: versions, device and the like. It may differ between the processes
          that work on a run: the first is kept, others are listed under `resumed`.

        **Raises:** `StoreError` if the folder holds another configuration, is being run by
        another process, cannot be written, or is damaged.
        """
        folder, config = Path(folder).absolute(), _plain("config", config)
        _require_keys(config, "config")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = _lock(folder)
        except OSError as error:
            raise StoreError(_unwritable(folder, error)) from error
        run = cls(folder, config, handle)
        try:
            run._resume(_plain("provenance", provenance or {}))
        except OSError as error:
            run.close()
            raise StoreError(_unwritable(folder, error)) from error
        except BaseException:
            run.close()
            raise
        return run

    def __init__(self, folder: Path, config: dict, handle: int):
        """Not for callers: use `Run.open`."""
        self.folder, self.config = folder, config
        self.status, self.tasks_done, self.seconds = "running", 0, 0.0
        self._committed, self._record = 0, {}
        self._table: _Table | None = None
        self._release = weakref.finalize(self, os.close, handle)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to compute: the run is finished, or has diverged."""
        return self.status in ("finished", "diverged")

    def checkpoint(self) -> tuple[int, dict[str, np.ndarray]] | None:
        """The number of finished tasks and the arrays of the last commit, if there was one."""
        path = self.folder / "checkpoint.npz"
        return _read_checkpoint(path) if path.exists() else None

    def append(self, row: Mapping[str, Any]) -> None:
        """Add the row of the task that has just finished; it stays in memory until `commit`.

        Columns appear in the order in which rows first name them, after the leading ones;
        where a row has no value, or one that is not finite, the table has NULL. Identity
        (study, stream, method, seed) and `task` are filled in where the row lacks them.
        Takes about 2 ms for 60 columns.

        **Raises:** `StoreError` if the row belongs to another run or task, or if a value is
        no scalar or does not fit the type of its column.
        """
        table = self._writable()
        known = {name: self.config[name] for name in _IDENTITY} | {"task": self.tasks_done}
        row = {name: _scalar(name, value) for name, value in row.items()}
        for name, expected in known.items():
            if row.get(name, expected) != expected:
                raise StoreError(
                    f"The row's `{name}` is {row[name]!r}, but the next row of `{self.folder}` "
                    f"has {expected!r}: rows are appended once each, in the order of the tasks."
                )
        table.append(known | row)
        self.tasks_done += 1

    def save_spectrum(self, task: int, phase: str, **arrays: Any) -> None:
        """Write the spectrum measured in `task` at `phase` (`"start"`, `"end"`) at once.

        `nodes` and `weights` of shape `(probes, steps)` and the scalar `size` are what the
        table `spectra` shows; other arrays are kept beside them.
        """
        self._writable()
        if not re.fullmatch(r"[\w-]+", phase):
            raise StoreError(f"`phase` is {phase!r}: use letters, digits, `_` and `-`.")
        folder = self.folder / "spectra"
        path = folder / f"task-{task:05d}-{phase}.npz"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(_unwritable(folder, error)) from error
        _replace(path, lambda file: _write_arrays(file, arrays))

    def commit(
        self,
        arrays: Mapping[str, Any],
        *,
        seconds: float,
        microseconds_per_step: float | None,
    ) -> None:
        """Make all rows so far durable, with the arrays from which training can go on.

        **Arguments:**

        - `arrays`: name to array; anything `np.asarray` takes, but objects and dtypes that
          are not NumPy's own (view `bfloat16` as `uint16`).
        - `seconds`: training time of the whole run so far: this process's own plus what
          `Run.seconds` said after `Run.open`.
        - `microseconds_per_step`: kept in run.json, out of the table, which has no timings.
        """
        table = self._writable()
        if "task" in arrays:
            raise StoreError("`arrays` has the name `task`, which the checkpoint needs itself.")
        everything = {"task": np.array([self.tasks_done, len(arrays)]), **arrays}
        _replace(self.folder / "tasks.parquet", table.write)
        _replace(self.folder / "checkpoint.npz", lambda file: _write_arrays(file, everything))
        self._committed, self.seconds = self.tasks_done, float(seconds)
        pace = None if microseconds_per_step is None else float(microseconds_per_step)
        self._record |= {
            "tasks": self._committed,
            "seconds": _finite(self.seconds),
            "microseconds_per_step": _finite(pace),
        }
        _write_record(self.folder, self._record)

    def finish(self, status: str, reason: str | None = None) -> None:
        """Write how the run ended, and close it.

        `"finished"` and `"diverged"` are final, and refused while rows are uncommitted;
        `"failed"` gives up rows since the last commit, and the next `open` tries again.
        """
        self._writable()
        if status not in ("finished", "diverged", "failed"):
            raise StoreError(f"`status` is {status!r}; a run ends finished, diverged or failed.")
        if status != "failed" and self._committed != self.tasks_done:
            raise StoreError(
                f"`{self.folder}` has {self.tasks_done - self._committed} uncommitted rows, "
                f"which {status!r} would lose. Call `commit` first."
            )
        self._record |= {"status": status, "reason": reason}
        _write_record(self.folder, self._record)
        self.status = status
        self.close()

    def close(self) -> None:
        """Let other processes open the run; rows since the last commit are forgotten."""
        if self._table is not None:
            self._table.close()
        self._table = None
        self._release()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _writable(self) -> "_Table":
        if self._table is None:
            raise StoreError(f"The run `{self.folder}` is {self.status} and closed for writing.")
        return self._table

    def _resume(self, provenance: dict) -> None:
        _remove_temporaries(self.folder)
        self._record = _begin(self.folder, self.config, provenance)
        self.status, self.seconds = self._record["status"], self._record["seconds"] or 0.0
        table = self.folder / "tasks.parquet"
        if self.finished:
            self.tasks_done = self._committed = self._record["tasks"]
            if self.tasks_done and not table.exists():
                raise StoreError(_damaged(table, "the run is finished, but its table is gone"))
            self.close()
            return
        found = self.checkpoint()
        self.tasks_done = self._committed = found[0] if found else 0
        self._table = _Table(table, self.tasks_done)
        self.status = "running"
        self._record |= {"status": "running", "reason": None, "tasks": self.tasks_done}
        _write_record(self.folder, self._record)


def check(folder: Path | str, config: dict) -> None:
    """Refuse what `Run.open` would refuse for the sake of the configuration; touch nothing.

    **Raises:** `StoreError` if `folder` holds a run with another configuration.
    """
    folder, config = Path(folder).absolute(), _plain("config", config)
    _require_keys(config, "config")
    if (folder / "run.json").exists():
        _refuse_another(folder, _read_record(folder), config)


def write_text(path: Path | str, text: str) -> None:
    """Put `text` in the place of `path`, with its folders: whole and durable, or not at all."""
    path = Path(path).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(_unwritable(path.parent, error)) from error
    # Bytes of a message that are no text become escapes, which in JSON stand for themselves.
    _replace(path, lambda file: file.write_bytes(text.encode(errors="backslashreplace")))


class _Table:
    """The rows of a run in memory, in typed columns; written whole at each commit.

    A column's type follows from the values that are not NULL alone (a column without any is
    DOUBLE), so that it does not depend on where a run was resumed.
    """

    def __init__(self, path: Path, rows: int):
        import duckdb

        self._error = duckdb.Error
        self._db = duckdb.connect(":memory:", config={"threads": 1})
        if not path.exists():
            if rows:
                raise StoreError(_damaged(path, f"the checkpoint is at task {rows}, no table"))
            self._db.execute(f"CREATE TABLE tasks ({_TASKS})")
        else:
            self._load(path, rows)
        found = self._db.execute("DESCRIBE tasks").fetchall()
        self._types: dict[str, str | None] = {name: kind for name, kind, *_ in found}
        counts = ", ".join(f"count({_quote(name)})" for name in self._types)
        filled = self._db.execute(f"SELECT {counts} FROM tasks").fetchone() or ()
        for name, count in zip(list(self._types), filled, strict=True):
            if not count and not re.search(rf"\b{name} [A-Z]", _TASKS):
                self._types[name] = None

    def _load(self, path: Path, rows: int) -> None:
        source = f"SELECT * FROM {_parquet([path])} WHERE task < {rows} ORDER BY task"
        try:
            self._db.execute(f"CREATE TABLE tasks AS {source}")
            tasks = [task for (task,) in self._db.execute("SELECT task FROM tasks").fetchall()]
        except self._error as error:
            raise StoreError(_damaged(path, _first_line(error))) from error
        if tasks != list(range(rows)):
            reason = f"the checkpoint is at task {rows}, of which the table has {len(tasks)} rows"
            raise StoreError(_damaged(path, reason))

    def append(self, row: dict[str, Any]) -> None:
        try:
            for name, value in row.items():
                self._fit(name, _TYPES.get(type(value)))
            names, marks = ", ".join(map(_quote, row)), ", ".join("?" * len(row))
            self._db.execute(f"INSERT INTO tasks ({names}) VALUES ({marks})", [*row.values()])
        except self._error as error:
            raise StoreError(f"The row cannot be stored: {_first_line(error)}") from error

    def _fit(self, name: str, kind: str | None) -> None:
        """Let column `name` take values of type `kind`; `None` is the type of NULL."""
        if name not in self._types:
            self._db.execute(f"ALTER TABLE tasks ADD COLUMN {_quote(name)} {kind or 'DOUBLE'}")
            self._types[name] = kind
            return
        known = self._types[name]
        if kind in (None, known) or (known, kind) == ("DOUBLE", "BIGINT"):
            return
        if known is not None and (known, kind) != ("BIGINT", "DOUBLE"):
            raise StoreError(f"Column `{name}` is {known} so far, but this row has {kind} for it.")
        self._db.execute(f"ALTER TABLE tasks ALTER COLUMN {_quote(name)} TYPE {kind}")
        self._types[name] = kind

    def write(self, path: Path) -> None:
        target = str(path).replace("'", "''")
        try:
            self._db.execute(f"COPY tasks TO '{target}' (FORMAT parquet, USE_TMP_FILE false)")
        except self._error as error:
            raise OSError(_first_line(error)) from error

    def close(self) -> None:
        self._db.close()


def _scalar(name: str, value: Any) -> bool | int | float | str | None:
    plain = value.item() if isinstance(value, np.generic) else value
    for kind in _TYPES:  # bool first: a bool is an int
        if isinstance(plain, kind):
            return _finite(kind(plain)) if kind is float else kind(plain)
    if plain is not None:
        raise StoreError(
            f"Column `{name}` got a value of type {type(value).__name__}; a table's values are "
            "int, float, str, bool or None."
        )
    return None


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _begin(folder: Path, config: dict, provenance: dict) -> dict:
    """The folder's record, or a new one if the folder is new."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    provenance = {"created": created} | provenance
    if not (folder / "run.json").exists():
        for name in ("tasks.parquet", "checkpoint.npz"):
            if (folder / name).exists():
                raise StoreError(_damaged(folder / "run.json", f"gone, but `{name}` is there"))
        return {
            "config": config,
            "provenance": provenance,
            "status": "running",
            "reason": None,
            "tasks": 0,
            "seconds": 0.0,
            "microseconds_per_step": None,
        }
    record = _read_record(folder)
    _refuse_another(folder, record, config)
    first = record["provenance"]
    unlike = [{**other, "created": None, "resumed": None} for other in (first, provenance)]
    if provenance.keys() > {"created"} and unlike[0] != unlike[1]:
        first.setdefault("resumed", []).append(provenance)
    return record


def _refuse_another(folder: Path, record: dict, config: dict) -> None:
    if differences := list(_differences(record["config"], config)):
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise StoreError(
            f"`{folder}` holds a run with another configuration: {'; '.join(differences[:3])}"
            f"{more}. Pass another --out, or remove that folder to run this configuration there."
        )


def _differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            inner = f"{name}.{key}" if name else key
            yield from _differences(there.get(key, _ABSENT), here.get(key, _ABSENT), inner)
    elif (type(there), there) != (type(here), here):
        yield f"`{name}` is {_show(there)} there and {_show(here)} here"


_ABSENT = object()


def _show(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def _plain(name: str, data: dict) -> dict:
    """`data` as JSON gives it back, so that what is compared is what is stored."""
    try:
        return json.loads(json.dumps(data, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError) as error:
        raise StoreError(f"`{name}` must be plain JSON data, but {error}.") from error


def _lock(folder: Path) -> int:
    """Hold the folder's lock; the kernel lets go of it when the returned handle closes."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait_for_lock(handle, folder)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _wait_for_lock(handle: int, folder: Path) -> None:
    for _ in range(10):  # a reader may hold it for an instant, to see whether a run is alive
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
    pid = os.pread(handle, 20, 0).decode() or "unknown"
    raise StoreError(
        f"`{folder}` is being run by another process (pid {pid}). Wait for it to end, or pass "
        "another --out."
    )


def _is_locked(folder: Path) -> bool:
    try:
        handle = os.open(folder / ".lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(handle)


# --------------------------------------------------------------------------- files


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Put what `write` writes in the place of `path`: whole and durable, or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(_unwritable(path, error)) from error
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_temporaries(folder: Path) -> None:
    for path in [*folder.glob(".*.tmp"), *folder.glob("spectra/.*.tmp")]:
        path.unlink()


def _write_record(folder: Path, record: dict) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "run.json", text + "\n")


_RECORD = {"config": dict, "provenance": dict, "status": str, "tasks": int}


def _read_record(folder: Path) -> dict:
    path = folder / "run.json"
    try:
        record = json.loads(path.read_bytes())
        wrong = [name for name, kind in _RECORD.items() if not isinstance(record[name], kind)]
        if wrong:
            raise StoreError(f"the type of {', '.join(wrong)} is wrong")
        _require_keys(record["config"], "its configuration")
        return {"reason": None, "seconds": None, "microseconds_per_step": None} | record
    except KeyError as error:
        raise StoreError(_damaged(path, f"it lacks {error}")) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StoreError(_damaged(path, str(error))) from error


def _require_keys(config: dict, what: str) -> None:
    missing = [name for name in (*_IDENTITY, "tasks") if name not in config]
    if missing:
        raise StoreError(f"{what} lacks {', '.join(missing)}, which every run has.")


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """An .npz file: what `np.savez` writes, but for any names, and never a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            array = np.asarray(value)
            if array.dtype.kind in "OV":
                raise StoreError(
                    f"Array `{name}` has dtype {array.dtype}, which a checkpoint cannot hold. "
                    "Pass numbers of NumPy's own, as with `.view(np.uint16)` for bfloat16."
                )
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file, each checked against its CRC; pickles are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        return {
            name.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(content), allow_pickle=False
            )
            for name, content in members.items()
        }
    except Exception as error:  # a damaged archive raises whatever its parser stumbles over
        raise StoreError(_damaged(path, str(error) or type(error).__name__)) from error


def _read_checkpoint(path: Path) -> tuple[int, dict[str, np.ndarray]]:
    arrays = _read_arrays(path)
    head = arrays.pop("task", np.array([]))
    if head.shape != (2,) or head[1] != len(arrays):
        raise StoreError(_damaged(path, "arrays are missing"))
    return int(head[0]), arrays


def _damaged(path: Path, reason: str) -> str:
    run = path.parent.parent if path.parent.name == "spectra" else path.parent
    return (
        f"`{path}` is damaged: {reason.rstrip('.')}. Restore the file, or remove the folder "
        f"`{run}` to run it afresh."
    )


def _unwritable(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error).rstrip(".")
    return (
        f"`{path}` cannot be written: {reason}. Nothing that was committed is lost; make room or "
        "set permissions and run the same command again, or pass another --out."
    )


# --------------------------------------------------------------------------- reading


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
    - `spectra`: study, stream, method, seed, task, phase, probe, node, weight, size; empty
      with `spectra=False`, which spares reading thousands of files.

    The tables are copies: nothing done to them reaches the folder. Where runs disagree on
    the type of a column, it has the wider one. A run whose record says it is running while
    no process holds its lock has status `"interrupted"`.

    **Raises:** `StoreError` if there is no run, or a file is damaged.
    """
    import duckdb

    folder = Path(folder).absolute()
    records = _records(folder)
    database = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
    database.execute(f"CREATE TABLE runs ({_RUNS})")
    for path, record in records:
        row = _run_row(path, record, folder)
        database.execute(f"INSERT INTO runs VALUES ({', '.join('?' * len(row))})", row)
    _load_tasks(database, [path / "tasks.parquet" for path, _ in records])
    database.execute(f"CREATE TABLE spectra ({_SPECTRA})")
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
        raise StoreError(_first_line(error) + hint) from error
    finally:
        database.close()


_SEALED = (
    "python_enable_replacements = false",
    "temp_directory = ''",
    "enable_external_access = false",
    "lock_configuration = true",
)


def status(folder: Path | str) -> list[dict]:
    """How far each run at or below `folder` is, as dictionaries in the order of `find_runs`.

    Keys: study, stream, method, seed, status, tasks_done, tasks_asked, seconds, reason,
    folder (relative to the given one). Status is as in `connect`.
    """
    folder = Path(folder).absolute()
    return [
        {name: record["config"][name] for name in _IDENTITY}
        | {
            "status": record["status"],
            "tasks_done": record["tasks"],
            "tasks_asked": record["config"]["tasks"],
            "seconds": record["seconds"],
            "reason": record["reason"],
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
    record = _read_record(folder)
    if record["status"] == "running" and not _is_locked(folder):
        record = _read_record(folder)  # it may have ended between the two looks
        if record["status"] == "running":
            record["status"] = "interrupted"
    return record


def _run_row(path: Path, record: dict, folder: Path) -> list:
    progress = ("status", "reason", "tasks", "seconds", "microseconds_per_step")
    return [
        *(record["config"][name] for name in _IDENTITY),
        *(record.get(name) for name in progress),
        path.relative_to(folder).as_posix(),
        *(json.dumps(record[name], ensure_ascii=False) for name in ("config", "provenance")),
    ]


def _load_tasks(database, paths: list[Path]) -> None:
    import duckdb

    paths = [path for path in paths if path.exists()]
    if not paths:
        database.execute(f"CREATE TABLE tasks ({_TASKS})")
        return
    for attempts_left in (2, 1, 0):  # a writer may replace a file between two looks at it
        try:
            database.execute(f"CREATE TABLE tasks AS SELECT * FROM {_parquet(paths)}")
            return
        except duckdb.Error as error:
            if not attempts_left:
                culprit = _first_unreadable(database, paths)
                reason = _first_line(error)
                together = f"The tables of these runs cannot be read together: {reason}"
                message = _damaged(culprit, reason) if culprit else together
                raise StoreError(message) from error


def _first_unreadable(database, paths: list[Path]) -> Path | None:
    import duckdb

    for path in paths:
        try:
            database.execute(f"SELECT * FROM {_parquet([path])}").fetchall()
        except duckdb.Error:
            return path
    return None


def _load_spectra(database, folder: Path, config: dict) -> None:
    found = []
    for path in folder.glob("spectra/task-*.npz"):
        if name := re.fullmatch(r"task-(\d+)-([\w-]+)", path.stem):
            arrays = _read_arrays(path)
            if not {"nodes", "weights"} <= arrays.keys():
                continue
            shapes = arrays["nodes"].shape, arrays["weights"].shape
            if shapes[0] != shapes[1] or shapes[0] == ():
                raise StoreError(_damaged(path, "its nodes and weights differ in shape"))
            found.append((int(name[1]), name[2], arrays))
    if not found:
        return
    found.sort(key=lambda item: item[:2])
    phases = sorted({phase for _, phase, _ in found})
    parts = [_flat(task, phases.index(phase), arrays) for task, phase, arrays in found]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    database.register("quadratures", columns)
    database.execute(
        "INSERT INTO spectra SELECT ?, ?, ?, ?, task, (?::VARCHAR[])[phase + 1], probe, node, "
        "weight, CASE WHEN size >= 0 THEN size END FROM quadratures",
        [*(config[name] for name in _IDENTITY), phases],
    )
    database.unregister("quadratures")


def _flat(task: int, phase: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    nodes, weights = arrays["nodes"], arrays["weights"]
    whole = lambda value: np.full(nodes.size, value, np.int64)
    return {
        "task": whole(task),
        "phase": whole(phase),
        "probe": np.arange(nodes.size) // max(nodes.shape[-1], 1),
        "node": nodes.ravel().astype(np.float64),
        "weight": weights.ravel().astype(np.float64),
        "size": whole(arrays.get("size", -1)),
    }


# --------------------------------------------------------------------------- SQL


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _parquet(paths: list[Path]) -> str:
    """SQL that reads the files, whatever their names: DuckDB would take `*?[` for patterns."""
    literal = [re.sub(r"([*?\[])", r"[\1]", str(path)).replace("'", "''") for path in paths]
    files = ", ".join(f"'{path}'" for path in literal)
    return f"read_parquet([{files}], union_by_name = true, hive_partitioning = false)"


def _listing(database, sql: str) -> str:
    """The columns of the tables that `sql` names, or of all if it names none."""
    found = {
        table: [name for name, *_ in database.execute(f"DESCRIBE {table}").fetchall()]
        for table in ("runs", "tasks", "spectra")
    }
    named = [table for table in found if re.search(rf"\b{table}\b", sql.lower())] or [*found]
    return "; ".join(f"{table} ({', '.join(found[table])})" for table in named) + "."


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0].rstrip(".!: ")
    return f"{text}."


def _refused(error: Exception) -> bool:
    return any(word in str(error) for word in ("disabled", "locked"))
