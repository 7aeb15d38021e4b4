"""How long a study would take here, from a few of its steps and one of its products."""

import time
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neoteny import rl, streams
from neoteny.config import RunConfig
from neoteny.losses import LOSSES, task_loss
from neoteny.machine import Machine, prepare
from neoteny.types import Batch, Stream, View, bound

ROWS = 256  # at least so many rows, and four mini-batches, are learnt to time a step
LOOKED_AT = 50  # tasks of a growing stream, whose mean size stands for all


class Estimate(NamedTuple):
    """What a study asks for, and how long that is.

    - `runs`, `tasks`: of the whole study; `steps`: of training, fresh networks included.
    - `training`, `spectra`: seconds of all runs, one after the other; `seconds`: until all is
      done, several at once.
    """

    runs: int
    tasks: int
    steps: int
    training: float
    spectra: float
    seconds: float


def estimate(runs: Sequence[RunConfig], *, jobs: int = 1, data: Path | None = None) -> Estimate:
    """Time plain backprop's step and one Hessian product of each stream, and multiply.

    What a method does besides is not counted, nor probes and evaluation. Costs a compilation and
    a moment for each stream; call it in a process that has the cores of one run.

    **Arguments:** `runs` as `sweep.expand` gives them; `jobs`, `data` as of `api.run`.
    """
    steps = training = spectra = 0.0
    for stream in dict.fromkeys(run.stream for run in runs):
        own = [run for run in runs if run.stream == stream]
        cost = _measured(own[0], data)
        lives = sum(run.tasks + _times(run.tasks, run.setting.probes.fresh_every) for run in own)
        steps += lives * cost.steps
        training += lives * cost.steps * cost.step
        spectra += sum(_products(run) for run in own) * cost.product
    return Estimate(
        len(runs),
        sum(run.tasks for run in runs),
        round(steps),
        training,
        spectra,
        (training + spectra) / min(jobs, max(len(runs), 1)),
    )


def sentence(found: Estimate) -> str:
    """An estimate as a person reads it."""
    spectra = found.spectra / max(found.training + found.spectra, 1e-9)
    return (
        f"About {duration(found.seconds)} for {found.runs} runs, {found.tasks:,} tasks and "
        f"{found.steps:,} steps of plain backprop, {spectra:.0%} of it for spectra. Methods that "
        "act at every step take longer. Stopped at any time, the same command continues."
    )


def duration(seconds: float | int) -> str:
    """Seconds in the unit that suits them."""
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds > 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


class _Cost(NamedTuple):
    steps: float  # of a task, in the mean
    step: float  # seconds
    product: float  # seconds, of a Hessian with a vector


def _measured(config: RunConfig, data: Path | None) -> _Cost:
    setting = config.setting
    if setting.agent is not None:
        return _measured_agent(config)
    training = setting.training.model_copy(update={"epochs": 1, "augmentation": "none"})
    short = config.model_copy(
        update={
            "method": "bp",
            "hyperparameters": {},
            "setting": setting.model_copy(update={"training": training}),
        }
    )
    stream, machine = prepare(short, data)
    whole = streams.shapes(stream).train
    steps = max(4, ceil(ROWS / training.batch))
    steps = min(steps, len(whole.labels) // training.batch)
    rows = _zeros(whole, steps * training.batch)
    key = jax.random.key(0)
    learner = machine.trainer.initialise(machine.network.init(key))
    classes = jnp.ones(machine.num_classes, bool) if machine.masked else None
    learn = lambda: machine.trainer.learn(learner, rows, key, classes)
    step = _seconds(learn) / steps
    product = _product(machine, config, whole, classes) if _products(config) else 0.0
    per_epoch = _mean_rows(stream, config.tasks) // training.batch
    return _Cost(per_epoch * setting.training.epochs, step, product)


def _measured_agent(config: RunConfig) -> _Cost:
    """Of an agent: a step's share of one iteration, acting included."""
    setting = config.setting
    assert setting.agent is not None
    short_task = {"iterations": 1, "learning_starts": 1}
    once = setting.model_copy(update={"agent": setting.agent.model_copy(update=short_task)})
    short = config.model_copy(update={"method": "bp", "hyperparameters": {}, "setting": once})
    worlds, machine = rl.prepare(short)
    key = jax.random.key(0)
    learner = machine.trainer.initialise(machine.network.init(key))
    world = worlds(key, 0)
    rows = machine.opening(learner, world, key)
    iteration = _seconds(lambda: machine.live(learner, world, rows, key))
    product = 0.0
    if _products(config):
        seen = jax.tree.map(lambda array: array[: setting.probes.spectrum_rows], rows)
        slope = jax.grad(task_loss(machine.network, machine.loss, seen))
        multiply = jax.jit(lambda params: jax.jvp(slope, (params,), (params,))[1])
        product = _seconds(lambda: multiply(learner.params))
    return _Cost(machine.steps * setting.agent.iterations, iteration / machine.steps, product)


def _product(machine: Machine, config: RunConfig, whole: Batch, classes) -> float:
    plan, rowwise = config.setting.probes, LOSSES[config.setting.training.loss]
    rows = _zeros(whole, min(plan.spectrum_rows, len(whole.labels)))
    params = machine.network.init(jax.random.key(0))
    seen = bound(machine.network, View(machine.network.state, classes))

    @jax.jit
    def multiply(params, rows, vector):
        slope = jax.grad(task_loss(seen, rowwise, rows))
        return jax.jvp(slope, (params,), (vector,))[1]

    return _seconds(lambda: multiply(params, rows, params))


def _products(run: RunConfig) -> int:
    """Products with a vector that a run's spectra take, of the Hessian and the GGN."""
    plan = run.setting.probes
    times = _times(run.tasks, plan.spectrum_every) * len(plan.spectrum_at)
    return times * 2 * plan.spectrum_steps * plan.spectrum_probes


def _times(tasks: int, every: int) -> int:
    return ceil(tasks / every) if every else 0


def _mean_rows(stream: Stream, tasks: int) -> int:
    shapes = streams.shapes(stream)
    if shapes.prefix is None:
        return len(shapes.train.labels)
    told = jax.jit(lambda key, index: stream(key, index).prefix)
    seen = np.unique(np.linspace(0, tasks - 1, min(tasks, LOOKED_AT)).astype(int))
    prefixes: list[Any] = [told(jax.random.key(0), int(index)) for index in seen]
    return round(float(np.mean([int(prefix.train) for prefix in prefixes])))


def _zeros(like: Batch, rows: int) -> Batch:
    return jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype), like)


def _seconds(work: Callable[[], Any]) -> float:
    """The second time that it is done: the first compiles."""
    jax.block_until_ready(work())
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began
