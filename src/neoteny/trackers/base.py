"""What a tracker is, and what it is told of a run: the same for every one of them."""

import json
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from neoteny import glossary
from neoteny.errors import UserError


class TrackedRun(NamedTuple):
    """A stored run before its rows.

    - `name`: its folder below the one that is exported, as `labels/bp/seed-0`.
    - `key`: 16 hexadecimal digits, the same whenever this run is exported, and no other's.
    - `config`, `provenance`, `status`, `reason`, `tasks` (done), `seconds`: as stored.
    - `began`: seconds since 1970, or 0 where the store does not know. The store keeps no time for
      each task, so it stands for all of them.
    - `columns`: by tag, the column of `neoteny query` that it stands for.
    """

    name: str
    key: str
    config: dict[str, Any]
    provenance: dict[str, Any]
    status: str
    reason: str | None
    tasks: int
    seconds: float
    began: float
    columns: dict[str, str]

    @property
    def units(self) -> dict[str, str]:
        """By tag, the unit of what has one."""
        entries = {tag: glossary.entry(column) for tag, column in self.columns.items()}
        return {tag: entry.unit for tag, entry in entries.items() if entry and entry.unit}


class Histogram(NamedTuple):
    """A spectrum in bins: `counts` (eigenvalues of a matrix, estimated) between `edges`.

    - `low`, `high`, `sum`, `sum_squares`: of the eigenvalues themselves, not of their bins.
    """

    edges: np.ndarray
    counts: np.ndarray
    low: float
    high: float
    sum: float
    sum_squares: float


@runtime_checkable
class Tracker(Protocol):
    """Where runs are sent, one after the other."""

    def start(self, run: TrackedRun) -> bool:
        """Begin a run, or say False if it is there as it stands and nothing is to be sent."""
        ...

    def log(self, task: int, values: Mapping[str, float], spectra: Mapping[str, Histogram]) -> None:
        """A task's numbers by tag, none missing and all finite; tasks come in their order."""
        ...

    def finish(self) -> None:
        """End the run with the status that `start` was told."""
        ...

    def close(self) -> None:
        """Leave nothing running; a run that was not finished is given up."""
        ...


class Place(NamedTuple):
    """Where a tracker is to put what it is sent: what a person chose on the command line."""

    out: Path
    project: str | None = None
    online: bool = False


def needed(package: str, extra: str) -> Any:
    """The package, or a `UserError` that names the extra which brings it."""
    try:
        return import_module(package)
    except ImportError as missing:
        raise UserError(
            f"`--to {extra}` needs the package {missing.name or package}, which is not installed. "
            f'Type `pip install "neoteny[{extra}]"`.'
        ) from missing


def refuse_online(place: Place, to: str) -> None:
    """Refuse to be online, of a tracker that writes files alone."""
    if place.online:
        raise UserError(f"`online` is given, but `--to {to}` writes files alone. Leave it out.")


def tags(columns: Iterable[str]) -> dict[str, str]:
    """A tag that every tracker takes for each column, after the group it belongs to: by tag."""
    found: dict[str, str] = {}
    for column in columns:
        group = glossary.group(column) or "own"
        tag = plain = f"{group}/" + re.sub(r"[^\w.-]|^\.+$", "_", column)[:200]
        copy = 1
        while tag in found:
            tag = f"{plain}_{(copy := copy + 1)}"
        found[tag] = column
    return found


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries, with dots between names; lists are leaves."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def words(value: Any) -> str:
    """A leaf of a configuration as text: JSON, or text as it stands."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_DECADES = np.arange(-120, 121) / 10.0
_EDGES = np.concatenate([-(10.0 ** _DECADES[::-1]), 10.0**_DECADES])
"""Ten bins to a decade on both sides of zero, and one for what is below 1e-12: 481 in all."""


def histogram(nodes: np.ndarray, weights: np.ndarray, total: float) -> Histogram:
    """A quadrature as a histogram of `total` eigenvalues.

    **Arguments:**

    - `nodes`, `weights`: of one shape; weights sum to the number of probes.
    """
    counts = weights * (total / np.sum(weights))
    inside = np.clip(nodes, _EDGES[0], _EDGES[-1])
    binned, _ = np.histogram(inside, _EDGES, weights=counts)
    used = np.flatnonzero(binned)
    first, last = (used[0], used[-1] + 1) if len(used) else (0, len(binned))
    return Histogram(
        _EDGES[first : last + 1],
        binned[first:last],
        float(np.min(nodes)),
        float(np.max(nodes)),
        float(np.sum(counts * nodes)),
        float(np.sum(counts * nodes**2)),
    )
