"""Spectral regularisation: the largest singular value kept near one, beside its rivals.

Each method learns a stream at each strength of a grid, the same for all, and each is judged by its
own best. What is plotted against the accuracy that is left is the largest singular value of any
kernel.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neoteny import machine
from neoteny.claims.base import Claim, Part, Size
from neoteny.claims.drawing import curve, figure, over_seeds, panel
from neoteny.claims.rows import Rows
from neoteny.claims.verdicts import Finding, within
from neoteny.config import RunConfig, Setting
from neoteny.probes import unit_health

LOST = 0.4
"""Of accuracy, at least, that plain training loses from the first tasks to the last."""
KEPT, ENDS = 0.05, 0.95
"""What the best spectral strength loses at most, and where it ends at least."""
RANK_CORRELATION = -0.5
"""Between the largest singular value and the accuracy at the end, at most."""
STRENGTH = {"l2": "weight_decay"}  # all others call theirs `strength`

STREAMS: dict[str, dict[str, Any]] = {
    "random-labels": {"rows": 800, "epochs": 40, "batch": 40, "rate": 3e-3},
    "permuted-pixels": {"rows": 800, "epochs": 4, "batch": 40, "rate": 3e-3},
    "incremental-classes": {"rows": 800, "epochs": 10, "batch": 20, "rate": 3e-3},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"widths": (64, 64, 64)},
    "convnet": {"widths": (32,), "options": {"channels": (8, 16), "kernels": (3, 3)}},
    "resnet": {"widths": (16,), "options": {"channels": (8, 16), "blocks": 1, "norm": "none"}},
}


def regularised(
    seed: int,
    *,
    methods: Mapping[str, Sequence[float]],
    stream: str = "random-labels",
    network: str = "mlp",
    tasks: int = 30,
    epochs: int | None = None,
    rows: int | None = None,
) -> list[dict]:
    """Digits, task after task, by Adam at one rate.

    A row for each method (`by`), strength and task: `accuracy` on the task's rows at its end, the
    largest singular value `sigma` of any kernel, read as a matrix, and the share of `dead` units.
    """
    found = []
    for method, strengths in ({"bp": [0.0]} | dict(methods)).items():
        for strength in strengths:
            config = _config(seed, method, strength, stream, network, tasks, epochs, rows)
            found += [{"by": method, "strength": strength} | row for row in _life(config)]
    return found


def _config(seed, method, strength, stream, network, tasks, epochs, rows) -> RunConfig:
    usual = STREAMS[stream]
    options = {"start": 2, "step": 2} if stream == "incremental-classes" else {}
    setting = Setting.model_validate(
        {
            "stream": {"rule": stream, "dataset": "digits", "rows": rows or usual["rows"],
                       "options": options},
            "metric": "final_accuracy",
            "network": {"kind": network, "initialiser": "he-normal"} | NETWORKS[network],
            "training": {"optimiser": "adam", "learning_rate": usual["rate"],
                         "batch": usual["batch"], "epochs": epochs or usual["epochs"]},
            "tasks": tasks,
        }
    )  # fmt: skip
    own = {} if method == "bp" else {STRENGTH.get(method, "strength"): strength}
    return RunConfig(
        study="spectral-regularization", stream=stream, method=method, seed=seed, tasks=tasks,
        hyperparameters=own, setting=setting,
    )  # fmt: skip


def _life(config: RunConfig) -> list[dict]:
    key = jax.random.key(config.seed)
    draw = lambda what, index=0: jax.random.fold_in(jax.random.fold_in(key, what), index)
    stream, made = machine.prepare(config)
    learner = made.trainer.initialise(made.network.init(draw(0)))

    @jax.jit
    def told(learner, batch, count):
        outputs = made.network.apply(learner.params, batch.inputs)[0]
        real = jnp.arange(len(batch.labels)) < count
        hits = jnp.sum((jnp.argmax(outputs, 1) == batch.labels) & real) / count
        kernels = [leaf for leaf in jax.tree.leaves(learner.params) if leaf.ndim > 1]
        matrices = [leaf.reshape(-1, leaf.shape[-1]) for leaf in kernels]
        largest = jnp.stack([jnp.linalg.norm(matrix, 2) for matrix in matrices]).max()
        return hits, largest, unit_health(made.network, learner.params, batch.inputs).dead.mean()

    found = []
    for index in range(config.tasks):
        task = stream(draw(1), index)
        count = len(task.train.labels) if task.prefix is None else task.prefix.train
        if index:
            learner = made.trainer.begin(learner, task.train, draw(2, index))
        rows = None if task.prefix is None else count
        learner, _ = made.trainer.learn(learner, task.train, draw(3, index), task.classes, rows)
        accuracy, sigma, dead = told(learner, task.train, count)
        found.append(
            {"task_number": index, "accuracy": float(accuracy), "sigma": float(sigma),
             "dead": float(dead)}
        )  # fmt: skip
    return found


def judge(rows: Mapping[str, Rows]) -> list[Finding]:
    found = _grid(rows["random-labels"])
    for part in ("permuted-pixels", "incremental-classes", "convnet", "resnet"):
        if len(rows[part]):
            found += _elsewhere(part, rows[part])
    return found


def _ends(rows: Rows, method: str, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy over the first sixth of the tasks and over the last, seed by seed."""
    mine = rows.where(by=method, strength=strength)
    tasks = int(max(mine.values("task_number"))) + 1
    span = max(1, tasks // 6)
    which = mine["task_number"]
    cut = lambda kept: Rows(row for row, keep in zip(mine, kept, strict=True) if keep)
    return (
        cut(which < span).by_seed("accuracy"),
        cut(which >= tasks - span).by_seed("accuracy"),
    )


def _best(rows: Rows, method: str) -> tuple[float, np.ndarray, np.ndarray]:
    """The strength that ends best in the mean, and where its seeds begin and end."""
    strengths = rows.where(by=method).values("strength")
    found = [(strength, *_ends(rows, method, strength)) for strength in strengths]
    return max(found, key=lambda one: one[2].mean())


def _grid(rows: Rows) -> list[Finding]:
    first, last = _ends(rows, "bp", 0.0)
    strength, begins, ends = _best(rows, "spectral")
    found = [
        within(
            "random-labels", "plain training loses its accuracy", "accuracy lost", first - last,
            low=LOST, evidence=f"from {first.mean():.2f} to {last.mean():.2f}",
        ),
        within(
            "random-labels", "spectral regularisation at its best strength loses none",
            "accuracy lost", begins - ends, high=KEPT, evidence=f"at {strength:g}",
        ),
        within(
            "random-labels", "and ends with nearly all labels fitted", "accuracy at the end", ends,
            low=ENDS,
        ),
    ]  # fmt: skip
    for rival in [name for name in rows.values("by") if name not in ("bp", "spectral")]:
        own, _, theirs = _best(rows, rival)
        found.append(
            within(
                "random-labels", f"at best it ends above `{rival}` at its best", "accuracy gained",
                ends - theirs, low=0.0,
                evidence=f"`{rival}` ends at {theirs.mean():.3f} with {own:g}",
            )
        )  # fmt: skip
    return [*found, *_sensitivity(rows), _singular(rows)]


def _sensitivity(rows: Rows) -> list[Finding]:
    """The worst of a method's strengths below its best: how much the choice of one matters."""
    ends = {
        method: np.array([_ends(rows, method, strength)[1] for strength in mine.values("strength")])
        for method in rows.values("by")
        for mine in [rows.where(by=method)]
    }
    spread = {method: found.max(0) - found.min(0) for method, found in ends.items()}
    told = ", ".join(f"`{m}` {s.mean():.2f}" for m, s in spread.items() if m != "bp")
    if "l2" not in spread or min(len(ends["l2"]), len(ends["spectral"])) < 2:
        return []  # one strength says nothing of others
    return [
        within(
            "random-labels", "it is less sensitive to its strength than L2",
            "best minus worst of the grid, L2's less its own", spread["l2"] - spread["spectral"],
            low=0.0, evidence=told,
        )
    ]  # fmt: skip


def _singular(rows: Rows) -> Finding:
    """Over methods and strengths, seed by seed: where the largest singular value grew, less is
    left."""
    from scipy.stats import spearmanr

    last = max(rows.values("task_number"))
    found = []
    for seed in rows.values("seed"):
        own = rows.where(seed=seed, task_number=last)
        found.append(float(spearmanr(own["sigma"], own["accuracy"])[0]))  # pyright: ignore
    return within(
        "random-labels", "where singular values have grown, less accuracy is left",
        "rank correlation over methods and strengths", found, high=RANK_CORRELATION,
    )  # fmt: skip


def _elsewhere(part: str, rows: Rows) -> list[Finding]:
    _, last = _ends(rows, "bp", 0.0)
    strength, begins, ends = _best(rows, "spectral")
    return [
        within(
            part, "spectral regularisation ends above plain training", "accuracy gained",
            ends - last, low=0.0,
            evidence=f"plain {last.mean():.3f}; at {strength:g} from {begins.mean():.3f} to "
            f"{ends.mean():.3f}",
        )
    ]  # fmt: skip


def figures(rows: Mapping[str, Rows]) -> list:
    shown = [part for part, own in rows.items() if len(own)]
    lives = [
        panel(
            part.replace("-", " ").capitalize(), "task", "accuracy",
            [over_seeds(f"{method} {strength:g}" if strength else method,
                        own.where(by=method, strength=strength), "task_number", "accuracy")
             for method in own.values("by")
             for strength in [_best(own, method)[0]]],
        )
        for part in shown
        for own in [rows[part]]
    ]  # fmt: skip
    labels = rows["random-labels"]
    last = labels.where(task_number=max(labels.values("task_number")))
    grid = [
        curve(method, own.values("strength"),
              [_ends(labels, method, strength)[1].mean() for strength in own.values("strength")])
        for method in labels.values("by") if method != "bp"
        for own in [labels.where(by=method)]
    ]  # fmt: skip
    spread = [
        curve(method, last.where(by=method)["sigma"], last.where(by=method)["accuracy"],
              points=True)
        for method in labels.values("by")
    ]  # fmt: skip
    said = "Each method at the strength that ended best; means over seeds, and their extremes."
    return [
        figure("lives", "Accuracy at the end of each task", said, lives),
        figure(
            "grid", "Strengths and singular values", "On random labels, over the last tasks.",
            [panel("Strength", "strength", "accuracy at the end", grid, log="x"),
             panel("Singular values", "largest singular value", "accuracy at the end", spread)],
        ),
    ]  # fmt: skip


FULL = [1e-4, 1e-3, 1e-2]
RIVALS = {name: FULL for name in ("spectral", "l2", "l2_init", "wasserstein")}
FEW = {"spectral": [1e-2], "l2": [1e-3]}

CLAIM = Claim(
    name="spectral-regularization",
    title="Spectral regularisation",
    sentence=(
        "Keeping the largest singular value of every layer near one preserves trainability over "
        "tasks, and depends less on its strength than L2, towards zero or the start, does."
    ),
    source="Lewandowski et al. (2025), Learning continually by spectral regularization, "
    "arXiv 2406.06811",
    parts=(
        Part(
            "random-labels", regularised,
            Size(3, {"methods": FEW, "tasks": 12, "epochs": 40}), Size(3, {"methods": RIVALS}),
            Size(10, {"methods": RIVALS, "tasks": 50}),
        ),
        *(
            Part(
                stream, regularised,
                Size(2 if tasks else 0,
                     {"stream": stream, "methods": {"spectral": [1e-3]}, "tasks": tasks,
                      "rows": 300}),
                Size(3, {"stream": stream, "methods": {"spectral": FULL, "l2": FULL},
                         "tasks": longer}),
            )
            for stream, tasks, longer in (
                ("permuted-pixels", 6, 100), ("incremental-classes", 0, 5)
            )
        ),
        *(
            Part(
                kind, regularised,
                Size(0),
                Size(3, {"network": kind, "methods": {"spectral": [1e-3, 1e-2]}, "tasks": 10,
                         "epochs": 15, "rows": 400}),
            )
            for kind in ("convnet", "resnet")
        ),
    ),
    judge=judge,
    figures=figures,
    notes=(
        "Handwritten digits and small networks in place of Tiny ImageNet, ResNet-18 and a vision "
        "transformer. Rate and strengths are those of a pilot on standardised inputs, where the "
        "best ended above 0.95; here inputs are between 0 and 1. The smallest size has perceptrons "
        "alone."
    ),
)  # fmt: skip
