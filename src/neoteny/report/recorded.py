"""What was recorded of each stream, as the figures and tables of the report ask for it."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import duckdb
import numpy as np

from neoteny.report import data, rows
from neoteny.report.data import Run, Section
from neoteny.report.rows import Curve, Rows
from neoteny.report.spectra import Spectra

MOST_POINTS = 500
"""Longer lines are drawn as means over blocks of tasks: more than a screen has pixels for."""


class Recorded:
    """What was recorded of one stream of one study.

    - `section`: which; `methods`: in the order of every legend; `runs`: their records.
    - `metric`: what the stream is judged by.
    - `spectra`: of all streams.
    """

    def __init__(
        self, table: Rows, section: Section, runs: list[Run], metric: str, spectra: Spectra
    ):
        """Not for callers: see `every` and `recorded`."""
        self.section, self.runs, self.metric, self.spectra = section, runs, metric, spectra
        self._most_points = MOST_POINTS
        self._curves: dict[str, dict[str, Curve]] = {}
        self._table = table
        self._lines = {
            method: line for line, (owner, method) in enumerate(table.lines) if owner == section
        }
        self.methods = data.ordered({run.method for run in runs} | self._lines.keys())
        first, last = min(self._lines.values(), default=0), max(self._lines.values(), default=-1)
        self._rows = slice(int(table.bounds[first]), int(table.bounds[last + 1]))
        self.task, self._seed = table.task[self._rows], table.seed[self._rows]
        self._line = np.repeat(np.arange(first, last + 1), np.diff(table.bounds[first : last + 2]))

    @property
    def columns(self) -> list[str]:
        """The columns of the table of tasks, but for those that say which row it is."""
        return self._table.columns

    @cached_property
    def length(self) -> int:
        """How many tasks the furthest run has reached."""
        return int(self.task.max(initial=-1)) + 1

    @cached_property
    def block(self) -> int:
        """How many consecutive tasks share one point of a line: 1 for all but long streams."""
        return max(1, -(-self.length // self._most_points))

    def thin(self, most_points: int) -> None:
        """Draw lines of no more points than these; to be called before any is asked for."""
        self._most_points = most_points

    def setting(self, *path: str) -> Any:
        """The first value that any run has at `setting.<path>`, else None."""
        for run in self.runs:
            value: Any = run.configuration.get("setting")
            for name in path:
                value = value.get(name) if isinstance(value, Mapping) else None
            if value is not None:
                return value
        return None

    def measured(self, column: str) -> bool:
        """Whether any task has a finite value in `column`."""
        return bool(self.curves(column))

    def measurements(self, column: str) -> int:
        """How many finite values there are in `column`."""
        found = (self._table.curve(column, line) for line in self._lines.values())
        return int(sum(one.seeds.sum() for one in found))

    def curves(self, column: str) -> dict[str, Curve]:
        """The curve of `column` for each method that has any finite value in it.

        Mean, lowest and highest are taken over seeds, and then over blocks of tasks (`block`).
        """
        if column not in self._curves:
            self._curves[column] = self._drawable(lambda line: self._table.curve(column, line))
        return self._curves[column]

    def smoothed(self, column: str, window: int) -> dict[str, Curve]:
        """As `curves`, each seed being averaged over a centred window of tasks before."""
        smooth = rows.moving_mean(self._run, self.task, self.values(column), window)
        return self._derived(smooth)

    def differences(self, column: str, minus: str) -> dict[str, Curve]:
        """As `curves`, of `column` minus the column `minus`, where both were measured."""
        return self._derived(self.values(column) - self.values(minus))

    def shared(self, column: str) -> Curve | None:
        """One curve for all methods, if they agree on `column` wherever seed and task do."""
        order = np.lexsort((self._seed, self.task))
        order = order[np.isfinite(self.values(column)[order])]
        task, seed, values = self.task[order], self._seed[order], self.values(column)[order]
        once = rows.changes(task, seed)
        found = rows.summary(task, values, once)
        if not len(once) or np.max(found.high - found.low) >= 1e-9:
            return None
        return rows.summary(task[once], found.high, rows.changes(task[once])).blocks(self.block)

    def values(self, column: str) -> np.ndarray:
        """`column` of every row of this stream, by method, task and seed; NaN if not measured."""
        return self._table.values(column)[self._rows]

    def by_run(self, column: str) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
        """The tasks on which each run, by method and seed, has a finite value, and the values."""
        values = self.values(column)
        there = {run: rows[np.isfinite(values[rows])] for run, rows in self.rows_of.items()}
        return {run: (self.task[rows], values[rows]) for run, rows in there.items() if len(rows)}

    @cached_property
    def rows_of(self) -> dict[tuple[str, int], np.ndarray]:
        """Which rows of `task` and of `values` each run has, by method and seed."""
        if not len(self.task):
            return {}
        names = {line: name for name, line in self._lines.items()}
        order = np.lexsort((self.task, self._seed, self._line))
        starts = rows.changes(self._line[order], self._seed[order])
        return {
            (names[int(self._line[part[0]])], int(self._seed[part[0]])): part
            for part in np.split(order, starts[1:])
        }

    @cached_property
    def _run(self) -> np.ndarray:
        """A number of its own for each run, by row."""
        numbers = np.empty(len(self.task), int)
        for number, rows_of_run in enumerate(self.rows_of.values()):
            numbers[rows_of_run] = number
        return numbers

    def _derived(self, values: np.ndarray) -> dict[str, Curve]:
        starts = rows.changes(self._line, self.task)
        whole, line = rows.summary(self.task, values, starts), self._line[starts]
        of = lambda mine: rows.measured(Curve(*(each[line == mine] for each in whole)))
        return self._drawable(of)

    def _drawable(self, curve: Callable[[int], Curve]) -> dict[str, Curve]:
        found = {name: curve(line) for name, line in self._lines.items()}
        return {name: one.blocks(self.block) for name, one in found.items() if len(one.task)}


def every(connection: duckdb.DuckDBPyConnection) -> list[Recorded]:
    """What was recorded of every stream, in order of study and stream."""
    table, spectra, runs = Rows(connection), Spectra(connection), data.every_run(connection)
    judged = data.metrics(connection, runs)
    mine: dict[Section, list[Run]] = {section: [] for section in judged}
    for run in runs:
        mine[run.section].append(run)
    return [Recorded(table, one, mine[one], judged[one], spectra) for one in sorted(judged)]


def recorded(connection: duckdb.DuckDBPyConnection, section: Section) -> Recorded:
    """What was recorded of one stream, of which there may be nothing."""
    for one in every(connection):
        if one.section == section:
            return one
    return Recorded(Rows(connection), section, [], data.ACCURACIES[0], Spectra(connection))
