"""Learning in the null space of past activations: room runs out, and sparse layers save it.

Gradient projection takes from every update what the layers' inputs in past tasks would see of it.
What was learnt stays, but what may still change gets less with every task. Where tasks put less
into each layer, by few winners and by units that won less before, more of the null space is left.

Tasks show the same images with their pixels in an order of the task's own, for one output layer.
Four networks learn them, by plain gradient descent: `sgd`, without projection; `dense`, with it;
`winners`, of whose units few are active; and `both`, with heterogeneous dropout besides.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neoteny import methods, streams
from neoteny.claims.base import Claim, Part, Size
from neoteny.claims.drawing import figure, over_seeds, panel
from neoteny.claims.rows import Rows
from neoteny.claims.verdicts import Finding, within
from neoteny.interventions import null_space_left
from neoteny.losses import cross_entropy
from neoteny.networks import mlp
from neoteny.probes import activation_overlap, firing_rates
from neoteny.training import trainer
from neoteny.types import Network

KEPT, LOST = -0.05, -0.3
"""Backward transfer: of all that project at least, of plain gradient descent at most."""
SAVED = 0.1
"""Of the memory that dense hidden layers use, the share that winners save at least."""
APART = 0.03
"""By which dropout lowers the overlap in the first hidden layer, at least."""
HALVED = 0.5
"""Forgetting with dropout over that without, at most."""
FULL, STUCK = 0.01, 0.2
"""What is left of the inputs' null space at most, and what learning loses by it at least."""
BETTER = 0.01
"""By which the sparse network is more accurate in the end than the dense one, in the paper."""

KINDS = ("sgd", "dense", "winners", "both")


def sequence(
    seed: int,
    *,
    dataset: str = "digits",
    data: str | None = None,
    side: int = 28,
    rows: int | None = None,
    tasks: int = 30,
    widths: Sequence[int] = (64, 64),
    rate: float = 0.1,
    batch: int = 20,
    epochs: int = 5,
    threshold: float = 0.97,
    later: float = 0.995,
    winners: float = 0.3,
    dropout: float = 0.5,
    kinds: Sequence[str] = KINDS,
) -> list[dict]:
    """Each kind of network on a sequence of tasks; a row for each of its tasks.

    `learnt` is the accuracy on held-out rows at the task's own end and `final` that after the last
    task; `left_k` what is then left of the null space of what layer `k` reads, and `overlap_k` the
    cosine of hidden layer `k`'s firing rates to their sum over all tasks before.
    """
    images = streams.load(dataset, folder=data)
    images = images if rows is None else streams.subset(images, rows)
    if images.image_shape and images.image_shape[0] < side:
        images = streams.enlarged(images, side)
    stream = jax.jit(streams.permuted_pixels(images))
    sizes = (images.train.inputs.shape[1], *widths, images.num_classes)
    sparse = {"winners": {"winners": winners}, "both": {"winners": winners, "dropout": dropout}}
    shares = {"threshold": threshold, "later": later}
    found = []
    for kind in kinds:
        projects = shares | sparse.get(kind, {})
        method = methods.make("bp") if kind == "sgd" else methods.make("gpm", projects)
        network = mlp(sizes, initialiser="lecun-uniform", **method.network)
        optimiser = optax.sgd(rate)
        parts = trainer(
            network, cross_entropy, optimiser, (), method.interventions(network, optimiser),
            batch=batch, epochs=epochs,
        )  # fmt: skip
        told = _life(network, parts, stream, jax.random.key(seed), tasks)
        found += [{"kind": kind, "number": number} | one for number, one in enumerate(told)]
    return found


def _life(network: Network, parts, stream, key, tasks: int) -> list[dict]:
    begin, learn = jax.jit(parts.begin), jax.jit(parts.learn)
    rates = jax.jit(lambda params, inputs: firing_rates(network, params, inputs))
    accuracy = jax.jit(
        lambda params, rows: jnp.mean(
            jnp.argmax(network.apply(params, rows.inputs)[0], 1) == rows.labels
        )
    )
    task_key = jax.random.fold_in(key, 1)
    initial = network.init(jax.random.fold_in(key, 0))
    learner = parts.initialise(jax.tree.map(lambda array: array / 3**0.5, initial))
    told, past = [], None
    for index in range(tasks):
        task, own = stream(task_key, index), jax.random.fold_in(key, 2 + index)
        learner, _ = learn(learner, task.train, own)
        now = rates(learner.params, task.train.inputs)
        told.append(
            {"learnt": float(accuracy(learner.params, task.heldout))} | _overlaps(now, past)
        )
        past = now if past is None else jax.tree.map(jnp.add, past, now)
        learner = begin(learner, task.train, own)  # which remembers what the task put in
        told[-1] |= _left(learner)
    for index, one in enumerate(told):
        one["final"] = float(accuracy(learner.params, stream(task_key, index).heldout))
    return told


def _overlaps(now, past) -> dict[str, float]:
    pairs = [] if past is None else zip(now, past, strict=True)
    return {
        f"overlap_{layer}": float(activation_overlap(*pair))
        for layer, pair in enumerate(pairs, start=1)
    }


def _left(learner) -> dict[str, float]:
    if not learner.interventions:
        return {}
    left = null_space_left(learner.interventions[-1])
    return {f"left_{layer}": float(share) for layer, share in enumerate(left, start=1)}


def _by_seed(rows: Rows, kind: str, column: str, start: float = 0.0, end: float = 1.0):
    """The mean of a column over a stretch of the tasks, as shares of their number, by seed."""
    own = rows.where(kind=kind)
    tasks = 1 + max(own.values("number"))
    first, last = round(start * tasks), max(1, round(end * tasks))
    found = [
        one[column][(one["number"] >= first) & (one["number"] < last)]
        for one in (own.where(seed=seed) for seed in sorted(own.values("seed")))
    ]
    return np.array([np.nanmean(values) for values in found])


def _backward(rows: Rows, kind: str) -> np.ndarray:
    """Backward transfer by seed: what is left of each task but the last, less what was learnt."""
    tasks = 1 + max(rows.values("number"))
    end = 1 - 1 / tasks
    final, learnt = (_by_seed(rows, kind, column, 0.0, end) for column in ("final", "learnt"))
    return final - learnt


def _used(rows: Rows, kind: str, layer: int) -> np.ndarray:
    """The share of a layer's inputs that is remembered after the last task, by seed."""
    last = max(rows.values("number"))
    return 1 - rows.where(kind=kind, number=last).by_seed(f"left_{layer}")


def judge(rows: Mapping[str, Rows]) -> list[Finding]:
    found = []
    if len(rows["permuted-digits"]):
        found += _permuted(rows["permuted-digits"])
    if len(rows["raw-digits"]):
        found += _exhausted(rows["raw-digits"])
    if len(rows["mnist"]):
        found += _against_dense(rows["mnist"])
    return found


def _permuted(rows: Rows) -> list[Finding]:
    part = "permuted-digits"
    backward = {kind: _backward(rows, kind) for kind in KINDS}
    projecting = np.minimum.reduce([backward[kind] for kind in KINDS[1:]])
    told = ", ".join(f"{kind} {values.mean():.3f}" for kind, values in backward.items())
    final = {kind: _by_seed(rows, kind, "final") for kind in KINDS}
    accuracies = ", ".join(f"{kind} {values.mean():.3f}" for kind, values in final.items())
    found = [
        within(part, "gradient projection keeps what was learnt", "worst backward transfer",
               projecting, low=KEPT, evidence=told),
        within(part, "which plain gradient descent forgets", "backward transfer",
               backward["sgd"], high=LOST),
    ]  # fmt: skip
    for layer in (1, 2):
        dense, thin = (_used(rows, kind, layer + 1) for kind in ("dense", "winners"))
        found.append(
            within(
                part, f"winners use less of what can be remembered of hidden layer {layer}",
                "share saved", 1 - thin / dense, low=SAVED,
                evidence=f"dense {dense.mean():.2f}, winners {thin.mean():.2f}, "
                f"both {_used(rows, 'both', layer + 1).mean():.2f}",
            )
        )  # fmt: skip
    apart = [_by_seed(rows, kind, "overlap_1") for kind in ("winners", "both")]
    forgotten = [np.abs(backward[kind]) for kind in ("winners", "both")]
    return [
        *found,
        within(part, "heterogeneous dropout makes tasks use other units", "fall of the overlap",
               apart[0] - apart[1], low=APART,
               evidence=f"{apart[0].mean():.3f} without it, {apart[1].mean():.3f} with it"),
        within(part, "and halves what is forgotten", "ratio of backward transfer",
               forgotten[1] / forgotten[0], high=HALVED),
        within(part, "and so the network is no less accurate in the end", "gain of accuracy",
               final["both"] - final["winners"], low=0.0, evidence=accuracies),
    ]  # fmt: skip


def _exhausted(rows: Rows) -> list[Finding]:
    part = "raw-digits"
    late = {kind: _by_seed(rows, kind, "learnt", 0.75) for kind in rows.values("kind")}
    first = rows.where(kind="dense", number=0).by_seed("learnt")
    told = ", ".join(f"{kind} {values.mean():.3f}" for kind, values in late.items())
    return [
        within(part, "the null space of the inputs is used up", "share left",
               1 - _used(rows, "dense", 1), high=FULL),
        within(part, "and learning stops: the last quarter of the tasks against the first task",
               "loss of accuracy", first - late["dense"], low=STUCK, evidence=told),
        within(part, "which plain gradient descent does not suffer", "its lead on those tasks",
               late["sgd"] - late["dense"], low=STUCK),
    ]  # fmt: skip


def _against_dense(rows: Rows) -> list[Finding]:
    final = {kind: _by_seed(rows, kind, "final") for kind in rows.values("kind")}
    told = ", ".join(f"{kind} {values.mean():.3f}" for kind, values in final.items())
    used = ", ".join(f"{kind} {_used(rows, kind, 2).mean():.2f}" for kind in final if kind != "sgd")
    return [
        within(
            "mnist", "over many tasks the sparse network is more accurate than the dense one",
            "gain of accuracy", final["both"] - final["dense"], low=BETTER,
            evidence=f"{told}; hidden layer 1 used {used}",
        )
    ]  # fmt: skip


NAMED = {
    "sgd": "no projection", "dense": "dense", "winners": "winners",
    "both": "winners and dropout",
}  # fmt: skip


def figures(rows: Mapping[str, Rows]) -> list:
    digits, raw, mnist = rows["permuted-digits"], rows["raw-digits"], rows["mnist"]
    layers = [
        _lines(f"Null space of {name}", "share left", digits, f"left_{layer}")
        for layer, name in ((1, "the inputs"), (2, "hidden layer 1"), (3, "hidden layer 2"))
    ]
    kept = [
        _lines("When learnt", "accuracy", digits, "learnt"),
        _lines("After the last task", "accuracy", digits, "final"),
        _lines("Overlap, hidden layer 1", "cosine to past firing", digits, "overlap_1"),
    ]
    lost = [
        _lines("Raw 8 x 8 digits: null space of the inputs", "share left", raw, "left_1"),
        _lines("Raw 8 x 8 digits: when learnt", "accuracy", raw, "learnt"),
        _lines("MNIST: when learnt", "accuracy", mnist, "learnt"),
        _lines("MNIST: after the last task", "accuracy", mnist, "final"),
    ]
    seeds = "Lines are means over seeds and bands their extremes."
    return [
        figure("permuted-digits", "Permuted digits", seeds, layers + kept),
        figure("exhausted", "Where the null space runs out", seeds, lost),
    ]


def _lines(title: str, label: str, rows: Rows, column: str):
    lines = [
        over_seeds(NAMED[kind], rows.where(kind=kind), "number", column)
        for kind in rows.values("kind")
    ]
    return panel(title, "task", label, lines)


CLAIM = Claim(
    name="null-space-dropout",
    title="Sparse networks in the null space",
    sentence=(
        "Learning in the null space of past activations forgets little but uses that space up; "
        "few winners a layer and dropout of units that won often make tasks overlap less."
    ),
    source="Abbasi et al. (2022), Sparsity and heterogeneous dropout, arXiv 2203.06514",
    parts=(
        Part(
            "permuted-digits", sequence,
            Size(1, {"side": 16, "tasks": 10, "widths": [32, 32], "rows": 1000}),
            Size(6),
        ),
        Part(
            "raw-digits", sequence,
            Size(1, {"side": 8, "tasks": 20, "widths": [32], "threshold": 0.99, "later": 0.99,
                     "rows": 1000, "kinds": ["sgd", "dense"]}),
            Size(6, {"side": 8, "tasks": 20, "widths": [100], "threshold": 0.99, "later": 0.99}),
        ),
        Part(
            "mnist", sequence, Size(0),
            Size(3, {"data": True, "dataset": "mnist", "rows": 2000, "tasks": 50, "batch": 10,
                     "epochs": 1, "threshold": 0.8, "later": 0.95, "widths": [100, 100],
                     "kinds": ["dense", "winners", "both"]}),
        ),
    ),
    judge=judge,
    figures=figures,
    notes=(
        "Digits are so easy that dense layers do not run out of room in 30 tasks, and sparse ones "
        "lose a point or two of each task; dropout takes a third of the forgetting away, not "
        "half, and tasks apart in their units fill more of the hidden layers' memory. The paper's "
        "gain over dense layers shows on 50 tasks of MNIST, with 2,000 rows and one pass each, "
        "where shares of 0.8 and 0.95 leave much to be forgotten; most of it comes from the "
        "winners. With 32 units and a share of 0.99 the dense network was the better one. Layers "
        "have biases here, which read a one that is remembered like other inputs. In smoke size "
        "tasks are too few for the gain in accuracy."
    ),
)  # fmt: skip
