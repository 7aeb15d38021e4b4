"""Weights & Biases: a run of its kind for each of ours, written to a folder without its server."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from neoteny.errors import UserError
from neoteny.trackers.base import Histogram, Place, TrackedRun, needed

STAMP = "neoteny.json"
"""In a run's folder, how far the run had come: what is there as it stands is not written again."""


class WandbTracker:
    """Writes `OUT/wandb/offline-run-*`, which `wandb sync` sends; or sends them itself, online.

    Its service, a process, is started here and ended by `close`, unless the caller of this
    process has a run of his own in it.
    """

    def __init__(self, place: Place):
        self._place, self._began = place, False
        self._run: Any = None
        self._told: TrackedRun | None = None
        busy = getattr(sys.modules.get("wandb"), "run", None) is not None
        self._own = not busy
        self._scratch = TemporaryDirectory(prefix="neoteny-wandb-")
        self._environment = dict(os.environ)
        if self._own:
            os.environ |= self._variables()
        try:
            self._wandb = needed("wandb", "wandb")
        except UserError:
            self.close()
            raise

    def _variables(self) -> dict[str, str]:
        """Nothing is reported to its makers, nor, offline, read or written in the user's home."""
        quiet = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
        homes = ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")
        offline = dict.fromkeys(homes, self._scratch.name)
        return quiet | ({} if self._place.online else offline)

    def start(self, run: TrackedRun) -> bool:
        """Begin it under an identifier that is always the same."""
        before = list((self._place.out / "wandb").glob(f"offline-run-*-{run.key}"))
        if any(_stamp(folder) == _standing(run) for folder in before):
            return False
        for folder in before:
            shutil.rmtree(folder)
        self._place.out.mkdir(parents=True, exist_ok=True)
        self._began = True
        config = run.config | {"provenance": run.provenance, "units": run.units}
        self._run = self._wandb.init(
            id=run.key,
            name=run.name,
            project=re.sub(r"[/\\#?%:]", "-", self._place.project or str(run.config["study"])),
            group=f"{run.config['stream']}/{run.config['method']}",
            tags=[run.status],
            config=config,
            dir=str(self._place.out),
            mode="online" if self._place.online else "offline",
            reinit="create_new",
            resume="allow" if self._place.online else None,
            settings=self._settings(),
        )
        self._told = run
        return True

    def _settings(self) -> Any:
        """Of this machine, where the run was not made, nothing is kept."""
        return self._wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            save_code=False,
            host="",
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
        )

    def log(self, task: int, values: Mapping[str, float], spectra: Mapping[str, Histogram]) -> None:
        """One row of its history; the step is the task's number."""
        assert self._told is not None
        histograms = {
            tag: self._wandb.Histogram(np_histogram=(one.counts, one.edges))
            for tag, one in spectra.items()
        }
        self._run.log({**values, **histograms, "_timestamp": self._told.began}, step=task)

    def finish(self) -> None:
        """Failed, for Weights & Biases, is whatever has not finished; the summary says how."""
        assert self._told is not None
        folder = Path(self._run.dir).parent
        self._run.summary.update({"status": self._told.status, "reason": self._told.reason or ""})
        self._run.finish(exit_code=0 if self._told.status == "finished" else 1)
        self._run = None
        if not self._place.online:
            (folder / STAMP).write_text(json.dumps(_standing(self._told)))

    def close(self) -> None:
        """End the service, and leave the process's environment as it was."""
        try:
            if self._run is not None:
                self._run.finish(exit_code=1)
            if self._own and self._began:
                self._wandb.teardown()
        finally:
            if self._own:
                for name in self._variables():
                    _restore(name, self._environment.get(name))
            self._scratch.cleanup()


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _standing(run: TrackedRun) -> dict[str, Any]:
    return {"tasks": run.tasks, "status": run.status, "reason": run.reason}


def _stamp(folder: Path) -> Any:
    try:
        return json.loads((folder / STAMP).read_bytes())
    except (OSError, ValueError):
        return None
