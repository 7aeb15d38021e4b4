"""The whole diagnosis of a stored run: what its network can still learn, beside a fresh one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from neoteny import checkpoints, curvature, glossary, loop, measuring, probes, rl, store
from neoteny.branches import INITIAL, PROBING, TRAINING, Branches
from neoteny.config import RunConfig, validated
from neoteny.errors import UserError
from neoteny.lockstep import alone
from neoteny.losses import LOSSES, task_loss
from neoteny.types import Batch, Learner, Params, View, bound

ROWS = 50
"""Of a task, looked at unless more are asked for."""

_GRAM = 1000
"""Outputs up to which the GGN's spectrum is found exactly, from its Gram matrix."""


class Occasion(NamedTuple):
    """A stored run before one of its tasks: what there is to measure, and on which rows.

    - `machine`, `stream`: of data or of acting, so that `told` is the task or the world.
    - `finished`: how many tasks the run has learnt; `task` is that one or an earlier.
    - `available`: training rows of the task, or of the rollout that an agent opens it with; the
      first `rows` are looked at. `shape` is that of one.
    """

    config: RunConfig
    machine: Any
    stream: Any
    told: Any
    task: int
    finished: int
    rows: int
    available: int
    shape: tuple[int, ...]

    @property
    def acts(self) -> bool:
        """Whether it is an agent's."""
        return self.config.setting.agent is not None

    @property
    def exact(self) -> bool:
        """Whether the GGN's spectrum is found exactly, because that is cheap."""
        return not self.acts and self.rows * self.machine.num_classes <= _GRAM


class _Side(NamedTuple):
    """One of two networks, and what it is looked at with."""

    params: Params
    batch: Batch
    view: View


class Diagnosed(NamedTuple):
    """Two networks before the same task: the run's own, and one that has learnt nothing yet.

    - `table`: rows of `quantity`, `learner`, `fresh` and their `ratio`, with the standard errors
      `learner_se` and `fresh_se` of what was estimated, and the `group` of `neoteny.glossary`.
    - `spectra`: by "learner" and "fresh", then by matrix: its nodes, weights and size.
    - `task`, `finished`, `rows`, `available`: as in `Occasion`.
    """

    config: RunConfig
    task: int
    table: list[dict[str, Any]]
    spectra: dict[str, dict[str, dict[str, Any]]]
    finished: int
    rows: int
    available: int
    steps: int


def diagnose(
    folder: Path | str,
    *,
    task: int | None = None,
    rows: int | None = None,
    data: Path | str | None = None,
    on_task: Callable[[int], None] = lambda done: None,
) -> Diagnosed:
    """Measure a stored run just before one of its tasks, on that task's first rows.

    An agent is measured on what it does itself as the task opens, and a fresh agent on what that
    one does.

    Without `task` that is the task after the last one learnt, from the checkpoint. An earlier
    one is reached by training anew from the run's seed, which takes as long as it took then, and
    ends with the same parameters.

    **Arguments:**

    - `folder`: of one run, with `run.json`.
    - `rows`: of the task's training rows, 50 if not given; costs grow with their square.
    - `on_task`: told the number of tasks trained anew, 0 at first.

    **Raises:** `UserError` for a folder that is no run, a task that the run has not come to, more
    rows than a task has, or a checkpoint of another version.
    """
    folder = Path(folder)
    seen = occasion(folder, task=task, rows=rows, data=data)
    draw = Branches(seen.config.seed)
    learner = _reached(folder, seen, on_task)
    _refuse_diverged(learner.params, seen.config)
    sides = (_acting if seen.acts else _learning)(seen, learner, draw)
    key, steps = draw(PROBING, 2 * seen.task), _steps(seen)
    observer = _observer(seen, steps)
    spectra = {
        name: measuring.spectra(
            observer.matrices, side.params, side.batch, key, seen.rows, side.view
        )
        for name, side in sides.items()
    }
    values = {
        name: _values(seen, observer, side, key, spectra[name], steps)
        for name, side in sides.items()
    }
    return Diagnosed(
        seen.config, seen.task, _table(values), spectra, seen.finished, seen.rows, seen.available,
        steps,
    )  # fmt: skip


def occasion(
    folder: Path | str,
    *,
    task: int | None = None,
    rows: int | None = None,
    data: Path | str | None = None,
) -> Occasion:
    """What `diagnose` with the same arguments would look at; trains and measures nothing."""
    folder = Path(folder)
    config = _configuration(folder)
    finished = store.read_record(folder)["tasks"]
    index = finished if task is None else task
    if not 0 <= index <= finished:
        raise UserError(
            f"`task` is {task}, but this run has learnt {finished} tasks. Pass 0 to {finished}, "
            f"where {finished} is the task after them; without it, that is what is diagnosed."
        )
    stream, machine = loop.prepare(config, data)
    told = stream(Branches(config.seed).stream, index)
    if config.setting.agent is not None:
        environment = rl.make_environment(config.setting.stream.environment or "")
        available, shape = machine.opening_rows, environment.observation_shape
    else:
        available = len(told.train.labels) if told.prefix is None else int(told.prefix.train)
        shape = told.train.inputs.shape[1:]
    count = min(ROWS, available) if rows is None else rows
    if not 1 <= count <= available:
        raise UserError(
            f"`rows` is {rows}, but a task of this run has {available} training rows. Pass 1 to "
            f"{available}; costs grow with the square, so begin with {min(ROWS, available)}."
        )
    return Occasion(config, machine, stream, told, index, finished, count, available, shape)


def names(config: RunConfig) -> tuple[str, ...]:
    """The probes of a diagnosis: what a run measures, and all that tells why."""
    setting = config.setting
    known = setting.training.loss == "cross-entropy" and setting.agent is None
    refused = () if known else measuring.OF_CROSS_ENTROPY
    asked = (*_DIAGNOSED, *setting.probes.names, *setting.probes.start_names)
    return tuple(name for name in dict.fromkeys(asked) if name not in refused)


def _refuse_diverged(params: Params, config: RunConfig) -> None:
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(params))):
        raise UserError(
            f"The network of this run is not finite: training of `{config.method}` diverged. Pass "
            "`--task` with a task before that (`neoteny query` shows `diverged_step`)."
        )


def _configuration(folder: Path) -> RunConfig:
    if not (folder / "run.json").exists():
        raise UserError(
            f"`{folder}` holds no run.json. Pass the folder of one run, such as "
            "`runs/STUDY/STREAM/METHOD/seed-0`; `neoteny status DIR` lists them."
        )
    stored = store.read_record(folder)["config"]
    if "setting" not in stored:
        raise UserError(
            f"`{folder}` holds measurements of a claim, `{stored['study']}`, and no network to "
            "diagnose. `neoteny judge` says what they come to."
        )
    return validated(RunConfig, stored)


def _reached(folder: Path, seen: Occasion, on_task: Callable[[int], None]) -> Learner:
    """The learner as the task before the one in question left it."""
    machine, draw = seen.machine, Branches(seen.config.seed)
    learner = machine.trainer.initialise(machine.network.init(draw(INITIAL, 0)))
    path = folder / "checkpoint.npz"
    if path.exists():
        index, arrays = store.read_checkpoint(path)
        if seen.task == index:
            return checkpoints.restored(learner, arrays)
    on_task(0)
    if seen.acts:
        return rl.relive(machine, learner, seen.stream, draw, seen.task, on_task)
    for index in range(seen.task):
        told = seen.stream(draw.stream, index)
        learner = loop.begin(machine, learner, told, draw, index, seen.stream)
        learner, _ = loop.learn(machine, learner, told, draw(TRAINING, index))
        on_task(index + 1)
    return learner


def _learning(seen: Occasion, learner: Learner, draw: Branches) -> dict[str, _Side]:
    """The learner as it begins the task, and a fresh network, on the same rows."""
    machine, told = seen.machine, seen.told
    learner = loop.begin(machine, learner, told, draw, seen.task, seen.stream)
    newborn = machine.trainer.initialise(machine.network.init(draw(loop.FRESH, seen.task)))
    batch = loop.newest(told, seen.rows)
    return {
        name: _Side(side.params, batch, loop.view(machine, side, told))
        for name, side in (("learner", learner), ("fresh", newborn))
    }


def _acting(seen: Occasion, learner: Learner, draw: Branches) -> dict[str, _Side]:
    """The agent as it begins the task, and a fresh one, each on what it does there."""
    machine, world = seen.machine, seen.told
    met = {
        "learner": alone(rl.beginning(machine, learner, world, draw, seen.task)),
        "fresh": alone(rl.newborn(machine, world, draw, seen.task)),
    }
    part = lambda rows: jax.tree.map(lambda array: array[: seen.rows], rows)
    return {
        name: _Side(side.params, part(rows), View(side.network_state))
        for name, (side, rows) in met.items()
    }


def _steps(seen: Occasion) -> int:
    """Of gradient, that the task is learnt with."""
    if seen.acts:
        return seen.machine.steps
    return loop.steps(seen.machine, seen.told, seen.config.setting.training)


def _loss(seen: Occasion) -> Callable:
    """Of each row."""
    return seen.machine.loss if seen.acts else LOSSES[seen.config.setting.training.loss]


def _observer(seen: Occasion, steps: int) -> measuring.Observer:
    """The measurements of a diagnosis."""
    setting = seen.config.setting
    plan = setting.probes.model_copy(
        update={
            "start_names": names(seen.config),
            "ggn_route": "gram" if seen.exact else "lanczos",
        }
    )
    return measuring.observer(
        seen.machine.network,
        _loss(seen),
        plan,
        learning_rate=setting.training.learning_rate,
        steps=steps,
        of_any_loss=seen.acts,
    )


def _values(
    seen: Occasion, observer: measuring.Observer, side: _Side, key, spectra, steps: int
) -> dict[str, float | None]:
    training, (params, batch, view) = seen.config.setting.training, side
    loss = task_loss(bound(seen.machine.network, view), _loss(seen), batch)
    values: dict[str, float | None] = {"loss": float(loss(params))}
    for measured in observer.probe_start(params, params, batch, key, view).values():
        values |= probes.columns(measured)
    values.pop("displacement", None)  # before the task there is none
    for matrix, arrays in spectra.items():
        columns = measuring.columns(matrix, "start", arrays, seen.config.setting, steps)
        values |= {name.replace("_start", ""): value for name, value in columns.items()}
    if (sharpness := values["hessian_max"]) is not None:
        values["edge_of_stability"] = training.learning_rate * sharpness / 2
    operator = curvature.hessian_vector_product(loss, params)
    along = curvature.gradient_curvature(operator, jax.grad(loss)(params))
    values["curvature_along_gradient"] = float(along.along)
    return values


_DIAGNOSED = ("ranks", "units", "norms", "trainability", "budget", "readiness", "ntk")


def _table(values: dict[str, dict[str, float | None]]) -> list[dict[str, Any]]:
    mine, other = values["learner"], values["fresh"]
    errors = {name for name in mine if name.endswith("_se") and name.removesuffix("_se") in mine}
    return [
        {
            "group": glossary.group(name),
            "quantity": name,
            "learner": mine[name],
            "learner_se": mine.get(f"{name}_se"),
            "fresh": other.get(name),
            "fresh_se": other.get(f"{name}_se"),
            "ratio": _ratio(mine[name], other.get(name)),
        }
        for name in mine
        if name not in errors
    ]


def _ratio(mine: float | None, other: float | None) -> float | None:
    return mine / other if mine is not None and other else None


def save_figures(found: Diagnosed, folder: Path | str) -> list[Path]:
    """Draw each matrix's counting curve, learner beside fresh network, as a PNG; return paths."""
    import matplotlib.figure

    paths = []
    for matrix in found.spectra["fresh"]:
        figure = matplotlib.figure.Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        for name, look in (("learner", "-"), ("fresh", "--")):
            arrays = found.spectra[name][matrix]
            if not np.any(arrays["nodes"]):
                continue
            spectrum = curvature.Spectrum(arrays["nodes"], arrays["weights"])
            curve = curvature.epsilon_rank_curve(spectrum, arrays["size"])
            axes.step(curve.epsilons, curve.value, look, where="post", label=name)
        axes.set(
            xscale="log", yscale="log", xlabel="x", ylabel="eigenvalues beyond x",
            title=f"{matrix} before task {found.task}: {found.config.method}, "
            f"{found.config.stream}, seed {found.config.seed}",
        )  # fmt: skip
        axes.axvline(found.config.setting.probes.epsilon, color="#8a8f98", linestyle=":")
        axes.legend()
        path = Path(folder) / f"task-{found.task:05d}-{matrix}.png"
        store.write_file(path, partial(figure.savefig, format="png", dpi=150))
        paths.append(path)
    return paths
