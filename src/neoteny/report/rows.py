"""The table of tasks as arrays, in one order for all columns, and curves over it.

Columns are taken from the table one after another, and their rows put in the order of stream,
method, task and seed. What belongs to one point of a curve then lies side by side, so that
means and extremes over seeds are one reduction for all streams together.
"""

from typing import NamedTuple

import duckdb
import numpy as np

from neoteny import store
from neoteny.report import data
from neoteny.report.data import Section

MOST_KEPT = 30_000_000
"""Numbers of columns that are kept, in case they are asked for again."""


class Curve(NamedTuple):
    """A quantity of one method along tasks: its mean over seeds, lowest and highest seed.

    `seeds` counts the seeds behind each point, fewer where runs stopped early.
    """

    task: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: np.ndarray

    def blocks(self, size: int) -> "Curve":
        """Means over blocks of `size` tasks, with the lowest and highest of any task in them."""
        if size == 1 or not len(self.task):
            return self
        _, starts, counts = np.unique(self.task // size, return_index=True, return_counts=True)
        mean = lambda values: np.add.reduceat(values, starts) / counts
        return Curve(
            mean(self.task),
            mean(self.mean),
            np.minimum.reduceat(self.low, starts),
            np.maximum.reduceat(self.high, starts),
            np.maximum.reduceat(self.seeds, starts),
        )


class Rows:
    """The rows of the table of tasks, by study, stream, method, task and seed.

    - `lines`: each (section, method), in order; `bounds[i]` to `bounds[i + 1]` are its rows.
    - `seed`, `task`: of each row.
    - `columns`: all but those that say which row it is.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        """Read which rows there are; a column is read when it is asked for."""
        self._connection = connection
        own = {*data.IDENTITY, "task"}
        self.columns = [name for name in data.columns(connection, "tasks") if name not in own]
        table = data.source(connection, "tasks", task="BIGINT")
        key = "hash(study, stream, method)"
        names = connection.execute(
            f"SELECT DISTINCT study, stream, method, {key} FROM {table} "
            "WHERE task IS NOT NULL ORDER BY study, stream, method"
        ).fetchall()
        self.lines = [(Section(study, stream), method) for study, stream, method, _ in names]
        found = data.arrays(
            connection.execute(
                f"SELECT {key} AS line, coalesce(seed, 0) AS seed, task FROM {table} "
                "WHERE task IS NOT NULL"
            )
        )
        line = _places([key for *_, key in names], found["line"])
        self._order = np.lexsort((found["seed"], found["task"], line))
        line, self.seed, self.task = (
            each[self._order] for each in (line, found["seed"], found["task"])
        )
        self.bounds = np.searchsorted(line, np.arange(len(names) + 1))
        self._kept: dict[str, np.ndarray] = {}
        self._curves: dict[str, tuple[Curve, list[int]]] = {}

    def rows(self, line: int) -> slice:
        """The rows of one of `lines`."""
        return slice(int(self.bounds[line]), int(self.bounds[line + 1]))

    def values(self, column: str) -> np.ndarray:
        """`column` of every row; NaN where it was not measured or is not finite."""
        if column not in self._kept:
            if len(self._kept) * len(self.task) > MOST_KEPT:
                self._kept.clear()
            self._kept[column] = self._read(column)
        return self._kept[column]

    def _read(self, column: str) -> np.ndarray:
        if column not in self.columns:
            return np.full(len(self.task), np.nan)
        number = f"coalesce(TRY_CAST({store.quote(column)} AS DOUBLE), 'nan'::DOUBLE)"
        answer = self._connection.execute(
            f"SELECT {number} AS value FROM tasks WHERE TRY_CAST(task AS BIGINT) IS NOT NULL"
        )
        values = data.arrays(answer)["value"][self._order]
        return np.where(np.isfinite(values), values, np.nan)

    def curve(self, column: str, line: int) -> Curve:
        """`column` along the tasks of one of `lines` on which it was measured."""
        if column not in self._curves:
            self._curves[column] = self._summary(column)
        whole, bounds = self._curves[column]
        start, end = bounds[line], bounds[line + 1]
        return Curve(*(each[start:end] for each in whole))

    def _summary(self, column: str) -> tuple[Curve, list[int]]:
        """Over the seeds of every task of every line, and where each line begins."""
        line = np.repeat(np.arange(len(self.lines)), np.diff(self.bounds))
        starts = changes(line, self.task)
        whole = summary(self.task, self.values(column), starts)
        there = np.flatnonzero(whole.seeds)
        bounds = np.searchsorted(line[starts][there], np.arange(len(self.lines) + 1))
        return Curve(*(each[there] for each in whole)), bounds.tolist()


def _places(known: list[int], keys: np.ndarray) -> np.ndarray:
    """At which place of `known` each of `keys` is."""
    order = np.argsort(np.array(known, np.uint64))
    return order[np.searchsorted(np.array(known, np.uint64)[order], keys)]


def changes(*keys: np.ndarray) -> np.ndarray:
    """Where a stretch of rows with the same `keys` begins."""
    if not len(keys[0]):
        return np.empty(0, int)
    new = np.any([each[1:] != each[:-1] for each in keys], axis=0)
    return np.concatenate([[0], np.flatnonzero(new) + 1])


def summary(task: np.ndarray, values: np.ndarray, starts: np.ndarray) -> Curve:
    """Mean, lowest, highest and number of the `values` in each stretch, NaN left out."""
    if not len(starts):
        return Curve(*(np.empty(0) for _ in Curve._fields))
    there = np.isfinite(values)
    count = np.add.reduceat(there.astype(int), starts)
    with np.errstate(invalid="ignore"):
        mean = np.add.reduceat(np.where(there, values, 0.0), starts) / np.where(count, count, 1)
    low = np.minimum.reduceat(np.where(there, values, np.inf), starts)
    high = np.maximum.reduceat(np.where(there, values, -np.inf), starts)
    return Curve(task[starts].astype(float), np.clip(mean, low, high), low, high, count)


def block_means(task: np.ndarray, values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Tasks and values of one line as means over blocks of `size` tasks."""
    if size == 1:
        return task, values
    starts = changes(task // size)
    counts = np.diff(np.append(starts, len(task)))
    return np.add.reduceat(task, starts) / counts, np.add.reduceat(values, starts) / counts


def measured(curve: Curve) -> Curve:
    """The points that have a seed behind them."""
    return Curve(*(each[curve.seeds > 0] for each in curve))


def moving_mean(line: np.ndarray, task: np.ndarray, values: np.ndarray, window: int) -> np.ndarray:
    """A centred mean over `window` tasks within each line, of what was measured there."""
    half, span = (window - 1) // 2, int(task.max(initial=0)) + window + 1
    order = np.lexsort((task, line))
    order = order[np.isfinite(values[order])]
    keys = line[order].astype(np.int64) * span + task[order]
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    low = np.searchsorted(keys, keys - half, "left")
    high = np.searchsorted(keys, keys + half, "right")
    smooth = np.full(len(values), np.nan)
    smooth[order] = (sums[high] - sums[low]) / (high - low)
    return smooth
