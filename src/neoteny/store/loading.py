"""What a folder of runs holds as tables of DuckDB: `runs`, `tasks` and `spectra`."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from neoteny.store import gathered
from neoteny.store.files import StoreError, damaged, read_arrays
from neoteny.store.records import FINAL
from neoteny.store.sql import KEY, RUNS, SPECTRA, TASKS, create, first_line, parquet

Records = Sequence[tuple[Path, dict]]
"""Folders of runs, and the record of each."""


def load(database: Any, folder: Path, records: Records, spectra: bool) -> None:
    """Put the runs of `records`, at or below `folder`, into an empty database.

    **Raises:** `StoreError` naming a file that is damaged.
    """
    for path, _ in records:
        if os.fsencode(path).decode(errors="replace") != str(path):
            raise StoreError(f"`{path}` has a name that is no text, so rename that folder first.")
    _load_runs(database, folder, records)
    _load_tasks(database, folder, records)
    if spectra:
        _load_spectra(database, folder, records)
    else:
        database.execute(create("spectra", SPECTRA))


def _load_runs(database: Any, folder: Path, records: Records) -> None:
    database.execute(create("runs", RUNS))
    rows = [_run_row(path, record, folder) for path, record in records]
    columns = dict(zip(RUNS, map(list, zip(*rows, strict=True)), strict=True))
    arrays = {name: np.array(values, object) for name, values in columns.items()}
    database.register("rows", arrays)
    chosen = ", ".join(f"CAST({name} AS {kind})" for name, kind in RUNS.items())
    database.execute(f"INSERT INTO runs SELECT {chosen} FROM rows")
    database.unregister("rows")


def _run_row(path: Path, record: dict, folder: Path) -> list:
    progress = ("status", "reason", "tasks", "seconds", "microseconds_per_step")
    row = [
        *(record["config"][name] for name in KEY),
        *(record.get(name) for name in progress),
        path.relative_to(folder).as_posix(),
        *(json.dumps(record[name], ensure_ascii=False) for name in ("config", "provenance")),
    ]
    return [_text(value) if isinstance(value, str) else value for value in row]


def _text(value: str) -> str:
    """With escapes for what no table can hold: a reason may name a file whose name is no text."""
    return value.encode(errors="backslashreplace").decode()


# ---- tasks


def _load_tasks(database: Any, folder: Path, records: Records) -> None:
    written = [(path, record) for path, record in records if (path / "tasks.parquet").exists()]
    if not written:
        database.execute(create("tasks", TASKS))
        return
    import duckdb

    try:
        with TemporaryDirectory(prefix="neoteny-") as place:
            names, stamps = [], {}
            for number, (path, record) in enumerate(written):
                table = still(path / "tasks.parquet", record, Path(place, f"{number}.parquet"))
                if record["status"] in FINAL:
                    stamps[str(table)] = gathered.stamp([table])
                names.append(str(table))
            gathered.create(database, "tasks", folder, names, stamps, _reader(database))
    except (duckdb.Error, OSError) as error:
        culprit = _first_unreadable(database, [path / "tasks.parquet" for path, _ in written])
        reason = first_line(error)
        together = f"The tables of these runs cannot be read together: {reason}"
        raise StoreError(damaged(culprit, reason) if culprit else together) from error


def still(path: Path, record: dict, copy: Path) -> Path:
    """The table, or a copy if it may be replaced while DuckDB, which opens it twice, reads it."""
    final = record["status"] in FINAL
    return path if final else Path(shutil.copyfile(path, copy))


def _reader(database: Any) -> gathered.Read:
    def read(names: Sequence[str], table: str) -> None:
        source = parquet([Path(name) for name in names], filename=gathered.RUN)
        database.execute(f"CREATE TABLE {table} AS FROM {source}")

    return read


def _first_unreadable(database: Any, paths: list[Path]) -> Path | None:
    import duckdb

    for path in paths:
        try:
            database.execute(f"SELECT * FROM {parquet([path])}").fetchall()
        except duckdb.Error:
            return path
    return None


# ---- spectra


def _load_spectra(database: Any, folder: Path, records: Records) -> None:
    configs = {str(path): record["config"] for path, record in records}
    stamps = {
        str(path): gathered.stamp(_spectra(path))
        for path, record in records
        if record["status"] in FINAL
    }

    def read(names: Sequence[str], table: str) -> None:
        database.execute(create(table, SPECTRA | {gathered.RUN.strip('"'): "VARCHAR"}))
        _insert(database, table, {name: configs[name] for name in names})

    gathered.create(database, "spectra", folder, [*configs], stamps, read)


def _spectra(folder: Path) -> list[Path]:
    """The files, in the order of tasks, phases and matrices."""
    found = {path: _NAME.fullmatch(path.name) for path in folder.glob("spectra/task-*.npz")}
    named = [(int(match[1]), match[2], match[3], path) for path, match in found.items() if match]
    return [path for *_, path in sorted(named)]


_NAME = re.compile(r"task-(\d{1,18})-(\w+)-(\w+)\.npz")


def spectra_of(folder: Path) -> Iterator[tuple[int, str, str, dict[str, np.ndarray]]]:
    """Task, phase, matrix and arrays of each spectrum of the run in `folder`.

    **Raises:** `StoreError` if a file is damaged.
    """
    for path in _spectra(folder):
        arrays = read_arrays(path)
        if not {"nodes", "weights"} <= arrays.keys():
            continue
        nodes, weights, size = arrays["nodes"], arrays["weights"], arrays.get("size", np.array(-1))
        if nodes.shape != weights.shape or not nodes.ndim:
            raise StoreError(damaged(path, "its nodes and weights differ in shape"))
        kinds = {nodes.dtype.kind, weights.dtype.kind}
        if size.shape or size.dtype.kind not in "iu" or kinds - {*"fiu"}:
            raise StoreError(damaged(path, "its nodes, weights or size are no numbers"))
        task, phase, matrix = _NAME.fullmatch(path.name).groups()  # pyright: ignore
        yield int(task), phase, matrix, arrays


def _insert(database: Any, table: str, configs: dict[str, dict]) -> None:
    """Append the rows of some runs, all at once."""
    texts: dict[str, int] = {}
    number = lambda text: texts.setdefault(_text(text), len(texts))
    parts = []
    for name, config in configs.items():
        key = [number(config[column]) for column in ("study", "stream", "method")]
        for task, phase, matrix, arrays in spectra_of(Path(name)):
            same = [*key, number(phase), number(matrix), number(name), config["seed"], task]
            parts.append((same, arrays))
    if not parts:
        return
    sizes = [arrays["nodes"].size for _, arrays in parts]
    whole = np.repeat(np.array([same for same, _ in parts], np.int64), sizes, axis=0)
    joined = lambda name: np.concatenate([arrays[name].ravel() for _, arrays in parts])
    flat = lambda name: joined(name).astype(np.float64)
    probes = [np.arange(a["nodes"].size) // max(a["nodes"].shape[-1], 1) for _, a in parts]
    size = np.array([int(arrays.get("size", -1)) for _, arrays in parts], np.int64)
    names = ("study", "stream", "method", "phase", "matrix", "run", "seed", "task")
    columns = {name: np.ascontiguousarray(whole[:, place]) for place, name in enumerate(names)}
    columns |= {"probe": np.concatenate(probes), "node": flat("nodes"), "weight": flat("weights")}
    columns["size"] = np.repeat(size, sizes)
    database.register("quadratures", columns)
    text = lambda name: f"texts[{name} + 1]"
    database.execute(
        f"INSERT INTO {table} WITH named AS (SELECT *, ?::VARCHAR[] AS texts FROM quadratures) "
        f"SELECT {text('study')}, {text('stream')}, {text('method')}, seed, task, {text('phase')}, "
        f"{text('matrix')}, probe, node, weight, CASE WHEN size >= 0 THEN size END, {text('run')} "
        "FROM named",
        [[*texts]],
    )
    database.unregister("quadratures")
