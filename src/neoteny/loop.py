"""A run: the one place where stream, network, method, probes and store meet."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from neoteny import checkpoints, measuring, programs, rl, store
from neoteny.branches import BEFORE, FRESH, INITIAL, PROBING, TRAINING, Branches
from neoteny.config import RunConfig, Setting, TrainingConfig
from neoteny.errors import UserError
from neoteny.lockstep import Asking, Call, Turn, alone, together
from neoteny.machine import Machine
from neoteny.machine import prepare as prepare_for_data
from neoteny.types import Batch, Learner, PRNGKey, Stream, Task, View

COMMIT_SECONDS = 1.0
"""Between two commits. A kill loses the tasks since the last, and they are repeated bit for bit."""
COMMIT_SHARE = 0.02
"""Of the time at most: commits that take longer, of long tables or large networks, are fewer."""


def run(
    config: RunConfig,
    folder: Path,
    *,
    data: Path | str | None = None,
    on_task: Callable[[int, float | None], str | None] | None = None,
) -> str:
    """Carry a run to its end, from wherever its folder says it stands.

    A finished run is left as it is. Killed at any instant and called again, it ends with the
    same table, spectra and parameters as if it had not been.

    **Arguments:**

    - `config`, `folder`: what to run, and where its results live.
    - `data`: folder of data sets, for those that are not embedded.
    - `on_task`: told the number of finished tasks after each, and what the last one came to in the
      setting's metric, `None` where it has none. If it returns a sentence, the run is given up
      for that reason, once and for all.

    **Returns:** `finished`; `diverged` where the loss stopped being finite: a finding, stored with
    its task and step; or `pruned` where it was given up.

    **Raises:** `UserError` for a configuration that cannot run, or a folder of another one.
    """
    programs.make_room()
    return alone(_life(config, folder, data, on_task or (lambda done, value: None), {}))


def run_together(
    configs: Sequence[RunConfig],
    folders: Sequence[Path],
    *,
    data: Path | str | None = None,
    on_task: Callable[[RunConfig, int, float | None], str | None] | None = None,
) -> list[str | Exception]:
    """Carry runs that differ in nothing but their seed to their ends, task by task in lockstep.

    Learning and evaluation are `vmap`ped over the runs; all else happens as in `run`, in each
    run's own folder. Those that stand at an earlier task catch up first, those that are at their
    end are left alone. Numbers agree with those of `run` but for rounding; their bits are those of
    any call with as many `configs` in the same order, however often it was killed. The tasks of
    all runs are on the device at once, and once more while they are learnt, rows that runs share
    included. Seconds are those of the whole group, divided by the runs that it was learning for.

    **Arguments:** as of `run`, for each; `on_task` is told first which run it is.

    **Returns:** for each what `run` returns, or the exception that it raises. One that arises in
    what is computed for several runs ends all of these, any other only its own.

    **Raises:** `ValueError` if more than the seed differs, `UserError` for agents whose
    environment is not compiled.
    """
    refuse_together(configs)
    if len({config.model_copy(update={"seed": 0}).model_dump_json() for config in configs}) > 1:
        raise ValueError("Only runs that differ in nothing but their seed go together.")
    told = on_task or (lambda config, done, value: None)
    programs.make_room()
    return together(
        [
            _life(config, folder, data, partial(told, config), {"together": len(configs)})
            for config, folder in zip(configs, folders, strict=True)
        ]
    )


def refuse_together(configs: Sequence[RunConfig]) -> None:
    """Refuse runs that cannot be learnt by one compiled program: whose world is not compiled."""
    for config in configs:
        name = config.setting.stream.environment
        if rl.on_host(name):
            raise UserError(
                f"`{config.stream}` acts in `{name}`, which no compiled program can step, so its "
                "seeds do not go together. Run them apart: `--apart` and `--jobs`."
            )


def check(config: RunConfig, folder: Path, *, data: Path | str | None = None) -> None:
    """Refuse what `run` would refuse, its checkpoint included; compute and change nothing."""
    _, machine = prepare(config, data)
    store.check(folder, config.model_dump(mode="json"))
    path = folder / "checkpoint.npz"
    if path.exists() and store.status(folder)[0]["status"] not in store.FINAL:
        birth = lambda key: machine.trainer.initialise(machine.network.init(key))
        _, arrays = store.read_checkpoint(path)
        checkpoints.refuse_misfit(jax.eval_shape(birth, jax.random.key(0)), arrays)


def on_cpu() -> bool:
    """Whether JAX computes on the host's cores, which processes can share out."""
    return jax.default_backend() == "cpu"


def provenance() -> dict[str, Any]:
    """With what, where and when: the part of a run's record that is no configuration."""
    packages = ("neoteny", "jax", "jaxlib", "numpy", "optax")
    return {
        "versions": {name: version(name) for name in packages},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def prepare(config: RunConfig, data: Path | str | None = None) -> tuple[Any, Any]:
    """A run's stream, and the machine that lives through its tasks: of data, or of acting."""
    acts = config.setting.agent is not None
    return rl.prepare(config) if acts else prepare_for_data(config, data)


def _life(
    config: RunConfig,
    folder: Path,
    data: Path | str | None,
    on_task: Callable[[int, float | None], str | None],
    circumstances: dict[str, Any],
) -> Asking:
    """A run to its end; returns its status."""
    if status := store.ended(folder, config.model_dump(mode="json")):
        return status
    stream, machine = prepare(config, data)
    made = provenance() | circumstances
    with store.Run.open(folder, config.model_dump(mode="json"), made) as journal:
        try:
            if not journal.finished:
                yield from _continue(config, stream, machine, journal, on_task)
        except Exception as error:
            with suppress(UserError):  # a folder that cannot be written cannot say so either
                journal.finish("failed", f"{type(error).__name__}: {error}")
            raise
        return journal.status


def _continue(
    config: RunConfig,
    stream: Any,
    machine: Any,
    journal: store.Run,
    on_task: Callable[[int, float | None], str | None],
) -> Asking:
    draw = Branches(config.seed)
    initial = machine.network.init(draw(INITIAL, 0))
    learner = machine.trainer.initialise(initial)
    live_through = _live_through if config.setting.agent is None else rl.live_through
    index, diverged, seconds, durations, pause = 0, None, journal.seconds, [], COMMIT_SECONDS
    if saved := journal.checkpoint():
        index, arrays = saved
        diverged = checkpoints.diverged(arrays)
        learner = checkpoints.restored(learner, arrays)
    committed = yield Turn(2 * index + 1)
    while index < config.tasks and diverged is None:
        lived = yield from live_through(config, machine, learner, stream, index, draw)
        learner, row, spectra, spent = lived
        for phase, found in spectra.items():
            for matrix, arrays in found.items():
                journal.save_spectrum(index, phase, matrix, **arrays)
        journal.append(row)
        index, diverged = index + 1, row["diverged_step"]
        seconds += spent
        durations.append(spent)
        last = diverged is not None or index == config.tasks
        now = yield Turn(2 * index)  # one time for all, so that they commit at the same task
        due = last or now - committed > pause
        if due:
            pace = float(np.median(durations[1:])) / machine.steps * 1e6 if durations[1:] else None
            arrays = checkpoints.flat(learner, diverged)
            journal.commit(arrays, seconds=seconds, microseconds_per_step=pace)
        after = yield Turn(2 * index + 1)
        if due:
            committed = after
            pause = COMMIT_SECONDS * max(1.0, (after - now) / COMMIT_SHARE)
        given_up = on_task(index, row[config.setting.metric])
        if given_up is not None and not last:
            arrays = checkpoints.flat(learner, None)
            journal.commit(arrays, seconds=seconds, microseconds_per_step=None)
            return journal.finish("pruned", given_up)
    if diverged is None:
        journal.finish("finished")
    else:
        journal.finish("diverged", f"loss not finite in task {index - 1}, step {diverged}")


def _live_through(
    config: RunConfig,
    machine: Machine,
    learner: Learner,
    stream: Stream,
    index: int,
    draw: Branches,
) -> Asking:
    """One task from start to end: the learner after it, its row, its spectra, its seconds."""
    plan, training = config.setting.probes, config.setting.training
    task = stream(draw.stream, index)
    due = lambda cadence: cadence > 0 and index % cadence == 0
    key = draw(TRAINING, index)
    learner = yield from beginning(machine, learner, task, draw, index, stream)
    start, spectra = learner.params, {}
    looked_at, budget = newest(task, plan.spectrum_rows), steps(machine, task, training)
    measure = lambda learner: measuring.spectra(
        machine.observer.matrices,
        learner.params,
        looked_at,
        draw(PROBING, 2 * index),
        plan.spectrum_rows,
        view(machine, learner, task),
    )
    if due(plan.spectrum_every) and "start" in plan.spectrum_at:
        spectra["start"] = measure(learner)
    before = {}
    if due(plan.every) and plan.start_names:
        probe, key_now = machine.observer.probe_start, draw(BEFORE, index)
        found = _probe(probe, machine, learner, start, task, key_now, config.setting)
        before = {f"{name}_start": value for name, value in found.items()}
    lesson = learning(machine, learner, task, key)
    (learner, trace), spent = yield lesson._replace(timed=True)
    final_accuracy, final_loss = yield from _evaluated(machine, learner, task)
    heldout_accuracy = yield from _heldout(machine, learner, task)
    diverged = int(trace.diverged_step)
    if diverged < 0 and not np.isfinite(final_loss):
        diverged = budget
    row = {
        "study": config.study,
        "stream": config.stream,
        "method": config.method,
        "seed": config.seed,
        "task": index,
        "online_accuracy": float(trace.online_accuracy),
        "final_accuracy": final_accuracy,
        "heldout_accuracy": heldout_accuracy,
        "fresh_accuracy": None,
        "fresh_online_accuracy": None,
        "fresh_heldout_accuracy": None,
        "chance_accuracy": 1 / _outputs(machine, task),
        "online_loss": _finite(float(trace.online_loss)),
        "final_loss": final_loss,
        "diverged_step": diverged if diverged >= 0 else None,
    }
    row |= before
    if machine.numeric:
        row |= {name: None for name in row if name.endswith("_accuracy")}
    if diverged >= 0:
        return learner, row, {}, spent
    if due(plan.fresh_every) and not machine.numeric:
        row |= yield from _fresh_reference(machine, task, key, draw(FRESH, index))
    if due(plan.every):
        probe, key_now = machine.observer.probe, draw(PROBING, 2 * index + 1)
        row |= _probe(probe, machine, learner, start, task, key_now, config.setting)
    if due(plan.spectrum_every) and "end" in plan.spectrum_at:
        spectra["end"] = measure(learner)
    for phase, found in spectra.items():
        for matrix, arrays in found.items():
            row |= measuring.columns(matrix, phase, arrays, config.setting, budget)
    return learner, row, spectra, spent


def begin(*arguments) -> Learner:
    """What `beginning` of the same arguments comes to, for one run alone."""
    return alone(beginning(*arguments))


def beginning(
    machine: Machine, learner: Learner, task: Task, draw: Branches, index: int, stream: Stream
) -> Asking:
    """What a method does at the start of task `index`; before the first there is nothing."""
    if index == 0:
        return learner
    key = jax.random.fold_in(draw(TRAINING, index), 2)
    if machine.head != "grown" or task.classes is None:
        return (yield Call(machine.trainer.begin, (learner, task.train, key)))
    now, before = np.asarray(task.classes), np.asarray(stream(draw.stream, index - 1).classes)
    opened = now & ~before if (now | ~before).all() else np.ones_like(now)  # all at a new cycle
    opened = jax.numpy.asarray(opened)
    return (yield Call(machine.trainer.begin, (learner, task.train, key, opened)))


def learn(machine: Machine, learner: Learner, task: Task, key: PRNGKey):
    """The learner after a task, and the trace of it."""
    function, arguments, _ = learning(machine, learner, task, key)
    return function(*arguments)


def learning(machine: Machine, learner: Learner, task: Task, key: PRNGKey) -> Call:
    """The call that `learn` makes."""
    if task.prefix is None and not machine.masked:
        return Call(machine.trainer.learn, (learner, task.train, key))
    rows = None if task.prefix is None else task.prefix.train
    arguments = (learner, task.train, key, _classes(machine, task), rows)
    return Call(machine.trainer.learn, arguments)


def view(machine: Machine, learner: Learner, task: Task) -> View:
    """How a task's network is to be measured: with its own state, and the outputs that count."""
    return View(learner.network_state, _classes(machine, task))


def newest(task: Task, most: int) -> Batch:
    """The rows to look at through probes: those that this task brought, then the older ones.

    No more than `most`, nor than there are.
    """
    if task.prefix is None:
        return jax.tree.map(lambda array: array[:most], task.train)
    count, first = int(task.prefix.train), int(task.prefix.newest)
    rows = np.r_[first:count, 0:first][:most]
    return jax.tree.map(lambda array: array[rows], task.train)


def steps(machine: Machine, task: Task, training: TrainingConfig) -> int:
    """How many steps a task is learnt with: those of its own rows."""
    if task.prefix is None:
        return machine.steps
    return int(task.prefix.train) // training.batch * training.epochs


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _outputs(machine: Machine, task: Task) -> int:
    classes = _classes(machine, task)
    return machine.num_classes if classes is None else int(classes.sum())


def _classes(machine: Machine, task: Task):
    return task.classes if machine.masked else None


def _fresh_reference(machine: Machine, task: Task, key, fresh_key) -> Asking:
    """The same task, in the same order, learnt by the same method from new initial weights."""
    newborn = machine.trainer.initialise(machine.network.init(fresh_key))
    adult, trace = yield learning(machine, newborn, task, key)
    accuracy, _ = yield from _evaluated(machine, adult, task)
    heldout = yield from _heldout(machine, adult, task)
    return {
        "fresh_accuracy": accuracy,
        "fresh_online_accuracy": float(trace.online_accuracy),
        "fresh_heldout_accuracy": heldout,
    }


def _evaluated(machine: Machine, learner: Learner, task: Task) -> Asking:
    count = None if task.prefix is None else int(task.prefix.train)
    seen = view(machine, learner, task)
    return machine.observer.evaluation(learner.params, task.train, seen, count)


def _heldout(machine: Machine, learner: Learner, task: Task) -> Asking:
    if task.heldout is None:
        return None
    count = None if task.prefix is None else int(task.prefix.heldout)
    seen = view(machine, learner, task)
    found = yield from machine.observer.evaluation(learner.params, task.heldout, seen, count)
    return found[0]


def _probe(
    probe: Callable, machine: Machine, learner: Learner, start, task: Task, key, setting: Setting
) -> dict:
    rows = newest(task, setting.probes.rows)
    budget = steps(machine, task, setting.training)
    seen = view(machine, learner, task)
    return measuring.probed(probe(learner.params, start, rows, key, seen, steps=budget))
