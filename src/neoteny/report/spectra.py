"""Eigenvalue counts, read straight off the quadratures that a run has stored."""

from typing import NamedTuple

import duckdb
import numpy as np

from neoteny.report.data import Section, source

_TYPES = {
    "task": "BIGINT",
    "phase": "VARCHAR",
    "matrix": "VARCHAR",
    "probe": "BIGINT",
    "node": "DOUBLE",
    "weight": "DOUBLE",
    "size": "DOUBLE",
}


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


def _source(connection: duckdb.DuckDBPyConnection) -> str:
    """The table of spectra; those whose matrix is not named are of the Hessian."""
    return (
        "(SELECT * REPLACE (coalesce(nullif(matrix, ''), 'hessian') AS matrix) "
        f"FROM {source(connection, 'spectra', **_TYPES)})"
    )


def matrices(connection: duckdb.DuckDBPyConnection, section: Section) -> set[str]:
    """Of which matrices the section has spectra: "hessian", "ggn", both or none."""
    rows = connection.execute(
        f"SELECT DISTINCT matrix FROM {_source(connection)} "
        "WHERE study = ? AND stream = ? AND isfinite(node)",
        list(section),
    ).fetchall()
    return {matrix for (matrix,) in rows}


def early_and_late(
    connection: duckdb.DuckDBPyConnection, section: Section, matrix: str, phase: str
) -> dict[str, tuple[Measured, Measured]]:
    """For each method, its first and last tasks with spectra from at least half of its seeds.

    The two are the same task where only one was measured.
    """
    rows = connection.execute(
        f"""
        WITH seen AS (
            SELECT method, task, count(DISTINCT seed) AS seeds FROM {_source(connection)}
            WHERE study = ? AND stream = ? AND matrix = ? AND phase = ? AND isfinite(node)
                AND task >= 0
            GROUP BY method, task)
        SELECT method, min(task), max(task) FROM seen
        WHERE 2 * seeds >= (SELECT max(seeds) FROM seen AS other WHERE other.method = seen.method)
        GROUP BY method
        """,
        [*section, matrix, phase],
    ).fetchall()
    read = lambda *which: _read(connection, section, matrix, phase, *which)
    return {
        method: (Measured(first, read(method, first)), Measured(last, read(method, last)))
        for method, first, last in rows
    }


def _read(
    connection: duckdb.DuckDBPyConnection,
    section: Section,
    matrix: str,
    phase: str,
    method: str,
    task: int,
) -> list[Quadrature]:
    rows = connection.execute(
        f"SELECT seed, coalesce(probe, 0), node, weight * coalesce(size, 1) "
        f"FROM {_source(connection)} WHERE study = ? AND stream = ? AND matrix = ? "
        "AND phase = ? AND method = ? AND task = ? AND isfinite(node) AND isfinite(weight) "
        "ORDER BY seed",
        [*section, matrix, phase, method, task],
    ).fetchall()
    grouped: dict[int, list] = {}
    for seed, *entry in rows:
        grouped.setdefault(seed or 0, []).append(entry)
    return [_quadrature(np.array(entries, float)) for entries in grouped.values()]


def _quadrature(entries: np.ndarray) -> Quadrature:
    probes = len(np.unique(entries[:, 0]))
    return Quadrature(entries[:, 1], entries[:, 2] / probes)


def counts_are_eigenvalues(connection: duckdb.DuckDBPyConnection, section: Section) -> bool:
    """Whether the store knows the size of every matrix, so that weights become counts."""
    spectra = source(connection, "spectra", size="DOUBLE")
    row = connection.execute(
        f"SELECT count(*) = count(size) FROM {spectra} WHERE study = ? AND stream = ?",
        list(section),
    ).fetchone()
    return bool(row and row[0])


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
