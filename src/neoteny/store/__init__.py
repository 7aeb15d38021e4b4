"""A run is a folder: its configuration and provenance, a table of tasks, spectra, a checkpoint.

    ROOT/<stream>/<method>/seed-<n>/
      run.json                        configuration, provenance, status, seconds
      tasks.parquet                   a row for each finished task, without timings
      spectra/task-00007-start.npz    quadratures: nodes, weights, size
      checkpoint.npz                  what training needs to go on
      .lock                           held by the process that writes

Every file is replaced whole: written beside its place, flushed to disk, renamed. A commit
settles spectra, table, checkpoint and run.json in this order, and **the checkpoint
decides**: a run killed at any instant goes on from its last checkpoint, rows of the table
beyond it are dropped and learnt again. Rows hold nothing that differs between two
executions, so a killed and resumed run ends with the table of an uninterrupted one.

Reading takes no lock, and may go on while runs are writing.
"""

from neoteny.store.files import (
    StoreError,
    hold,
    is_locked,
    lock,
    read_checkpoint,
    write_file,
    write_text,
)
from neoteny.store.following import Followed, Follower, View
from neoteny.store.reading import (
    TUNING,
    Result,
    asking,
    connect,
    find_runs,
    natural,
    query,
    status,
)
from neoteny.store.records import FINAL, check, ended, read_record
from neoteny.store.run import Run
from neoteny.store.sql import quote

__all__ = [
    "FINAL",
    "TUNING",
    "Followed",
    "Follower",
    "Result",
    "Run",
    "StoreError",
    "View",
    "asking",
    "check",
    "connect",
    "ended",
    "find_runs",
    "hold",
    "is_locked",
    "lock",
    "natural",
    "query",
    "quote",
    "read_checkpoint",
    "read_record",
    "status",
    "write_file",
    "write_text",
]
