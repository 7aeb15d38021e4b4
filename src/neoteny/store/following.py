"""Runs looked at again and again while others write them: what has not changed is not read."""

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from neoteny.store.files import StoreError, is_locked
from neoteny.store.loading import still
from neoteny.store.reading import status_row
from neoteny.store.records import read_record
from neoteny.store.sql import parquet, quote

POINTS = 200
"""Longer curves are kept as means over blocks of tasks: about what a small figure can show."""


class Followed(NamedTuple):
    """A run as it stands.

    - `row`: as of `status`, with the `metric` that the run is judged by and when its record was
      `written`, in seconds since 1970.
    - `values`: of that metric, means over `block` tasks each; NaN where nothing was measured.
    """

    row: dict[str, Any]
    values: np.ndarray
    block: int


class View(NamedTuple):
    """What a `Follower` knows: runs, what of them it has yet to read, and what it cannot."""

    runs: list[Followed]
    unread_records: int
    unread_tables: int
    damaged: dict[str, str]
    """By folder, what is wrong with a record."""


class Follower:
    """The runs at or below a folder, whether it is there yet or not.

    A look costs a `stat` for each run that is known and a listing of each folder above; records
    and tables are read where the record was replaced. Keeps up to `POINTS` numbers of a run.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).absolute()
        self._runs: dict[str, _Run] = {}

    def look(self, seconds: float = 1.0) -> View:
        """Read what has changed, for `seconds` or a little more; later looks read the rest."""
        deadline = time.monotonic() + seconds
        stamps = self._stamps()
        self._runs = {path: run for path, run in self._runs.items() if path in stamps}
        changed = [path for path in stamps if self._stamp(path) != stamps[path]]
        changed.sort(key=lambda path: stamps[path], reverse=True)  # the latest first
        for path in _until(deadline, changed):
            self._read(path, stamps[path])
        for path, run in self._runs.items():
            run.notice(path)
        self._read_tables(deadline)
        return self._view(sum(self._stamp(path) != stamps[path] for path in changed))

    def _stamps(self) -> dict[str, tuple]:
        """Every run's folder, and what changes when its record is replaced."""
        known = {path: _stamp(path) for path in self._runs}
        found = {path: stamp for path, stamp in known.items() if stamp}
        for place, below, files in os.walk(self.folder):
            if "run.json" in files:
                if stamp := _stamp(place):
                    found[place] = stamp
                below.clear()
            below[:] = [name for name in below if os.path.join(place, name) not in found]
        return found

    def _stamp(self, path: str) -> tuple | None:
        return self._runs[path].stamp if path in self._runs else None

    def _read(self, path: str, stamp: tuple) -> None:
        before = self._runs.get(path)
        run = self._runs[path] = _Run(stamp, values=before.values if before else _NOTHING)
        try:
            record = read_record(Path(path))
            run.row = _plain(status_row(Path(path), record, self.folder))
        except (StoreError, TypeError, ValueError, OverflowError) as error:
            run.damage = str(error)
            return
        setting = record["config"].get("setting")
        metric = setting.get("metric") if isinstance(setting, dict) else None
        run.row |= {
            "metric": metric if isinstance(metric, str) else None,
            "written": stamp[0] / 1e9,
        }
        run.block = -(-max(run.row["tasks_asked"], 1) // POINTS)
        run.pending = run.row["metric"] is not None and record["tasks"] > 0

    def _read_tables(self, deadline: float) -> None:
        import duckdb

        alike: dict[tuple, list[tuple[Path, _Run]]] = {}
        pending = [(path, run) for path, run in self._runs.items() if run.pending]
        for path, run in sorted(pending, key=lambda item: item[1].stamp, reverse=True):
            kind = (run.row["metric"], run.row["tasks_asked"])
            alike.setdefault(kind, []).append((Path(path, "tasks.parquet"), run))
        if not alike:
            return
        parts = ((runs, start) for runs in alike.values() for start in range(0, len(runs), 50))
        # A connection for each look: it would keep what it has read.
        settings = {"autoinstall_known_extensions": False, "threads": 1}
        with duckdb.connect(":memory:", config=settings) as database:
            for runs, start in _until(deadline, parts):
                batch = runs[start : start + 50]
                if not _load(database, batch):
                    for single in batch:
                        _load(database, [single])
                        single[1].pending = False  # what cannot be read may be replaced one day

    def _view(self, unread: int) -> View:
        runs = self._runs.values()
        relative = lambda path: Path(path).relative_to(self.folder).as_posix()
        return View(
            [Followed(dict(run.row), run.values, run.block) for run in runs if run.row],
            unread,
            sum(run.pending for run in runs),
            {relative(path): run.damage for path, run in self._runs.items() if run.damage},
        )


_NOTHING = np.full(0, np.nan)


@dataclass
class _Run:
    stamp: tuple
    row: dict[str, Any] = field(default_factory=dict)
    values: np.ndarray = field(default_factory=lambda: _NOTHING)
    block: int = 1
    pending: bool = False
    damage: str = ""

    def notice(self, path: str) -> None:
        """Tell a run that is going on from one whose process has died."""
        if self.row.get("status") in ("running", "interrupted"):
            going = is_locked(Path(path)) or _stamp(path) != self.stamp  # or it has just ended
            self.row["status"] = "running" if going else "interrupted"


def _stamp(path: str) -> tuple | None:
    try:
        found = os.stat(os.path.join(path, "run.json"))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose values are of the kinds they should be, whoever wrote the record."""
    texts = ("study", "stream", "method", "status")
    seconds = float(row["seconds"] or 0.0)
    return (
        row
        | {name: str(row[name]) for name in texts}
        | {
            "tasks_done": int(row["tasks_done"]),
            "tasks_asked": int(row["tasks_asked"]),
            "seconds": seconds if math.isfinite(seconds) else 0.0,
            "reason": str(row["reason"] or ""),
            "failures": [str(reason) for reason in row["failures"]],
        }
    )


def _until(deadline: float, items: Iterable) -> Iterable:
    """The items until time is up, one of them in any case."""
    for item in items:
        yield item
        if time.monotonic() > deadline:
            return


def _load(database: Any, batch: list[tuple[Path, _Run]]) -> bool:
    """Read the curves of runs that differ in their numbers alone; whether it went well for all."""
    import duckdb

    _, first = batch[0]
    value = f"TRY_CAST({quote(first.row['metric'])} AS DOUBLE)"
    try:
        with TemporaryDirectory(prefix="neoteny-") as place:
            runs = {
                still(path, run.row, Path(place, f"{number}.parquet")): run
                for number, (path, run) in enumerate(batch)
            }
            found = database.execute(
                f"SELECT {quote(_FILE)}, task // {first.block}, avg({value}) "
                f"FROM {parquet([*runs], filename=quote(_FILE), by_name=False)} "
                f"WHERE task BETWEEN 0 AND {first.row['tasks_asked'] - 1} AND isfinite({value}) "
                "GROUP BY ALL"
            ).fetchall()
    except (duckdb.Error, OSError):
        return False
    means: dict[str, dict[int, float]] = {}
    for name, part, mean in found:
        means.setdefault(name, {})[part] = mean
    for path, run in runs.items():
        mine = means.get(str(path), {})
        run.values = np.array([mine.get(part, np.nan) for part in range(max(mine, default=-1) + 1)])
        run.pending = False
    return True


_FILE = "the file of a row"
"""A column's name that no table of tasks has."""
