"""From the store to a tracker: each run with its identity, its rows and its spectra."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from neoteny import store
from neoteny.errors import UserError, unknown
from neoteny.sweep import in_one_line
from neoteny.trackers.base import Histogram, Place, TrackedRun, Tracker, histogram, tags

OnRun = Callable[[int, int], None]
"""`(done, of)`: so many runs have been dealt with."""


def send(
    folder: Path | str,
    to: str,
    out: Path | str,
    *,
    project: str | None = None,
    online: bool = False,
    on_run: OnRun = lambda done, of: None,
) -> int:
    """Send all runs at or below `folder` to a tracker; how many there was something to send of.

    Sending again adds what is new and doubles nothing.

    **Arguments:**

    - `to`: one of `TRACKERS`.
    - `out`: the folder that the tracker writes to.
    - `project`: what the tracker gathers runs under; by default the study of each.
    - `online`: of `wandb`: send to its server at once. Nothing else uses the network.

    **Raises:** `UserError` if there are no runs or no such tracker, its package is not installed,
    or it cannot write.
    """
    from neoteny.trackers import TRACKERS

    if to not in TRACKERS:
        raise unknown("tracker", to, TRACKERS)
    folder, out = Path(folder).absolute(), Path(out).absolute()
    store.status(folder)  # refuses a folder without runs, or with a damaged record
    if out.exists() and not out.is_dir():
        raise UserError(f"`--out` is {out}, a file; `--to {to}` writes to a folder.")
    paths, sent = store.find_runs(folder), 0
    with _told_of(to), closing(TRACKERS[to](Place(out, project, online))) as tracker:
        for done, path in enumerate(paths, start=1):
            sent += _send_run(tracker, path, folder)
            on_run(done, len(paths))
    return sent


@contextmanager
def _told_of(to: str) -> Iterator[None]:
    """What another program's code stumbles over, as a sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"`--to {to}` has failed: {in_one_line(error)}.") from error


def _send_run(tracker: Tracker, path: Path, folder: Path) -> bool:
    with store.connect(path) as connection:
        answer = connection.execute(
            "SELECT * EXCLUDE (study, stream, method, seed) FROM tasks ORDER BY task"
        )
        columns = [(name, str(kind)) for name, kind, *_ in answer.description]
        rows = answer.fetchall()
        names = [name for name, kind in columns if name != "task" and kind != "VARCHAR"]
        run = _described(connection, path, folder, names)
        if not tracker.start(run):
            return False
        places = {name: place for place, (name, _) in enumerate(columns)}
        spectra = _spectra(connection)
        for row in rows:
            task = row[places["task"]]
            values = {tag: row[places[column]] for tag, column in run.columns.items()}
            present = {tag: float(value) for tag, value in values.items() if value is not None}
            finite = {tag: value for tag, value in present.items() if np.isfinite(value)}
            tracker.log(task, finite, spectra.get(task, {}))
    tracker.finish()
    return True


def _described(connection: Any, path: Path, folder: Path, names: list[str]) -> TrackedRun:
    found = connection.execute(
        "SELECT config, provenance, status, reason, tasks, seconds FROM runs"
    ).fetchone()
    config, provenance = json.loads(found[0]), json.loads(found[1])
    created = str(provenance.get("created", ""))
    identity = json.dumps([config, created], sort_keys=True).encode()
    below = path.relative_to(folder).as_posix()
    own = f"{config['stream']}/{config['method']}/seed-{config['seed']}"
    return TrackedRun(
        name=own if below == "." else below,
        key=hashlib.sha256(identity).hexdigest()[:16],
        config=config,
        provenance=provenance,
        status=found[2],
        reason=found[3],
        tasks=found[4],
        seconds=found[5] or 0.0,
        began=_seconds(created),
        columns=tags(names),
    )


def _seconds(created: str) -> float:
    try:
        return datetime.fromisoformat(created).timestamp()
    except ValueError:
        return 0.0


def _spectra(connection: Any) -> dict[int, dict[str, Histogram]]:
    """By task, the histograms of what was measured in it, as `hessian/spectrum_start`."""
    found: dict[int, dict[str, Histogram]] = {}
    for task, tag, nodes, weights, size in _quadratures(connection):
        nodes, weights = np.array(nodes, float), np.array(weights, float)
        if np.isfinite(nodes).all() and np.isfinite(weights).all() and weights.sum() > 0:
            found.setdefault(task, {})[tag] = histogram(nodes, weights, float(size or 1))
    return found


def _quadratures(connection: Any) -> Iterator[tuple]:
    yield from connection.execute(
        "SELECT task, matrix || '/spectrum_' || phase, list(node ORDER BY probe), "
        "list(weight ORDER BY probe), max(size) FROM spectra GROUP BY ALL ORDER BY ALL"
    ).fetchall()
