"""An agent's life: one task after the other, each measured as tasks of data are."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from neoteny import measuring
from neoteny.branches import BEFORE, FRESH, PROBING, TRAINING, Branches
from neoteny.config import RunConfig
from neoteny.lockstep import Asking, Call, alone
from neoteny.rl.machine import AgentMachine, Record
from neoteny.rl.worlds import World, Worlds
from neoteny.types import Batch, Learner, View

LATE = 0.2
"""The last fifth of a task's iterations, whose episodes are its `final_return`."""


def live_through(
    config: RunConfig,
    machine: AgentMachine,
    learner: Learner,
    worlds: Worlds,
    index: int,
    draw: Branches,
) -> Asking:
    """One task from start to end: the learner after it, its row, its spectra, its seconds.

    The agent begins new episodes with the task. What is measured at its start is measured on a
    rollout in the new world, after what the method does there, and at its end on another one.
    """
    plan = config.setting.probes
    due = lambda cadence: cadence > 0 and index % cadence == 0
    world, key = worlds(draw.stream, index), draw(TRAINING, index)
    learner, opening = yield from beginning(machine, learner, world, draw, index)
    start, spectra = learner.params, {}
    row = _identity(config, index)
    measure = lambda learner, rows: measuring.spectra(
        machine.observer.matrices,
        learner.params,
        rows,
        draw(PROBING, 2 * index),
        plan.spectrum_rows,
        View(learner.network_state),
    )
    if due(plan.spectrum_every) and "start" in plan.spectrum_at:
        spectra["start"] = measure(learner, opening)
    if due(plan.every) and plan.start_names:
        probe, now = machine.observer.probe_start, jax.random.fold_in(draw(BEFORE, index), 1)
        found = _probed(probe, machine, learner, start, opening, now, plan)
        row |= {f"{name}_start": value for name, value in found.items()}
    (learner, record), spent = yield Call(
        machine.live, (learner, world, opening, jax.random.fold_in(key, 0)), timed=True
    )
    row |= _told(record)
    row["diverged_step"] = _diverged(record, machine.steps)
    if row["diverged_step"] is not None:
        return learner, row, {}, spent
    if due(plan.fresh_every):
        row |= yield from _fresh_reference(machine, world, draw, index)
    if due(plan.every) or (due(plan.spectrum_every) and "end" in plan.spectrum_at):
        ending = yield Call(machine.opening, (learner, world, jax.random.fold_in(key, 1)))
        if due(plan.every):
            now = draw(PROBING, 2 * index + 1)
            row |= _probed(machine.observer.probe, machine, learner, start, ending, now, plan)
        if due(plan.spectrum_every) and "end" in plan.spectrum_at:
            spectra["end"] = measure(learner, ending)
    for phase, found in spectra.items():
        for matrix, arrays in found.items():
            row |= measuring.columns(matrix, phase, arrays, config.setting, machine.steps)
    return learner, row, spectra, spent


def beginning(
    machine: AgentMachine, learner: Learner, world: World, draw: Branches, index: int
) -> Asking:
    """The learner as the method has it when a task begins, and the rows of its rollout there."""
    key = draw(BEFORE, index)
    opening = yield Call(machine.opening, (learner, world, key))
    if index == 0:
        return learner, opening
    start_key = jax.random.fold_in(draw(TRAINING, index), 2)
    learner = yield Call(machine.trainer.begin, (learner, opening, start_key))
    opening = yield Call(machine.opening, (learner, world, jax.random.fold_in(key, 0)))
    return learner, opening


def relive(
    machine: AgentMachine,
    learner: Learner,
    worlds: Worlds,
    draw: Branches,
    tasks: int,
    on_task: Callable[[int], None],
) -> Learner:
    """The same life once more up to its first `tasks` tasks, measuring nothing."""
    for index in range(tasks):
        world, key = worlds(draw.stream, index), draw(TRAINING, index)
        learner, opening = alone(beginning(machine, learner, world, draw, index))
        learner, _ = machine.live(learner, world, opening, jax.random.fold_in(key, 0))
        on_task(index + 1)
    return learner


def newborn(machine: AgentMachine, world: World, draw: Branches, index: int) -> Asking:
    """An agent that has learnt nothing yet, and the rows of its rollout there."""
    key = draw(FRESH, index)
    learner = machine.trainer.initialise(machine.network.init(key))
    opening = yield Call(machine.opening, (learner, world, jax.random.fold_in(key, 1)))
    return learner, opening


def _identity(config: RunConfig, index: int) -> dict[str, Any]:
    return {
        "study": config.study,
        "stream": config.stream,
        "method": config.method,
        "seed": config.seed,
        "task": index,
        "online_return": None,
        "final_return": None,
        "fresh_online_return": None,
        "fresh_final_return": None,
        "untrained_return": None,
    }


def _told(record: Record) -> dict[str, Any]:
    """What a task came to, as columns."""
    returns = _by_iteration(record)
    late = max(1, round(LATE * len(returns)))
    return {
        "online_return": _mean(returns),
        "final_return": _mean(returns[-late:]),
        "episodes": int(np.sum(record.episodes)),
        "entropy": _mean(record.entropy),
        "final_entropy": _mean(np.asarray(record.entropy)[-late:]),
        "policy_churn": _mean(record.policy_churn),
        "value_churn": _mean(record.value_churn),
        "online_loss": _mean(record.loss),
    }


def _by_iteration(record: Record) -> np.ndarray:
    """The mean return of the episodes that ended in each iteration; NaN where none did."""
    episodes, returns = np.asarray(record.episodes), np.asarray(record.returns, np.float64)
    return np.where(episodes > 0, returns / np.maximum(episodes, 1), np.nan)


def _mean(values: Any) -> float | None:
    """The mean of what there is, or nothing."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    value = float(np.mean(known)) if len(known) else float("nan")
    return value if np.isfinite(value) else None


def _diverged(record: Record, steps: int) -> int | None:
    """The first step of the task whose loss was not finite."""
    found = np.asarray(record.diverged_step)
    if not (found >= 0).any():
        return None
    first = int(np.argmax(found >= 0))
    return first * (steps // len(found)) + int(found[first])


def _fresh_reference(machine: AgentMachine, world: World, draw: Branches, index: int) -> Asking:
    """The same task lived through by the same method from new initial weights."""
    learner, rows = yield from newborn(machine, world, draw, index)
    lived = (learner, world, rows, jax.random.fold_in(draw(TRAINING, index), 0))
    _, record = yield Call(machine.live, lived)
    told = _told(record)
    ended = _by_iteration(record)
    first = ended[np.isfinite(ended)][:1]
    return {
        "fresh_online_return": told["online_return"],
        "fresh_final_return": told["final_return"],
        "untrained_return": _mean(first),
    }


def _probed(probe, machine: AgentMachine, learner: Learner, start, rows: Batch, key, plan) -> dict:
    part = jax.tree.map(lambda array: array[: plan.rows], rows)
    view = View(learner.network_state)
    return measuring.probed(probe(learner.params, start, part, key, view, steps=machine.steps))
