"""Feature purification: what adversarial training takes out of the weights.

On rows that are sparse combinations of features a network of two layers learns the features, and
with each of them a small mixture of all the others. The mixtures add up along the readout of the
labels, where a move too small to change any feature then changes the output. Adversarial training,
from the network as it is, removes the mixtures and leaves the features.

The network is `f(x) = sum_i relu(w_i.x - b_i) - relu(-w_i.x - b_i)` with `b_i >= 0`, learnt by the
logistic loss. `start` is where clean training has come to, and two branches of equal length go on
from there: `control` on clean rows, `adversarial` on rows that the fast gradient method has moved.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from neoteny import losses, streams
from neoteny.claims.base import Claim, Part, Size
from neoteny.claims.drawing import curve, figure, panel, pictures
from neoteny.claims.rows import Rows
from neoteny.claims.verdicts import Finding, within
from neoteny.interventions import gradient_attack
from neoteny.networks import mlp
from neoteny.probes import dense_mixture, log_odds_against, purity, residual_share
from neoteny.report.figures import Axis, Panel
from neoteny.training import trainer
from neoteny.types import Batch

FOOLED, ROBUST = 0.4, 0.95
"""Accuracy along the dense direction: of clean networks at most, of adversarial ones at least."""
START_TO_ADVERSARIAL, CONTROL_TO_ADVERSARIAL = 10.0, 5.0
"""How much larger the dense mixture is before than after, at least."""
SAME, OTHER = 0.7, 0.3
"""Cosines: to the weights before at least, to those at initialisation at most."""
GAIN = 0.25
"""In accuracy under projected gradient ascent."""
LINEAR = 0.3
"""Accuracy of logistic regression along the dense direction, at most."""
PURER = 0.2
"""By which purity rises with five active features and a wider attack."""
MOSTLY = 0.5
"""Of units, the share of which the part along the purified weights is the larger one."""
ON_IMAGES = 0.1
"""By which adversarial training raises accuracy under attack on images."""
PHASES = ("early", "start", "control", "adversarial")


def outputs_of(params: Any, x):
    """`f(x)` of each row, positive for class 1."""
    reached = x @ params["w"].T
    over = lambda z: jax.nn.relu(z - params["b"][None])
    return (over(reached) - over(-reached)).sum(1)


def sparse_code(
    seed: int,
    *,
    size: int = 100,
    active: int = 3,
    units: int = 150,
    radius: float = 0.3,
    noise: float = 0.05,
    rate: float = 3e-3,
    early: int = 1200,
    steps: int = 2500,
    linear_steps: int = 1000,
    test_rows: int = 2000,
) -> list[dict]:
    """Networks before and after adversarial training, and a linear one; a row for each."""
    key = jax.random.key(seed)
    features, readout = streams.dictionary(size), jnp.ones(size, jnp.float32)
    draw = partial(_draw, features, active=active, noise=noise)
    w = jax.random.normal(jax.random.fold_in(key, 0), (units, size), jnp.float32) / size
    initial = {"w": w, "b": jnp.zeros(units, jnp.float32)}
    options = {"active": active, "noise": noise, "radius": radius, "rate": rate}
    train = partial(_train, features=features, **options)
    found = {"early": train(initial, jax.random.fold_in(key, 1), steps=early)}
    found["start"] = train(found["early"], jax.random.fold_in(key, 2), steps=steps)
    last = jax.random.fold_in(key, 3)
    found["control"] = train(found["start"], last, steps=steps)
    found["adversarial"] = train(found["start"], last, steps=steps, adversarial=True)
    rows = draw(jax.random.fold_in(key, 4), test_rows)
    direction = features @ readout / jnp.linalg.norm(readout)
    measure = partial(_accuracies, rows=rows, direction=direction, radius=radius)
    spare = jax.random.fold_in(key, 5)
    told = []
    for phase, params in found.items():
        w, first, before = params["w"], initial["w"], found["start"]["w"]
        told.append(
            {"phase": phase} | measure(partial(outputs_of, params), key=spare)
            | {
                "mixture": float(dense_mixture(w, features, readout).mean()),
                "purity": float(purity(w, features).mean()),
                "cos_initial": float(_cosines(w, first).mean()),
                "cos_start": float(_cosines(w, before).mean()),
                "residual": float(residual_share(before, w).mean()),
            }
        )  # fmt: skip
    slope = _regress(draw(jax.random.fold_in(key, 6), test_rows), linear_steps)
    return [*told, {"phase": "linear"} | measure(lambda x: x @ slope, key=spare)]


def _draw(features, key, rows: int, *, active: int, noise: float) -> Batch:
    readout = jnp.ones(features.shape[1], features.dtype)
    return streams.sparse_code(key, rows, features, readout, active=active, noise=noise)


@partial(jax.jit, static_argnames=("active", "noise", "radius", "rate", "steps", "adversarial"))
def _train(
    params, key, *, features, active: int, noise: float, radius: float, rate: float, steps: int,
    adversarial: bool = False,
):  # fmt: skip
    """Steps of Adam on a fresh mini-batch each; biases stay at zero or above."""
    optimiser, attack = optax.adam(rate), gradient_attack(radius)

    def step(carry, index):
        params, state = carry
        x, labels = _draw(features, jax.random.fold_in(key, index), 128, active=active, noise=noise)
        sign = 2.0 * labels.astype(x.dtype) - 1.0
        if adversarial:  # the slope of the loss has this direction, and is not lost to rounding
            x = attack(lambda x: -(sign * outputs_of(params, x)).mean(), x, key)
        loss = lambda params: jax.nn.softplus(-sign * outputs_of(params, x)).mean()
        updates, state = optimiser.update(jax.grad(loss)(params), state)
        params: Any = optax.apply_updates(params, updates)
        return (params | {"b": jnp.maximum(params["b"], 0)}, state), None

    return jax.lax.scan(step, (params, optimiser.init(params)), jnp.arange(steps))[0][0]


def _accuracies(outputs, *, rows: Batch, direction, radius: float, key) -> dict[str, float]:
    """Of rows as they are, and moved in several ways by `radius`."""
    sign = 2.0 * rows.labels.astype(rows.inputs.dtype) - 1.0
    margin = lambda x: -(sign * outputs(x)).mean()
    aside = jax.random.normal(key, rows.inputs.shape, rows.inputs.dtype)
    aside /= jnp.linalg.norm(aside, axis=1, keepdims=True)
    moved = {
        "clean": rows.inputs,
        "dense": rows.inputs - radius * sign[:, None] * direction[None],
        "random": rows.inputs + radius * aside,
        "fgm": gradient_attack(radius)(margin, rows.inputs, key),
        "pgd": gradient_attack(radius, steps=20)(margin, rows.inputs, key),
    }
    return {name: float((sign * outputs(x) > 0).mean()) for name, x in moved.items()}


def _regress(rows: Batch, steps: int):
    """Logistic regression by gradient descent from zero."""
    sign = 2.0 * rows.labels.astype(rows.inputs.dtype) - 1.0
    loss = lambda slope: jax.nn.softplus(-sign * (rows.inputs @ slope)).mean()
    step = lambda slope, _: (slope - 10.0 * jax.grad(loss)(slope), None)
    start = jnp.zeros(rows.inputs.shape[1], rows.inputs.dtype)
    return jax.jit(lambda start: jax.lax.scan(step, start, None, steps)[0])(start)


def _cosines(a, b):
    lengths = jnp.linalg.norm(a, axis=1) * jnp.linalg.norm(b, axis=1)
    return jnp.sum(a * b, axis=1) / lengths


def filters(
    seed: int,
    *,
    dataset: str = "digits",
    data: str | None = None,
    shrink: int = 1,
    rows: int | None = None,
    units: int = 100,
    radii: Sequence[float] = (0.5,),
    epochs: int = 60,
    decay: float = 1.0,
    shown: int = 25,
) -> list[dict]:
    """A perceptron on images before and after adversarial training, at several radii.

    A row for each phase and radius, of which the latter is also that of the attacks. Of the first
    seed also the first layer's weights at each pixel, of the units that were largest before:
    `clean` before and `adversarial` after, at the last radius.
    """
    images = streams.load(dataset, folder=data)
    images = images if rows is None else streams.subset(images, rows)
    images = images if shrink == 1 else streams.shrunk(images, shrink)
    train, heldout = images.train, images.heldout
    network = mlp((train.inputs.shape[1], units, images.num_classes))
    key = jax.random.key(seed)
    initial = network.init(jax.random.fold_in(key, 0))
    learning = partial(_learning, network, train, epochs=epochs, decay=decay)
    clean, last = learning(attack=None), jax.random.fold_in(key, 2)
    start = clean(initial, jax.random.fold_in(key, 1))
    control, told = clean(start, last), []
    for radius in radii:
        after = learning(attack=gradient_attack(radius))(start, last)
        found = {"start": start, "control": control, "adversarial": after}
        told += [
            {"phase": phase, "radius": radius} | _robust(network, params, heldout, radius)
            | _weights(*(one[0]["kernel"].T for one in (start, params, initial)))
            for phase, params in found.items()
        ]  # fmt: skip
    return told + (_pixels(start[0]["kernel"].T, after[0]["kernel"].T, shown) if not seed else [])


def _weights(before, now, initial) -> dict[str, float]:
    residual = residual_share(before, now)
    return {
        "residual": float(jnp.median(residual)),
        "mostly": float((residual < 0.5**0.5).mean()),
        "cos_initial": float(_cosines(now, initial).mean()),
    }


def _learning(network, rows: Batch, *, epochs: int, decay: float, attack):
    """`(params, key) -> params`, by so many epochs of Adam with decay."""
    optimiser = optax.adamw(1e-3, weight_decay=decay)
    parts = trainer(
        network, losses.cross_entropy, optimiser, batch=50, epochs=epochs, attack=attack
    )
    learn = jax.jit(parts.learn)
    return lambda params, key: learn(parts.initialise(params), rows, key)[0].params


def _robust(network, params, rows: Batch, radius: float) -> dict[str, float]:
    """Accuracy on rows as they are, and moved by `radius` against the network."""
    outputs = lambda x: network.apply(params, x)[0]
    against = lambda x: log_odds_against(outputs(x), rows.labels).mean()
    moved = {"clean": rows.inputs}
    for name, steps in (("fgm", 1), ("pgd", 20)):
        moved[name] = gradient_attack(radius, steps=steps)(against, rows.inputs, jax.random.key(0))
    right = lambda x: float((jnp.argmax(outputs(x), 1) == rows.labels).mean())
    return {name: right(x) for name, x in moved.items()}


def _pixels(before, after, shown: int) -> list[dict]:
    largest = np.argsort(-np.linalg.norm(before, axis=1), kind="stable")[:shown]
    return [
        {"filter": place, "pixel": pixel, "clean": float(old), "adversarial": float(new)}
        for place, unit in enumerate(largest)
        for pixel, (old, new) in enumerate(zip(before[unit], after[unit], strict=True))
    ]


def judge(rows: Mapping[str, Rows]) -> list[Finding]:
    found = _table(rows["sparse-code"])
    if len(rows["purity"]):
        rise = _of(rows["purity"], "adversarial", "purity") - _of(rows["purity"], "start", "purity")
        control = _of(rows["purity"], "control", "purity").mean()
        found.append(
            within(
                "purity", "with five active features and a wider attack each unit becomes purer",
                "rise of purity", rise, low=PURER, evidence=f"purity of the control {control:.3f}",
            )
        )  # fmt: skip
    for part in ("digits-filters", "mnist-filters"):
        found += _images(part, rows[part])
    return found


def _of(rows: Rows, phase: str, column: str) -> np.ndarray:
    return rows.where(phase=phase).by_seed(column)


def _table(rows: Rows) -> list[Finding]:
    if not len(rows):
        return []
    of = partial(_of, rows)
    said = partial(within, "sparse-code", every=True)
    mixture = of("adversarial", "mixture")
    purity_of = ", ".join(f"{phase} {of(phase, 'purity').mean():.2f}" for phase in PHASES[1:])
    return [
        said("clean training leaves a network that a small dense move fools, however long it goes "
             "on", "accuracy of the control", of("control", "dense"), high=FOOLED,
             evidence=f"along random moves {of('control', 'random').mean():.3f}"),
        said("adversarial training mends that", "accuracy along the dense move",
             of("adversarial", "dense"), low=ROBUST,
             evidence=f"on clean rows {of('adversarial', 'clean').mean():.3f}"),
        said("it takes the dense mixture out of the weights", "mixture before over after",
             of("start", "mixture") / mixture, low=START_TO_ADVERSARIAL,
             evidence=f"purity: {purity_of}"),
        said("which as much clean training does not", "mixture of the control over it",
             of("control", "mixture") / mixture, low=CONTROL_TO_ADVERSARIAL),
        said("it keeps the features that were there", "cosine to the weights before",
             of("adversarial", "cos_start"), low=SAME,
             evidence=f"|v|/|w| {of('adversarial', 'residual').mean():.2f}"),
        said("which are not those of the initialisation", "cosine to the first weights",
             of("adversarial", "cos_initial"), high=OTHER),
        said("the network is more robust to any small move", "gain under projected ascent",
             of("adversarial", "pgd") - of("start", "pgd"), low=GAIN,
             evidence=f"control {of('control', 'pgd').mean():.3f}, "
             f"adversarial {of('adversarial', 'pgd').mean():.3f}"),
        said("a linear model cannot be robust", "accuracy along the dense move",
             of("linear", "dense"), high=LINEAR,
             evidence=f"on clean rows {of('linear', 'clean').mean():.3f}"),
    ]  # fmt: skip


def _images(part: str, rows: Rows) -> list[Finding]:
    if not len(rows):
        return []
    of = partial(_of, rows.where(radius=max(rows.values("radius"))))
    others = ", ".join(
        f"{_of(rows.where(radius=radius), 'adversarial', 'mostly').mean():.2f} at {radius:g}"
        for radius in rows.values("radius")
    )
    return [
        within(
            part, "of most units the larger part is along the weights after adversarial training",
            "share of units", of("adversarial", "mostly"), low=MOSTLY,
            evidence=f"by radius {others}; median |v|/|w| "
            f"{of('adversarial', 'residual').mean():.2f}, and "
            f"{of('control', 'residual').mean():.2f} to the control",
        ),
        within(
            part, "which are not those of the initialisation", "cosine to the first weights",
            of("adversarial", "cos_initial"), high=OTHER,
        ),
        within(
            part, "adversarial training makes the network more robust than as much clean training",
            "gain under projected ascent", of("adversarial", "pgd") - of("control", "pgd"),
            low=ON_IMAGES,
            evidence=f"on clean rows {of('adversarial', 'clean').mean():.3f} against "
            f"{of('control', 'clean').mean():.3f}",
        ),
    ]  # fmt: skip


MOVES = {
    "clean": "clean rows", "random": "random moves", "dense": "the dense move",
    "fgm": "fast gradient", "pgd": "projected ascent",
}  # fmt: skip


def figures(rows: Mapping[str, Rows]) -> list:
    code = rows["sparse-code"]
    five = rows["purity"]
    moved = [
        _phases("Three active features", "accuracy", code, MOVES),
        _phases("Five, and a wider attack", "accuracy", five, MOVES),
    ]
    cosines = {"cos_initial": "cosine to the first", "cos_start": "cosine to the start"}
    weights = [
        _phases("Dense mixture", "mean over units", code, {"mixture": "dense mixture"}, log="y"),
        _phases("Three active features", "mean over units", code, {"purity": "purity"} | cosines),
        _phases("Five active features", "mean over units", five, {"purity": "purity"} | cosines),
    ]
    shown = [
        pictures(f"{name}, {title}", _filters(rows[f"{name}-filters"], phase), "weight")
        for name in ("digits", "mnist")
        for phase, title in (("clean", "before"), ("adversarial", "after"))
        if len(_pictured(rows[f"{name}-filters"]))
    ]
    seeds = "Points are seeds. Control and adversarial both go on from the start, for as long."
    units = (
        "The first layer's weights of 25 units, the largest before, each in units of its own "
        "largest weight."
    )
    return [
        figure("accuracy", "Accuracy where rows are moved", seeds, moved),
        figure("weights", "Weights before and after adversarial training", seeds, weights),
        figure("filters", "Filters before and after adversarial training", units, shown),
    ]


def _phases(title: str, label: str, rows: Rows, columns: Mapping[str, str], log: str = "") -> Panel:
    place = {phase: float(index) for index, phase in enumerate(PHASES)}
    own = Rows(row for row in rows if row["phase"] in place)
    x = np.array([place[phase] for phase in own["phase"]]) if len(own) else np.zeros(0)
    aside = 0.08 * (np.arange(len(columns)) - (len(columns) - 1) / 2)  # or they hide each other
    lines = [
        curve(name, x + by, own[column], points=True)
        for by, (column, name) in zip(aside, columns.items(), strict=True)
    ]
    ticks = tuple((at, phase) for phase, at in place.items())
    return panel(title, "", label, lines, log=log)._replace(x=Axis("", ticks=ticks))


def _pictured(rows: Rows) -> Rows:
    return Rows(row for row in rows if row.get("pixel") is not None and row["pixel"] >= 0)


def _filters(rows: Rows, column: str) -> np.ndarray:
    pixels = _pictured(rows)
    order = np.lexsort((pixels["pixel"], pixels["filter"]))
    count = int(pixels["filter"].max()) + 1
    images = pixels[column][order].reshape(count, -1)
    side = round(images.shape[1] ** 0.5)
    return images.reshape(count, side, side)


CLAIM = Claim(
    name="feature-purification",
    title="Feature purification",
    sentence=(
        "Clean training learns the right features, each with a small mixture of many others that "
        "adversarial examples exploit; adversarial training removes the mixtures."
    ),
    source="Allen-Zhu & Li (2020), Feature purification, arXiv 2005.10190",
    parts=(
        Part(
            "sparse-code", sparse_code,
            Size(2, {"rate": 1e-2, "early": 400, "steps": 1200}),
            Size(6),
        ),
        Part(
            "purity", sparse_code, Size(0),
            Size(3, {"active": 5, "units": 200, "radius": 0.5, "noise": 0.1, "early": 3000,
                     "steps": 3000}),
        ),
        Part("digits-filters", filters, Size(1), Size(4)),
        Part(
            "mnist-filters", filters, Size(0),
            Size(3, {"data": True, "dataset": "mnist", "shrink": 2, "rows": 20_000, "epochs": 20,
                     "decay": 0.3, "radii": [0.1, 0.2, 0.5]}),
        ),
    ),
    judge=judge,
    figures=figures,
    notes=(
        "Purity hardly rises with three active features, so the dense mixture is what decides. "
        "More clean training shrinks the mixture too, hence a control of equal length. On images "
        "there is no dictionary, and w = beta w' + v takes the weights after adversarial training "
        "for w'. A perceptron on MNIST of 14 x 14 pixels does not bear the paper's principle out: "
        "the wider the attack, the more its filters are new ones."
    ),
)  # fmt: skip
