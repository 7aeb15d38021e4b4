"""The whole diagnosis of a stored run: what its network can still learn, beside a fresh one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from neoteny import curvature, loop, measuring, probes, store
from neoteny.config import RunConfig, validated
from neoteny.errors import UserError
from neoteny.losses import LOSSES, task_loss
from neoteny.machine import Machine, prepare
from neoteny.types import Learner, Params, Task, bound

ROWS = 50

_GRAM = 1000
"""Outputs up to which the GGN's spectrum is found exactly, from its Gram matrix."""


class Diagnosed(NamedTuple):
    """Two networks before the same task: the run's own, and one that has learnt nothing yet.

    - `table`: rows of `quantity`, `learner`, `fresh` and their `ratio`.
    - `spectra`: by "learner" and "fresh", then by matrix: its nodes, weights and size.
    """

    config: RunConfig
    task: int
    table: list[dict[str, Any]]
    spectra: dict[str, dict[str, dict[str, Any]]]


def diagnose(
    folder: Path | str,
    *,
    task: int | None = None,
    rows: int = ROWS,
    data: Path | str | None = None,
    on_task: Callable[[int], None] = lambda done: None,
) -> Diagnosed:
    """Measure a stored run just before one of its tasks, on that task's first rows.

    Without `task` that is the task after the last one learnt, from the checkpoint. Any other
    is reached by training anew from the run's seed, which takes as long as it took then, and
    ends with the same parameters.

    **Arguments:**

    - `folder`: of one run, with `run.json`.
    - `rows`: of the task's training rows; costs grow with their square.
    - `on_task`: told the number of tasks trained anew.

    **Raises:** `UserError` for a folder that is no run, a task that is negative, or a
    checkpoint of another version.
    """
    if rows < 1 or (task is not None and task < 0):
        raise UserError(
            f"`rows` is {rows} and `task` is {task}: measure on at least 1 row, before task 0 "
            "or a later one."
        )
    folder = Path(folder)
    config = _configuration(folder)
    stream, machine = prepare(config, data)
    draw = loop.Branches(config.seed)
    learner, index = _reached(folder, config, machine, stream, task, on_task)
    told = stream(draw.stream, index)
    learner = loop.begin(machine, learner, told, draw, index, stream)
    _refuse_diverged(learner.params, config)
    newborn = machine.trainer.initialise(machine.network.init(draw(loop.FRESH, index)))
    sides = {"learner": learner, "fresh": newborn}
    views = {name: loop.view(machine, side, told) for name, side in sides.items()}
    batch = jax.tree.map(lambda array: array[:rows], loop.newest(told))
    key = draw(loop.PROBING, 2 * index)
    observer = _observer(config, machine, len(batch.labels))
    spectra = {
        name: measuring.spectra(observer.matrices, side.params, batch, key, rows, views[name])
        for name, side in sides.items()
    }
    values = {
        name: _values(
            config, machine, observer, side.params, batch, key, spectra[name], views[name]
        )
        for name, side in sides.items()
    }
    return Diagnosed(config, index, _table(values), spectra)


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
    return validated(RunConfig, store.read_record(folder)["config"])


def _reached(
    folder: Path, config: RunConfig, machine: Machine, stream, task: int | None, on_task
) -> tuple[Learner, int]:
    """The learner before `task`, as it left the task before, and the number of that task."""
    draw = loop.Branches(config.seed)
    learner = machine.trainer.initialise(machine.network.init(draw(loop.INITIAL, 0)))
    path = folder / "checkpoint.npz"
    if path.exists():
        index, arrays = store.read_checkpoint(path)
        if task in (None, index):
            return loop.restored(learner, arrays), index
    for index in range(task or 0):
        told: Task = stream(draw.stream, index)
        learner = loop.begin(machine, learner, told, draw, index, stream)
        learner, _ = loop.learn(machine, learner, told, draw(loop.TRAINING, index))
        on_task(index + 1)
    return learner, task or 0


def _observer(config: RunConfig, machine: Machine, rows: int) -> measuring.Observer:
    """What a run measures and all that tells why; the GGN exactly where that is cheap."""
    setting = config.setting
    refused = () if setting.training.loss == "cross-entropy" else measuring.OF_CROSS_ENTROPY
    asked = (*_DIAGNOSED, *setting.probes.names, *setting.probes.start_names)
    wanted = tuple(name for name in dict.fromkeys(asked) if name not in refused)
    exact = rows * machine.num_classes <= _GRAM
    plan = setting.probes.model_copy(
        update={
            "start_names": wanted,
            "ggn_route": "gram" if exact else "lanczos",
        }
    )
    return measuring.observer(
        machine.network,
        LOSSES[setting.training.loss],
        plan,
        learning_rate=setting.training.learning_rate,
        steps=machine.steps,
    )


def _values(
    config: RunConfig,
    machine: Machine,
    observer: measuring.Observer,
    params,
    batch,
    key,
    spectra,
    view,
) -> dict[str, float | None]:
    training = config.setting.training
    loss = task_loss(bound(machine.network, view), LOSSES[training.loss], batch)
    values: dict[str, float | None] = {"loss": float(loss(params))}
    for measured in observer.probe_start(params, params, batch, key, view).values():
        values |= probes.columns(measured)
    values.pop("displacement", None)  # before the task there is none
    for matrix, arrays in spectra.items():
        columns = measuring.columns(matrix, "start", arrays, config.setting, machine.steps)
        values |= {
            name.removesuffix("_start"): value
            for name, value in columns.items()
            if not name.endswith("_se")
        }
    if (sharpness := values["hessian_max"]) is not None:
        values["edge_of_stability"] = training.learning_rate * sharpness / 2
    operator = curvature.hessian_vector_product(loss, params)
    along = curvature.gradient_curvature(operator, jax.grad(loss)(params))
    values["curvature_along_gradient"] = float(along.along)
    return values


_DIAGNOSED = ("ranks", "units", "norms", "trainability", "budget", "readiness", "ntk")


def _table(values: dict[str, dict[str, float | None]]) -> list[dict[str, Any]]:
    rows = []
    for quantity, mine in values["learner"].items():
        other = values["fresh"].get(quantity)
        ratio = mine / other if mine is not None and other else None
        rows.append({"quantity": quantity, "learner": mine, "fresh": other, "ratio": ratio})
    return rows


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
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
        paths.append(path)
    return paths
