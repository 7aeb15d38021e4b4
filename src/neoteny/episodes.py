"""What stored agents do: an episode of each method, acted anew from its checkpoint."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax

from neoteny import checkpoints, loop, rl, store
from neoteny.branches import BEFORE, INITIAL, Branches
from neoteny.config import RunConfig, validated
from neoteny.errors import UserError


class Shown(NamedTuple):
    """An episode of one run, in the world of `task`, the last one that it has learnt."""

    study: str
    stream: str
    method: str
    seed: int
    task: int
    episode: rl.Episode


def of_runs(folder: Path | str) -> list[Shown]:
    """An episode of the first seed of each method, of all agents below `folder`.

    Nothing is learnt and nothing stored. The same runs give the same episodes.

    **Raises:** `UserError` where no run below `folder` is an agent's that has learnt a task.
    """
    found: dict[tuple[str, str, str], Shown] = {}
    for row in store.status(folder):
        key = row["study"], row["stream"], row["method"]
        if key in found or not row["tasks_done"] or row["status"] == "diverged":
            continue
        place = Path(folder) / row["folder"]
        stored = store.read_record(place)["config"]
        if "setting" not in stored:  # measurements of a claim
            continue
        config = validated(RunConfig, stored)
        if config.setting.agent is not None:
            found[key] = _of_run(place, config)
    if not found:
        raise UserError(
            f"No run below `{folder}` is an agent's that has learnt a task, and nothing else has "
            "episodes. Leave `--episodes` out."
        )
    return list(found.values())


def _of_run(folder: Path, config: RunConfig) -> Shown:
    worlds, machine = loop.prepare(config)
    draw = Branches(config.seed)
    learner = machine.trainer.initialise(machine.network.init(draw(INITIAL, 0)))
    finished, arrays = store.read_checkpoint(folder / "checkpoint.npz")
    learner = checkpoints.restored(learner, arrays)
    task = finished - 1
    environment = rl.make_environment(config.setting.stream.environment or "")
    key = jax.random.fold_in(draw(BEFORE, task), 2)  # 0 and 1 draw what the task opens with
    choose = partial(machine.choose, learner)
    episode = rl.play(environment, choose, worlds(draw.stream, task), key)
    return Shown(config.study, config.stream, config.method, config.seed, task, episode)
