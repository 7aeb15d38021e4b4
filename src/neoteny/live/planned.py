"""Which runs a folder was asked for, begun or not: what `study.json` says beside them."""

import json
from pathlib import Path
from typing import Any

from neoteny import store, sweep
from neoteny.config import Study, validated

Key = tuple[str, str, str, int]
"""Study, stream, method and seed."""


def folders(view: store.View, folder: Path) -> set[Path]:
    """Where a study's file may lie: in `folder`, or above the runs of each stream and method."""
    places = {(folder / run.row["folder"]).parent.parent.parent for run in view.runs}
    return {folder} | {place for place in places if place.is_relative_to(folder)}


def stamp(folder: Path) -> tuple | None:
    """What changes when a folder's study does; None where there is none."""
    try:
        found = (folder / "study.json").stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def planned(folder: Path) -> dict[Key, int]:
    """The runs that were last asked for in `folder`, and of how many tasks; empty if unknown."""
    try:
        document = json.loads((folder / "study.json").read_bytes())
        study = validated(Study, document["study"])
        points = document.get("grid", {})
        chosen = _over_grid(study, points) if points else sweep.expand(study)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {(run.study, run.stream, run.method, run.seed): run.tasks for run in chosen}


def _over_grid(study: Study, points: dict[str, Any]) -> list[Any]:
    """Each stream's runs at each of its points; what varies for one method is no other's."""
    own = {name: _owners(study, point["values"]) for name, point in points.items()}
    special = set().union(*own.values())
    return [
        run.model_copy(update={"stream": name})
        for run in sweep.expand(study)
        for name, point in points.items()
        if point["stream"] == run.stream and own[name] == special & {run.method}
    ]


def _owners(study: Study, values: dict[str, Any]) -> set[str]:
    firsts = {axis.removeprefix("hyperparameters.").split(".")[0] for axis in values}
    return firsts & set(study.methods)
