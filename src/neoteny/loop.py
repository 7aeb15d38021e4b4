"""A run: the one place where stream, network, method, probes and store meet."""

import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from neoteny import measuring, probes, store
from neoteny.config import RunConfig, Setting, TrainingConfig
from neoteny.errors import UserError
from neoteny.machine import Machine, prepare
from neoteny.types import Batch, Learner, PRNGKey, Stream, Task, View

# A run draws all its randomness from one key; these are the branches, by meaning.
STREAM, INITIAL, TRAINING, PROBING, FRESH, BEFORE = range(6)


class Branches:
    """All randomness of a run, drawn from its seed by meaning: `branches(TRAINING, task)`."""

    def __init__(self, seed: int):
        self._root = jax.random.key(seed)
        self.stream = jax.random.fold_in(self._root, STREAM)

    def __call__(self, branch: int, index: int) -> PRNGKey:
        return jax.random.fold_in(jax.random.fold_in(self._root, branch), index)


COMMIT_SECONDS = 1.0
"""A kill loses at most the tasks begun since the last commit, and repeats them bit for bit."""

DIVERGED = "diverged_step"  # in a checkpoint: -1, or where the last task's loss was not finite


def run(
    config: RunConfig,
    folder: Path,
    *,
    data: Path | str | None = None,
    on_task: Callable[[int], None] | None = None,
) -> str:
    """Carry a run to its end, from wherever its folder says it stands.

    A finished run is left as it is. Killed at any instant and called again, it ends with the
    same table, spectra and parameters as if it had not been.

    **Arguments:**

    - `config`, `folder`: what to run, and where its results live.
    - `data`: folder of data sets, for those that are not embedded.
    - `on_task`: told the number of finished tasks after each.

    **Returns:** `finished`, or `diverged` where the loss stopped being finite: a finding,
    stored with its task and step.

    **Raises:** `UserError` for a configuration that cannot run, or a folder of another one.
    """
    stream, machine = prepare(config, data)
    with store.Run.open(folder, config.model_dump(mode="json"), provenance()) as journal:
        try:
            if not journal.finished:
                _continue(config, stream, machine, journal, on_task or (lambda done: None))
        except Exception as error:
            with suppress(UserError):  # a folder that cannot be written cannot say so either
                journal.finish("failed", f"{type(error).__name__}: {error}")
            raise
        return journal.status


def check(config: RunConfig, folder: Path, *, data: Path | str | None = None) -> None:
    """Refuse what `run` would refuse, its checkpoint included; compute and change nothing."""
    _, machine = prepare(config, data)
    store.check(folder, config.model_dump(mode="json"))
    path = folder / "checkpoint.npz"
    if path.exists() and store.status(folder)[0]["status"] not in ("finished", "diverged"):
        birth = lambda key: machine.trainer.initialise(machine.network.init(key))
        _, arrays = store.read_checkpoint(path)
        _refuse_misfit(jax.eval_shape(birth, jax.random.key(0)), arrays)


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


def _continue(
    config: RunConfig,
    stream: Stream,
    machine: Machine,
    journal: store.Run,
    on_task: Callable[[int], None],
) -> None:
    draw = Branches(config.seed)
    initial = machine.network.init(draw(INITIAL, 0))
    learner = machine.trainer.initialise(initial)
    index, diverged, seconds, durations = 0, None, journal.seconds, []
    if saved := journal.checkpoint():
        index, arrays = saved
        diverged = None if (step := int(arrays.pop(DIVERGED))) < 0 else step
        learner = restored(learner, arrays)
    committed = time.monotonic()
    while index < config.tasks and diverged is None:
        learner, row, spectra, spent = _live_through(config, machine, learner, stream, index, draw)
        for phase, found in spectra.items():
            for matrix, arrays in found.items():
                journal.save_spectrum(index, phase, matrix, **arrays)
        journal.append(row)
        index, diverged = index + 1, row["diverged_step"]
        seconds, durations = seconds + spent, [*durations, spent]
        last = diverged is not None or index == config.tasks
        if last or time.monotonic() - committed > COMMIT_SECONDS:
            pace = float(np.median(durations[1:])) / machine.steps * 1e6 if durations[1:] else None
            arrays = _flat(learner) | {DIVERGED: np.int64(-1 if diverged is None else diverged)}
            journal.commit(arrays, seconds=seconds, microseconds_per_step=pace)
            committed = time.monotonic()
        on_task(index)
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
) -> tuple[Learner, dict[str, Any], dict[str, dict[str, Any]], float]:
    """One task from start to end: the learner after it, its row, its spectra, its seconds."""
    plan, training = config.setting.probes, config.setting.training
    task = stream(draw.stream, index)
    due = lambda cadence: cadence > 0 and index % cadence == 0
    key = draw(TRAINING, index)
    learner = begin(machine, learner, task, draw, index, stream)
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
    began = time.perf_counter()
    learner, trace = jax.block_until_ready(learn(machine, learner, task, key))
    spent = time.perf_counter() - began
    final_accuracy, final_loss = _evaluated(machine, learner, task)
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
        "heldout_accuracy": _heldout(machine, learner, task),
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
        row |= _fresh_reference(machine, task, key, draw(FRESH, index))
    if due(plan.every):
        probe, key_now = machine.observer.probe, draw(PROBING, 2 * index + 1)
        row |= _probe(probe, machine, learner, start, task, key_now, config.setting)
    if due(plan.spectrum_every) and "end" in plan.spectrum_at:
        spectra["end"] = measure(learner)
    for phase, found in spectra.items():
        for matrix, arrays in found.items():
            row |= measuring.columns(matrix, phase, arrays, config.setting, budget)
    return learner, row, spectra, spent


def begin(
    machine: Machine, learner: Learner, task: Task, draw: Branches, index: int, stream: Stream
) -> Learner:
    """What a method does at the start of task `index`; before the first there is nothing."""
    if index == 0:
        return learner
    key = jax.random.fold_in(draw(TRAINING, index), 2)
    if machine.head != "grown" or task.classes is None:
        return machine.trainer.begin(learner, task.train, key)
    now, before = np.asarray(task.classes), np.asarray(stream(draw.stream, index - 1).classes)
    opened = now & ~before if (now | ~before).all() else np.ones_like(now)  # all at a new cycle
    return machine.trainer.begin(learner, task.train, key, jax.numpy.asarray(opened))


def learn(machine: Machine, learner: Learner, task: Task, key: PRNGKey):
    """The learner after a task, and the trace of it."""
    if task.prefix is None and not machine.masked:
        return machine.trainer.learn(learner, task.train, key)
    rows = None if task.prefix is None else task.prefix.train
    return machine.trainer.learn(learner, task.train, key, _classes(machine, task), rows)


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


def _fresh_reference(machine: Machine, task: Task, key, fresh_key) -> dict[str, float | None]:
    """The same task, in the same order, learnt by the same method from new initial weights."""
    newborn = machine.trainer.initialise(machine.network.init(fresh_key))
    adult, trace = learn(machine, newborn, task, key)
    return {
        "fresh_accuracy": _evaluated(machine, adult, task)[0],
        "fresh_online_accuracy": float(trace.online_accuracy),
        "fresh_heldout_accuracy": _heldout(machine, adult, task),
    }


def _evaluated(machine: Machine, learner: Learner, task: Task) -> tuple[float, float]:
    count = None if task.prefix is None else int(task.prefix.train)
    seen = view(machine, learner, task)
    return machine.observer.evaluate(learner.params, task.train, seen, count)


def _heldout(machine: Machine, learner: Learner, task: Task) -> float | None:
    if task.heldout is None:
        return None
    count = None if task.prefix is None else int(task.prefix.heldout)
    seen = view(machine, learner, task)
    return machine.observer.evaluate(learner.params, task.heldout, seen, count)[0]


def _probe(
    probe: Callable, machine: Machine, learner: Learner, start, task: Task, key, setting: Setting
) -> dict:
    rows = newest(task, setting.probes.rows)
    budget = steps(machine, task, setting.training)
    seen = view(machine, learner, task)
    measured = probe(learner.params, start, rows, key, seen, steps=budget)
    columns: dict[str, float | None] = {}
    for values in measured.values():
        columns |= probes.columns(values)
    return columns


def _flat(learner: PyTree) -> dict[str, np.ndarray]:
    """A learner as named arrays: what a checkpoint file holds."""
    leaves = jax.tree_util.tree_leaves_with_path(learner)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def restored(learner: Learner, arrays: dict[str, np.ndarray]) -> Learner:
    """A learner of the same structure as `learner` with the values of a checkpoint."""
    _refuse_misfit(learner, arrays)
    leaves, structure = jax.tree_util.tree_flatten_with_path(learner)
    values = [
        jax.numpy.asarray(arrays[jax.tree_util.keystr(path)], leaf.dtype) for path, leaf in leaves
    ]
    return jax.tree.unflatten(structure, values)


def _refuse_misfit(learner: PyTree, arrays: dict[str, np.ndarray]) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(learner)
    wanted = {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}
    found = {name: array.shape for name, array in arrays.items() if name != DIVERGED}
    if wanted != found:
        strange = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(
            f"The checkpoint does not fit this method: they differ in `{strange}`. It was written "
            "by another version of neoteny or of the method; run it again under another `--out`."
        )
