"""The rows that a part of a claim has measured, of all its seeds together."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


class Rows:
    """Measurements as columns; a column that a row lacks, or has null in, is NaN there.

    `rows["name"]` is a column, as numbers unless it has words; `rows.where(name=value)` those rows
    whose columns have these values; `len(rows)` their number. Every row has a `seed`.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        self._rows = [dict(row) for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self):
        return iter(self._rows)

    def __getitem__(self, name: str) -> np.ndarray:
        values = [row.get(name) for row in self._rows]
        if any(isinstance(value, str) for value in values):
            return np.array(["" if value is None else str(value) for value in values])
        return np.array([np.nan if value is None else float(value) for value in values])

    def where(self, **wanted: Any) -> "Rows":
        return Rows(
            row
            for row in self._rows
            if all(_same(row.get(name), value) for name, value in wanted.items())
        )

    def values(self, name: str) -> list[Any]:
        """The different values of a column, in the order in which they first come."""
        return list(dict.fromkeys(row[name] for row in self._rows if row.get(name) is not None))

    def by_seed(self, name: str) -> np.ndarray:
        """The mean of a column over the rows of each seed, in the order of the seeds."""
        seeds = sorted(self.values("seed"))
        return np.array([self.where(seed=seed)[name].mean() for seed in seeds])


def _same(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and value is not None:
        return bool(np.isclose(value, wanted, rtol=1e-9, atol=0))
    return value == wanted


def slope(x: Any, y: Any) -> float:
    """Of the line that is nearest to the points, by least squares; NaN for fewer than two."""
    if len(x) < 2:
        return float("nan")
    return float(np.polyfit(np.asarray(x, float), np.asarray(y, float), 1)[0])
