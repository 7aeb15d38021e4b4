"""Eigenvalue counts, read straight off the quadratures that runs have stored."""

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import duckdb
import numpy as np

from neoteny.report.data import Section, arrays, source
from neoteny.report.rows import changes

_TYPES = {
    "task": "BIGINT",
    "phase": "VARCHAR",
    "matrix": "VARCHAR",
    "probe": "BIGINT",
    "node": "DOUBLE",
    "weight": "DOUBLE",
    "size": "DOUBLE",
}
BINS = 4
"""To a decade of eigenvalues, in every histogram."""

_SMALLEST = 40
"""Decades below one within which an eigenvalue has a bin of its own sign."""


class Quadrature(NamedTuple):
    """Nodes of all probes of one seed, each with the eigenvalues it stands for.

    `counts` sum to the matrix's size, or to one where the store does not know it.
    """

    nodes: np.ndarray
    counts: np.ndarray


class Measured(NamedTuple):
    """The quadratures of one method at one task, one for each seed."""

    task: int
    seeds: list[Quadrature]


class Line(NamedTuple):
    """Which spectra lie along one line of tasks."""

    section: Section
    method: str
    matrix: str
    phase: str


class Histories(NamedTuple):
    """How the eigenvalues of one line are spread, task by task.

    `places[i]` is the task's place in `tasks`, `bins[i]` a signed bin (see `rows_of`) and
    `counts[i]` its eigenvalues, mean over probes and seeds.
    """

    tasks: np.ndarray
    places: np.ndarray
    bins: np.ndarray
    counts: np.ndarray


class Spectra:
    """The quadratures of all streams."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        """Nothing is read before it is asked for; those of no named matrix are the Hessian's."""
        self._connection = connection
        self._named = (
            "(SELECT * REPLACE (coalesce(nullif(matrix, ''), 'hessian') AS matrix, "
            f"coalesce(probe, 0) AS probe) FROM {source(connection, 'spectra', **_TYPES)} "
            "WHERE task >= 0 AND isfinite(node) AND isfinite(weight))"
        )
        names = "study, stream, method, matrix, phase"
        self._numbered = (
            f"(SELECT * FROM {self._named} JOIN (SELECT *, row_number() OVER (ORDER BY {names}) "
            f"- 1 AS line FROM (SELECT DISTINCT {names} FROM {self._named})) USING ({names}))"
        )

    @cached_property
    def lines(self) -> list[Line]:
        """Every line of which there are spectra."""
        rows = self._connection.execute(
            f"SELECT DISTINCT study, stream, method, matrix, phase FROM {self._named} ORDER BY ALL"
        ).fetchall()
        return [Line(Section(study, stream), *rest) for study, stream, *rest in rows]

    def matrices(self, section: Section) -> set[str]:
        """Of which matrices a stream has spectra: "hessian", "ggn", both or none."""
        return {line.matrix for line in self.lines if line.section == section}

    def counted(self, section: Section) -> bool:
        """Whether the store knows the size of every matrix, so that weights become counts."""
        return section not in self._unsized

    @cached_property
    def _unsized(self) -> set[Section]:
        rows = self._connection.execute(
            f"SELECT DISTINCT study, stream FROM {self._named} WHERE size IS NULL"
        ).fetchall()
        return {Section(*row) for row in rows}

    def early_and_late(
        self, section: Section, matrix: str, phase: str
    ) -> dict[str, tuple[Measured, Measured]]:
        """For each method, its first and last tasks with spectra from at least half of its seeds.

        The two are the same task where only one was measured.
        """
        return {
            line.method: (found[0], found[-1])
            for line, found in self._ends.items()
            if (line.section, line.matrix, line.phase) == (section, matrix, phase)
        }

    @cached_property
    def _ends(self) -> dict[Line, list[Measured]]:
        found = arrays(
            self._connection.execute(
                f"""
            WITH spectra AS {self._numbered},
            seen AS (SELECT line, task, count(DISTINCT seed) AS seeds FROM spectra GROUP BY ALL),
            ends AS (SELECT line, min(task) AS early, max(task) AS late FROM seen
                JOIN (SELECT line, max(seeds) AS most FROM seen GROUP BY line) USING (line)
                WHERE 2 * seeds >= most GROUP BY line)
            SELECT line, task, seed, probe, node, weight * coalesce(size, 1) AS count
            FROM spectra JOIN ends USING (line) WHERE task IN (early, late)
            ORDER BY line, task, seed, probe, node
            """
            )
        )
        columns = [found[name] for name in ("line", "task", "seed")]
        entries = np.stack([found[name] for name in ("probe", "node", "count")], axis=1)
        ends: dict[Line, list[Measured]] = {}
        starts = changes(*columns)
        for start, part in zip(starts, np.split(entries, starts[1:]), strict=False):
            line, task = self.lines[int(columns[0][start])], int(columns[1][start])
            mine = ends.setdefault(line, [])
            if not mine or mine[-1].task != task:
                mine.append(Measured(task, []))
            mine[-1].seeds.append(_quadrature(part))
        return ends

    def histories(self, section: Section, matrix: str, phase: str) -> dict[str, Histories]:
        """For each method, its eigenvalues in bins on every task on which they were measured."""
        return {
            line.method: found
            for line, found in self._histories.items()
            if (line.section, line.matrix, line.phase) == (section, matrix, phase)
        }

    @cached_property
    def _histories(self) -> Mapping[Line, Histories]:
        found = arrays(
            self._connection.execute(
                f"""
            WITH spectra AS {self._numbered},
            starts AS (SELECT line, task, count(DISTINCT (seed, probe)) AS starts FROM spectra
                GROUP BY ALL)
            SELECT line, task,
                CASE WHEN abs(node) < 1e-{_SMALLEST} THEN 0 ELSE sign(node) * ({_SMALLEST * BINS}
                    + 1 + floor({BINS} * log10(abs(node)))) END::BIGINT AS bin,
                sum(weight * coalesce(size, 1) / starts) AS count
            FROM spectra JOIN starts USING (line, task) GROUP BY ALL ORDER BY ALL
            """
            )
        )
        line, task, bins, counts = (found[name] for name in ("line", "task", "bin", "count"))
        starts = changes(line)
        ends = np.append(starts[1:], len(line))
        return {
            self.lines[int(line[start])]: Histories(
                *np.unique(task[start:end], return_inverse=True), bins[start:end], counts[start:end]
            )
            for start, end in zip(starts, ends, strict=False)
        }


def rows_of(bins: np.ndarray, unit: float) -> np.ndarray:
    """Which bin above `unit`, a power of ten, those of `histories` are: 0 for what is smaller."""
    above = np.abs(bins) - BINS * (_SMALLEST + round(np.log10(unit)))
    return np.sign(bins) * np.maximum(above, 0)


def size_of(bin: int) -> float:
    """The largest magnitude in a bin of `histories`; the smallest there is for the bin at 0."""
    return 10.0 ** (abs(bin) / BINS - _SMALLEST)


def _quadrature(entries: np.ndarray) -> Quadrature:
    probes = len(np.unique(entries[:, 0]))
    return Quadrature(entries[:, 1], entries[:, 2] / probes)


def counting(quadrature: Quadrature, thresholds: np.ndarray) -> np.ndarray:
    """N(x): how many eigenvalues have a magnitude above each of `thresholds`."""
    order = np.argsort(np.abs(quadrature.nodes))
    magnitudes = np.abs(quadrature.nodes)[order]
    above = np.append(np.cumsum(quadrature.counts[order][::-1])[::-1], 0.0)
    return above[np.searchsorted(magnitudes, thresholds, side="right")]


def symlog(values: np.ndarray, unit: float) -> np.ndarray:
    """Signed decades above `unit`: 0 for what is smaller, -2 for -100 units."""
    with np.errstate(divide="ignore"):
        decades = np.log10(np.abs(values) / unit)
    return np.sign(values) * np.maximum(decades, 0.0)


def histogram(quadrature: Quadrature, edges: np.ndarray, unit: float) -> np.ndarray:
    """How many eigenvalues lie between each two neighbours of symlog `edges`."""
    place = symlog(quadrature.nodes, unit)
    return np.histogram(place, edges, weights=quadrature.counts)[0]
