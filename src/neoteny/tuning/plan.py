"""A tuning as it was asked for: kept in its folder, so that no other is mixed with it."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from neoteny import grid, store
from neoteny.config import RunConfig, Study
from neoteny.errors import UserError
from neoteny.methods import Range
from neoteny.tuning.search import Space

FOLDER = "tuning"
"""Where the runs of a tuning live, below the folder it was given."""


class Key(NamedTuple):
    """What has a budget of its own."""

    stream: str
    method: str


class Plan(NamedTuple):
    """What is tuned, and how.

    `study` is what the best settings are to be reported on; `seeds` are those of the tuning;
    `spaces` is by stream and method; `storage` names no password, and is None for the folder's own.
    """

    study: Study
    seeds: tuple[int, ...]
    trials: int
    spaces: dict[str, dict[str, Space]]
    sampler: str
    pruner: str
    warm_up: int | None
    seed: int
    storage: str | None

    def pairs(self) -> list[Key]:
        """Every method on every stream, in the order of their turns."""
        return [Key(stream, method) for stream in self.spaces for method in self.spaces[stream]]

    def space(self, key: Key) -> Space:
        return self.spaces[key.stream][key.method]


def runs(plan: Plan, key: Key, number: int, values: dict[str, Any]) -> list[RunConfig]:
    """The runs of one trial, one for each seed; all that is measured is what they are judged by."""
    setting = plan.study.streams[key.stream]
    own = dict(setting.training_of.get(key.method, {}))
    for axis in values:
        own.pop(axis, None)  # in the place of which there is something to try
    quiet = {"every": 0, "fresh_every": 0, "spectrum_every": 0}
    setting = setting.model_copy(
        update={
            "training_of": {key.method: own} if own else {},
            "probes": setting.probes.model_copy(update=quiet),
        }
    )
    tried = plan.study.model_copy(
        update={
            "methods": (key.method,),
            "streams": {key.stream: setting},
            "seeds": len(plan.seeds),
            "first_seed": plan.seeds[0],
            "tuned_on": (),
        }
    )
    found, _ = grid.expand(tried, {axis: [value] for axis, value in values.items()})
    return [run.model_copy(update={"stream": name(key, number)}) for run in found]


def name(key: Key, number: int) -> str:
    """What the stream of a trial's runs is called."""
    return f"{key.stream}--{key.method}-{number:03d}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time."""
    with open(folder / ".claims", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def enter(folder: Path, plan: Plan) -> str:
    """Make `folder`, which `check` let pass, that of this plan; the id that it has."""
    path, told = folder / store.TUNING, _plain(plan)
    if not path.exists():
        _create(path, {"id": secrets.token_hex(8), "plan": told})
    identity, there = _known(folder)
    if there["trials"] < told["trials"]:
        store.write_text(path, json.dumps({"id": identity, "plan": told}, indent=2))
    return identity


def check(folder: Path, plan: Plan) -> None:
    """Refuse a folder that `enter` cannot make that of this plan; touch nothing.

    **Raises:** `UserError` if it is that of another plan, or holds other runs.
    """
    if not (folder / store.TUNING).exists():
        if store.find_runs(folder):
            raise UserError(
                f"`{folder}` holds runs that are of no tuning. Pass another `--out` than "
                f"`{folder.parent}`."
            )
        return
    _, there = _known(folder)
    told = _plain(plan)
    grown = there | {"trials": max(told["trials"], there["trials"])}
    if grown != told:
        raise UserError(_another(folder, there, told))


def _known(folder: Path) -> tuple[str, dict[str, Any]]:
    """The id and the plan that a folder has."""
    path = folder / store.TUNING
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return str(known["id"]), {"trials": 0} | known["plan"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"`{path}` is damaged: {error}. Remove `{folder}` to begin anew.") from None


def _create(path: Path, document: dict[str, Any]) -> None:
    """Write a file unless another process was first."""
    beside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    store.write_text(beside, json.dumps(document, indent=2))
    try:
        os.link(beside, path)
    except FileExistsError:
        pass
    finally:
        beside.unlink()


def _another(folder: Path, there: dict[str, Any], here: dict[str, Any]) -> str:
    differences = list(_differences(there, here))
    more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
    shown = "; ".join(differences[:3]) + more
    return (
        f"`{folder}` holds another tuning: {shown}. Pass another `--out`, or the same settings; of "
        "these only `trials` may grow."
    )


def _differences(there: Any, here: Any, name: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            yield from _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))
    elif there != here:
        yield f"`{name}` is {there} there and {here} here"


def _plain(plan: Plan) -> dict[str, Any]:
    """The plan as JSON gives it back."""
    document = plan._asdict() | {
        "study": plan.study.model_dump(mode="json"),
        "spaces": {
            stream: {
                method: {name: _named(axis) for name, axis in space.items()}
                for method, space in methods.items()
            }
            for stream, methods in plan.spaces.items()
        },
    }
    return json.loads(json.dumps(document))


def _named(axis: Any) -> Any:
    return axis._asdict() if isinstance(axis, Range) else axis
