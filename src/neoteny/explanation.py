"""A diagnosis in words: can this network still learn, by what, and what each number means."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from neoteny import glossary
from neoteny.diagnosis import Diagnosed
from neoteny.studies.plasticity import KEPT

Row = dict[str, Any]

_DEAD = 0.5
_PLAIN = ("sgd", "momentum")


class Reading(NamedTuple):
    """What a diagnosis comes to.

    - `trainable`: False where a sign speaks against it, None where there is none to go by.
    - `signs`: the numbers that say so, beside the fresh network's; `notes`: what to beware of.
    """

    trainable: bool | None
    headline: str
    signs: tuple[str, ...]
    notes: tuple[str, ...]


class _Sign(NamedTuple):
    lost: bool | None
    sentence: str


def read(found: Diagnosed) -> Reading:
    """Judge by what the studies found telling (`docs/studies.md`), against the fresh network.

    A network is not trainable as a fresh one is where fewer than half of a fresh network's
    curvature directions are left, half of its hidden units are dead, or, for plain gradient
    descent, its budget surely gains less than half of what it does from a fresh start.
    """
    rows = {row["quantity"]: row for row in found.table}
    signs = list(_signs(found, rows))
    told = [sign.lost for sign in signs if sign.lost is not None]
    trainable = not any(told) if told else None
    headline = {
        True: "Trainable within its budget, as a fresh network is.",
        False: "Not trainable within its budget as a fresh network is.",
        None: "Whether it is trainable cannot be told from what was measured.",
    }[trainable]
    sentences = tuple(sign.sentence for sign in signs)
    return Reading(trainable, headline, sentences, tuple(_notes(found, rows)))


def title(found: Diagnosed) -> str:
    """Which network this is, and before which task."""
    config, task = found.config, found.task
    run = f"{config.method} on {config.stream}, seed {config.seed}, before task {task}"
    if task == found.finished:
        place = f"the next, after the {task} that it has learnt"
    else:
        place = f"as it was after {task} of the {found.finished} tasks it has learnt"
    rows = f"on {found.rows} of {found.available}"
    if config.setting.agent is None:
        looked_at = f"{rows} training rows, beside a fresh network"
    else:
        looked_at = f"{rows} rows of what it does there, beside a fresh agent on its own"
    return f"{run} ({place}; tasks count from 0), {looked_at}"


def sections(found: Diagnosed) -> list[tuple[str, list[Row]]]:
    """The numbers under headings: a heading with its explanation, then the rows below it."""
    parts: dict[str | None, tuple[str, list[Row]]] = {
        key: (f"{part.title}. {part.what}", []) for key, part in glossary.GROUPS.items()
    }
    parts[None] = ("Of your own. Probes that are no part of neoteny.", [])
    known = {row["quantity"] for row in found.table}
    for row in found.table:
        if not _of_a_layer(row["quantity"], known):
            parts[row["group"]][1].append(_shown(row, found.table))
    return [(heading, rows) for heading, rows in parts.values() if rows]


def _signs(found: Diagnosed, rows: dict[str, Row]) -> Iterator[_Sign]:
    counts = ("ggn_rank", "hessian_rank", "ggn_effective_rank", "hessian_effective_rank")
    if name := next((name for name in counts if _ratio(rows, name) is not None), None):
        ratio = rows[name]["ratio"]
        yield _Sign(
            ratio < KEPT,
            f"{_pair(rows, name)} curvature directions (`{name}`): {ratio:.0%}, and below "
            f"{KEPT:.0%} they count as collapsed",
        )
    if "dead" in rows and rows["dead"]["learner"] is not None:
        mine, other = rows["dead"]["learner"], rows["dead"]["fresh"]
        beside = "" if other is None else f", of a fresh network's {other:.0%}"
        yield _Sign(
            mine > max(_DEAD, other or 0), f"{mine:.0%} of its hidden units are dead{beside}"
        )
    if (gains := _gains(rows)) is not None:
        training, (mine, other) = found.config.setting.training, gains
        plain = training.optimiser in _PLAIN
        yield _Sign(
            mine < KEPT * other if plain else None,
            f"{found.steps} steps of {training.learning_rate:g} surely lower the loss on these "
            f"rows by {mine:.2g}, a fresh network's by {other:.2g}"
            + ("" if plain else f" (by plain gradient descent; {training.optimiser} is another)"),
        )


def _gains(rows: dict[str, Row]) -> tuple[float, float] | None:
    """How much of the loss the budget takes off, of the learner and of the fresh network."""
    if "guaranteed_loss" not in rows:
        return None
    ends, starts = rows["guaranteed_loss"], rows["loss"]
    if ends["learner"] is None or ends["fresh"] is None:
        return None
    return starts["learner"] - ends["learner"], starts["fresh"] - ends["fresh"]


def _notes(found: Diagnosed, rows: dict[str, Row]) -> Iterator[str]:
    sides = ("learner", "fresh")
    if any((rows.get("predicted_loss", {}).get(side) or 0) < 0 for side in sides):
        yield (
            "`predicted_loss` is below zero, where cross-entropy never is: the quadratic model has "
            "left its range. Read `guaranteed_loss`, which freezes nothing."
        )
    edge = rows.get("edge_of_stability", {}).get("learner")
    if edge is not None and edge > 1 and found.config.setting.training.optimiser in _PLAIN:
        yield f"`edge_of_stability` is {edge:.2g}: above 1 a smaller learning rate is called for."
    if any(row[side] is None for row in found.table for side in sides):
        yield (
            "An empty cell cannot be told: the threshold of a count lies where the Lanczos steps "
            "do not resolve the eigenvalues, or the quantity is not defined here."
        )


def _ratio(rows: dict[str, Row], name: str) -> float | None:
    return rows[name]["ratio"] if name in rows else None


def _pair(rows: dict[str, Row], name: str) -> str:
    return f"{rows[name]['learner']:.3g} of a fresh network's {rows[name]['fresh']:.3g}"


def _of_a_layer(name: str, known: set[str]) -> bool:
    whole, _, number = name.rpartition("_")
    return number.isdecimal() and whole in known


def _shown(row: Row, table: list[Row]) -> Row:
    """A row as a person reads it: errors beside values, layers in one cell, what it means."""
    name, entry = row["quantity"], glossary.entry(row["quantity"])
    layers = [other for other in table if _of_a_layer(other["quantity"], {name})]
    return {
        "quantity": name,
        "learner": _with_error(row["learner"], row["learner_se"]),
        "fresh": _with_error(row["fresh"], row["fresh_se"]),
        "ratio": row["ratio"],
        **({"layers": _by_layer(layers)} if layers else {}),
        "what": f"{entry.meaning} ({entry.unit})" if entry else "",
    }


def _with_error(value: float | None, error: float | None) -> float | str | None:
    return value if value is None or error is None else f"{value:.4g} ± {error:.2g}"


def _by_layer(rows: list[Row]) -> str:
    mine, other = (
        " ".join("-" if row[side] is None else f"{row[side]:.3g}" for row in rows)
        for side in ("learner", "fresh")
    )
    return f"{mine} (fresh {other})"
