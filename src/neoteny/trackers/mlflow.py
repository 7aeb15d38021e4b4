"""MLflow: a run in its database for each of ours, in a file that `mlflow ui` opens."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from neoteny.errors import UserError
from neoteny.trackers.base import Histogram, Place, TrackedRun, flat, needed, refuse_online, words

FILE = "mlflow.db"
KEY, TASKS = "neoteny.key", "neoteny.tasks"
"""Tags by which a run is found again, and that say how much of it is there."""

_LONGEST = 5000


class MlflowTracker:
    """Writes `OUT/mlflow.db`: metrics, the configuration as parameters, the rest as tags.

    MLflow has no histograms, so spectra are not sent; their ranks and extremes are metrics.
    """

    def __init__(self, place: Place):
        refuse_online(place, "mlflow")
        self._place, self._client = place, _client(place)
        self._run: TrackedRun | None = None
        self._id, self._done, self._metrics = "", 0, []

    def start(self, run: TrackedRun) -> bool:
        """Find the run by its tag, or begin it; what is there of its tasks is not sent again."""
        experiment = self._experiment(self._place.project or str(run.config["study"]))
        found = self._client.search_runs([experiment], f"tags.`{KEY}` = '{run.key}'")
        tags = found[0].data.tags if found else {}
        self._run, self._done, self._metrics = run, int(tags.get(TASKS, 0)), []
        standing = {name: tags.get(name) for name in _standing(run)}
        if standing == _standing(run):
            return False
        if found:
            self._id = found[0].info.run_id
            return True
        begun = self._client.create_run(
            experiment, start_time=_milliseconds(run.began), run_name=run.name, tags=_tags(run)
        )
        self._id = begun.info.run_id
        parameters = [
            self._entities.Param(name, words(value)[:_LONGEST])
            for name, value in flat(run.config).items()
        ]
        for part in _parts(parameters, 100):
            self._client.log_batch(self._id, params=part)
        return True

    def log(self, task: int, values: Mapping[str, float], spectra: Mapping[str, Histogram]) -> None:
        """The task's metrics, written with all others in `finish`; the step is its number."""
        assert self._run is not None
        if task < self._done:
            return
        metric, time = self._entities.Metric, _milliseconds(self._run.began)
        self._metrics += [metric(tag, value, time, task) for tag, value in values.items()]

    def finish(self) -> None:
        """Set the status: failed is what failed or diverged, killed what was interrupted."""
        assert self._run is not None
        for part in _parts(self._metrics, 1000):
            self._client.log_batch(self._id, metrics=part)
        standing = _standing(self._run).items()
        self._client.log_batch(self._id, tags=[self._entities.RunTag(*tag) for tag in standing])
        known = {"finished": "FINISHED", "running": "RUNNING", "interrupted": "KILLED"}
        status = known.get(self._run.status, "FAILED")
        if status == "RUNNING":
            self._client.update_run(self._id, status=status)
        else:
            ended = _milliseconds(self._run.began + self._run.seconds)
            self._client.set_terminated(self._id, status, ended)
        self._run = None

    def close(self) -> None:
        """Let go of the file."""

    @property
    def _entities(self) -> Any:
        return sys.modules["mlflow.entities"]

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        place = (self._place.out / "artifacts").as_uri()
        return self._client.create_experiment(name, artifact_location=place)


def _client(place: Place) -> Any:
    """A client of the file, which is made; without telemetry, and without words to the terminal.

    Whether it may tell its makers about its use is read when MLflow is imported.
    """
    file = place.out / FILE
    if any(sign in str(file) for sign in "?#%"):
        raise UserError(
            f"`--out` is {place.out}, but MLflow's address of it may hold none of ? # %. Pass "
            "another."
        )
    before = os.environ.get("MLFLOW_DISABLE_TELEMETRY")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    logger = logging.getLogger("mlflow")
    try:
        for package in ("sqlalchemy", "alembic", "mlflow", "mlflow.entities"):
            needed(package, "mlflow")
        level = logger.level
        logger.setLevel(logging.WARNING)
        place.out.mkdir(parents=True, exist_ok=True)
        client = sys.modules["mlflow"].MlflowClient(tracking_uri=f"sqlite:///{file}")
        client.get_experiment_by_name("Default")  # makes the tables
        logger.setLevel(level)
        return client
    finally:
        if before is None:
            del os.environ["MLFLOW_DISABLE_TELEMETRY"]
        else:
            os.environ["MLFLOW_DISABLE_TELEMETRY"] = before


def _standing(run: TrackedRun) -> dict[str, str]:
    return {
        TASKS: str(run.tasks),
        "neoteny.status": run.status,
        "neoteny.reason": (run.reason or "none")[:_LONGEST],
    }


def _tags(run: TrackedRun) -> dict[str, str]:
    provenance = flat({"provenance": run.provenance})
    return {
        KEY: run.key,
        "neoteny.units": json.dumps(run.units, ensure_ascii=False)[:_LONGEST],
        **{name: words(value)[:_LONGEST] for name, value in provenance.items()},
    }


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
