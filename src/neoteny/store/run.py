"""The run that is being written: rows, spectra and checkpoints, and how it ended."""

import os
import re
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neoteny.store import files, records
from neoteny.store.files import StoreError
from neoteny.store.sql import KEY
from neoteny.store.table import Table, finite, scalar


class Run:
    """A run's folder, open for writing by this process alone.

    - `status`: `"running"`, `"finished"`, `"diverged"`, `"pruned"` or `"failed"`.
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
        folder, config = Path(folder).absolute(), records.configuration(config)
        files.make_folder(folder)
        run = cls(folder, config, files.lock(folder))
        try:
            run._resume(records.plain("provenance", provenance or {}))
        except OSError as error:
            run.close()
            raise StoreError(files.unwritable(folder, error)) from error
        except BaseException:
            run.close()
            raise
        return run

    def __init__(self, folder: Path, config: dict, handle: int):
        """Not for callers: use `Run.open`."""
        self.folder, self.config = folder, config
        self.status, self.tasks_done, self.seconds = "running", 0, 0.0
        self._committed, self._record = 0, {}
        self._new_spectra = False
        self._table: Table | None = None
        self._release = weakref.finalize(self, os.close, handle)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to compute: the run is finished, or has diverged."""
        return self.status in records.FINAL

    def checkpoint(self) -> tuple[int, dict[str, np.ndarray]] | None:
        """The number of finished tasks and the arrays of the last commit, if there was one."""
        path = self.folder / "checkpoint.npz"
        return files.read_checkpoint(path) if path.exists() else None

    def append(self, row: Mapping[str, Any]) -> None:
        """Add the row of the task that has just finished; it stays in memory until `commit`.

        Columns appear in the order in which rows first name them, after the leading ones;
        where a row has no value, or one that is not finite, the table has NULL. Identity
        (study, stream, method, seed) and `task` are filled in where the row lacks them.
        Takes some 0.05 ms for 60 columns.

        **Raises:** `StoreError` if the row belongs to another run or task, or if a value is
        no scalar or does not fit the type of its column.
        """
        table = self._writable()
        known = {name: self.config[name] for name in KEY} | {"task": self.tasks_done}
        row = {name: scalar(name, value) for name, value in row.items()}
        for name, expected in known.items():
            if row.get(name, expected) != expected:
                raise StoreError(
                    f"The row's `{name}` is {row[name]!r}, but the next row of `{self.folder}` "
                    f"has {expected!r}: rows are appended once each, in the order of the tasks."
                )
        table.append(known | row)
        self.tasks_done += 1

    def save_spectrum(self, task: int, phase: str, matrix: str = "hessian", **arrays: Any) -> None:
        """Write the spectrum of `matrix` measured in `task` at `phase` (`"start"`, `"end"`).

        Whole from now on; sure to outlast a loss of power from the next `commit`.
        `nodes` and `weights` of shape `(probes, steps)` and the scalar `size` are what the
        table `spectra` shows; other arrays are kept beside them.
        """
        self._writable()
        for name, value in {"phase": phase, "matrix": matrix}.items():
            if not re.fullmatch(r"\w+", value):
                raise StoreError(f"`{name}` is {value!r}: use letters, digits and `_`.")
        folder = self.folder / "spectra"
        path = folder / f"task-{task:05d}-{phase}-{matrix}.npz"
        files.make_folder(folder)
        files.replace(path, lambda file: files.write_arrays(file, arrays))
        self._new_spectra = True

    def commit(
        self,
        arrays: Mapping[str, Any],
        *,
        seconds: float,
        microseconds_per_step: float | None,
    ) -> None:
        """Make all rows so far durable, with the arrays from which training can go on.

        A kill at any instant leaves this commit or the one before; a loss of power too, as
        spectra and table are flushed to disk before the checkpoint takes its place. Costs some
        20 ms for 60 columns and five flushes, six with new spectra.

        **Arguments:**

        - `arrays`: name to array; anything `np.asarray` takes, but objects and dtypes that
          are not NumPy's own (view `bfloat16` as `uint16`).
        - `seconds`: training time of the whole run so far: this process's own plus what
          `Run.seconds` said after `Run.open`.
        - `microseconds_per_step`: kept in run.json, out of the table, which has no timings.
        """
        table = self._writable()
        saved = files.checkpoint(self.tasks_done, arrays)
        self._flush_spectra()
        files.replace(self.folder / "tasks.parquet", table.write)
        files.flush_folder(self.folder)  # no power loss may keep the checkpoint and not these
        files.replace(self.folder / "checkpoint.npz", lambda file: files.write_arrays(file, saved))
        self._committed, self.seconds = self.tasks_done, float(seconds)
        pace = None if microseconds_per_step is None else float(microseconds_per_step)
        self._record |= {
            "tasks": self._committed,
            "seconds": finite(self.seconds),
            "microseconds_per_step": finite(pace),
        }
        records.write_record(self.folder, self._record)

    def finish(self, status: str, reason: str | None = None) -> None:
        """Write how the run ended, and close it.

        Those in `FINAL` are final, and refused while rows are uncommitted;
        `"failed"` gives up rows since the last commit, and the next `open` tries again.
        """
        self._writable()
        if status not in (*records.FINAL, "failed"):
            raise StoreError(
                f"`status` is {status!r}; a run ends {', '.join(records.FINAL)} or failed."
            )
        if status != "failed" and self._committed != self.tasks_done:
            raise StoreError(
                f"`{self.folder}` has {self.tasks_done - self._committed} uncommitted rows, "
                f"which {status!r} would lose. Call `commit` first."
            )
        self._flush_spectra()
        self._record |= {"status": status, "reason": reason}
        records.write_record(self.folder, self._record)
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

    def _writable(self) -> Table:
        if self._table is None:
            raise StoreError(f"The run `{self.folder}` is {self.status} and closed for writing.")
        return self._table

    def _flush_spectra(self) -> None:
        if self._new_spectra:
            files.flush_folder(self.folder / "spectra")
        self._new_spectra = False

    def _resume(self, provenance: dict) -> None:
        files.remove_temporaries(self.folder)
        self._record = records.begin(self.folder, self.config, provenance)
        self.status, self.seconds = self._record["status"], self._record["seconds"] or 0.0
        table = self.folder / "tasks.parquet"
        if self.finished:
            self.tasks_done = self._committed = self._record["tasks"]
            if self.tasks_done and not table.exists():
                raise StoreError(files.damaged(table, "the run is finished, but its table is gone"))
            self.close()
            return
        found = self.checkpoint()
        self.tasks_done = self._committed = found[0] if found else 0
        self._table = Table(table, self.tasks_done)
        if self.status == "failed":
            self._record["failures"] = [*self._record.get("failures", []), self._record["reason"]]
        self.status = "running"
        self._record |= {"status": "running", "reason": None, "tasks": self.tasks_done}
        records.write_record(self.folder, self._record)
