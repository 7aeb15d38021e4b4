"""The verdict on plasticity: who loses it, whether the spectrum goes first, what prevents it.

Everything is judged per stream, by differences within a seed and a bootstrap interval over
seeds, against the tolerances here, the same for every stream and method.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from neoteny import store
from neoteny.statistics import Interval, bootstrap_mean

TOLERANCE = 0.05
"""Accuracy lost against a fresh network that counts as loss of plasticity: five points."""

ONSET = 0.2
"""A quantity has begun to fall when it has lost a fifth of its peak so far, above its floor."""

KEPT = 0.5
"""A spectrum is kept while at least half of its first count of eigenvalues is left."""

Outcome = Literal["holds", "fails", "undecided"]


class Verdict(NamedTuple):
    """A claim about one stream, whether the runs bear it out, and the numbers that say so."""

    stream: str
    claim: str
    outcome: Outcome
    evidence: str


class Life(NamedTuple):
    """What a verdict reads of one run: per task, with NaN where a task was not measured.

    `tasks` were asked for; a run that diverged, or is not done, has fewer entries. `largest` is the
    largest eigenvalue, known wherever a spectrum was measured, though it may not tell `rank`.
    """

    accuracy: np.ndarray
    fresh: np.ndarray
    rank: np.ndarray
    chance: np.ndarray
    largest: np.ndarray
    tasks: int


def judge(connection, *, besides: tuple[str, ...] = ()) -> list[Verdict]:
    """Judge all runs of the tables behind `connection` (see `neoteny.store.connect`).

    Studies named in `besides` are left out: they have a claim of their own.

    Per stream: (1) `bp` loses plasticity, that is, late in the stream it ends tasks more than
    `TOLERANCE` below a fresh network on the same tasks; (2) the number of curvature directions
    at task start, eigenvalues of the generalised Gauss-Newton matrix above epsilon (of the
    Hessian where that was not measured), begins to fall at an earlier task than accuracy does;
    (3) `l2_er` keeps both; (4) the same two questions of every other method. Where there is one
    seed there is no interval, and where a run diverged or did not measure what a claim is
    about, its late stream is unknown: the verdict is undecided.
    """
    sections = connection.execute(
        "SELECT DISTINCT study, stream FROM tasks ORDER BY study, stream"
    ).fetchall()
    sections = [section for section in sections if section[0] not in besides]
    several = len({study for study, _ in sections}) > 1
    verdicts = []
    for section in sections:
        stream = ": ".join(section) if several else section[1]
        lives = {
            method: _lives(connection, section, method) for method in _methods(connection, section)
        }
        every = [life for own in lives.values() for life in own.values()]
        if not any(np.isfinite(life.accuracy).any() for life in every):
            claim = "a method keeps its plasticity"
            verdicts.append(Verdict(stream, claim, "undecided", _NO_ACCURACY))
            continue
        if "bp" in lives:
            verdicts += [_loses(stream, lives["bp"]), _spectrum_first(stream, lives["bp"])]
        for method in sorted(lives, key=lambda name: (name != "l2_er", name)):
            if method != "bp":
                verdicts.append(_keeps_both(stream, method, lives))
    return verdicts


_NO_ACCURACY = (
    "no task has an accuracy, as where labels are numbers; `online_loss` and `final_loss` have "
    "what there is to compare"
)


def _loses(stream: str, lives: dict[int, Life]) -> Verdict:
    gap = _interval([_gap(life) for life in lives.values()])
    outcome = _decide(holds=gap.high < -TOLERANCE, fails=gap.low > -TOLERANCE)
    return Verdict(
        stream,
        "bp loses plasticity",
        outcome,
        f"gap to a fresh network in the last third {points(gap)}"
        f"{_remedy(gap, lives, 'fresh_every')}, {_seeds(lives)}",
    )


def _spectrum_first(stream: str, lives: dict[int, Life]) -> Verdict:
    claim = "bp's spectrum collapses before its accuracy does"
    if not any(np.isfinite(life.rank).any() for life in lives.values()):
        return Verdict(stream, claim, "undecided", f"no spectrum measured, {_seeds(lives)}")
    whole = all(map(_whole, lives.values()))
    # accuracy is read at the tasks that have a spectrum, so that neither is seen any sooner
    onsets = [
        (
            _onset(life.rank),
            _onset(np.where(np.isfinite(life.rank), life.accuracy - life.chance, np.nan)),
        )
        for life in lives.values()
    ]
    both = [(a, b) for a, b in onsets if a is not None and b is not None]
    if len(both) < len(onsets):
        alone = sum(rank is None and accuracy is not None for rank, accuracy in onsets)
        return Verdict(
            stream,
            claim,
            _decide(holds=False, fails=whole and alone == len(onsets) > 1),
            f"nothing to compare: of {_seeds(lives)}, accuracy alone fell by {ONSET:.0%} in "
            f"{alone}, accuracy and the eigenvalue count in {len(both)}, and accuracy never in "
            f"{sum(accuracy is None for _, accuracy in onsets)}",
        )
    lead = bootstrap_mean([float(accuracy - rank) for rank, accuracy in both])
    tasks = np.mean(both, axis=0)
    return Verdict(
        stream,
        claim,
        _decide(holds=whole and lead.low > 0, fails=whole and lead.high <= 0),
        f"eigenvalue count down by {ONSET:.0%} at task {tasks[0]:.1f}, accuracy at {tasks[1]:.1f}: "
        f"lead {_shown(lead, lambda value: f'{value:.1f}', unit=' tasks')}, {_seeds(lives)}",
    )


def _keeps_both(stream: str, method: str, lives: dict[str, dict[int, Life]]) -> Verdict:
    own = lives[method]
    gap = _interval([_gap(life) for life in own.values()])
    share = _interval([_share_left(life) for life in own.values()])
    outcome = _decide(
        holds=gap.low > -TOLERANCE and share.low > KEPT,
        fails=gap.high < -TOLERANCE or share.high < KEPT,
    )
    evidence = f"gap to a fresh network in the last third {points(gap)}"
    evidence += _remedy(gap, own, "fresh_every")
    evidence += f"; eigenvalues left {_percent(share)}{_remedy(share, own, 'spectrum_every')}"
    if "bp" in lives:
        shared = sorted(own.keys() & lives["bp"].keys())
        ahead = _interval([_late(own[seed]) - _late(lives["bp"][seed]) for seed in shared])
        evidence += f"; late accuracy against bp {points(ahead)}"
    return Verdict(
        stream, f"{method} keeps accuracy and spectrum", outcome, f"{evidence}, {_seeds(own)}"
    )


def _decide(*, holds: bool, fails: bool) -> Outcome:
    """NaN intervals, of one seed, satisfy neither side."""
    return "holds" if holds else "fails" if fails else "undecided"


def _interval(values: list[float]) -> Interval:
    """The mean over seeds; without ends, so undecided, where a seed has no value."""
    known = [value for value in values if np.isfinite(value)]
    if known and len(known) == len(values):
        return bootstrap_mean(values)
    mean = float(np.mean(known)) if known else np.nan
    return Interval(mean, np.nan, np.nan, len(known), "not measured in every seed")


def late_gap(accuracy: np.ndarray, fresh: np.ndarray, tasks: int) -> float:
    """Accuracy minus a fresh network's, over the tasks of the last third where both are known.

    NaN where there is no such task, or where a run has not come through all `tasks` asked for:
    then its late stream is unknown. This is the gap of the verdict and of every table.
    """
    gaps = (accuracy - fresh)[2 * tasks // 3 :]
    known = gaps[np.isfinite(gaps)]
    return float(np.mean(known)) if len(known) and len(accuracy) == tasks else np.nan


def cadence(tasks: int) -> int:
    """How often to measure so that the last third of `tasks` has about three measurements."""
    return max(1, tasks // 10)


def seldom(tasks: int, every: int) -> bool:
    """Whether a cadence that is not off never falls into the last third of `tasks`."""
    return every > 0 and (tasks - 1) // every * every < 2 * tasks // 3


def _gap(life: Life) -> float:
    return late_gap(life.accuracy, life.fresh, life.tasks)


def _late(life: Life) -> float:
    """Mean accuracy on the last tenth of the tasks."""
    late = life.accuracy[-max(1, life.tasks // 10) :]
    return float(np.mean(late)) if _whole(life) else np.nan


def _share_left(life: Life) -> float:
    """Eigenvalues above epsilon late in the stream, as a share of those early in it.

    Known where the first third and the last third of the tasks have a count: the first of the
    one and the last of the other are compared.
    """
    first, last = life.rank[: life.tasks // 3 + 1], life.rank[max(1, 2 * life.tasks // 3) :]
    early, late = (part[np.isfinite(part)] for part in (first, last))
    judged = len(early) and len(late) and early[0] > 0 and _whole(life)
    return float(late[-1] / early[0]) if judged else np.nan


def _whole(life: Life) -> bool:
    return len(life.accuracy) == life.tasks


def _onset(values: np.ndarray) -> int | None:
    """The first measured task that has lost `ONSET` of the peak before it, and the next one too.

    Noise in one task is no onset.
    """
    tasks = np.flatnonzero(np.isfinite(values))
    above = values[tasks]
    peak = np.maximum.accumulate(above)
    low = (peak > 0) & (above < (1 - ONSET) * peak)
    lasting = np.flatnonzero(low[:-1] & low[1:])
    return int(tasks[lasting[0]]) if len(lasting) else None


def _methods(connection, section: tuple[str, str]) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT method FROM tasks WHERE study = ? AND stream = ?", list(section)
    ).fetchall()
    return [method for (method,) in rows]


def _lives(connection, section: tuple[str, str], method: str) -> dict[int, Life]:
    mine, which = "study = ? AND stream = ? AND method = ?", [*section, method]
    metric, asked = connection.execute(
        "SELECT config ->> '$.setting.metric', (config ->> '$.tasks')::INTEGER FROM runs "
        f"WHERE {mine} ORDER BY seed",
        which,
    ).fetchone() or ("", 0)
    fresh = {"final_accuracy": "fresh_accuracy"}.get(metric, f"fresh_{metric}")
    described = connection.execute("SELECT column_name FROM (DESCRIBE tasks)").fetchall()
    curvature = [
        column(name) if (name,) in described else "NULL::DOUBLE"
        for kind in ("rank", "max")
        for name in (f"ggn_{kind}_start", f"hessian_{kind}_start")
    ]
    rows = connection.execute(
        f"SELECT seed, {column(metric)}, {column(fresh)}, {column('chance_accuracy')}, "
        f"{', '.join(curvature)} FROM tasks WHERE {mine} ORDER BY seed, task",
        which,
    ).fetchall()
    table = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=float)
    known = [bool(np.isfinite(values).any()) for values in table.T]
    rank, largest = (4 if known[4] else 5), (6 if known[6] else 7)  # the GGN's, or the Hessian's
    return {
        int(seed): Life(own[:, 1], own[:, 2], own[:, rank], own[:, 3], own[:, largest], asked)
        for seed in np.unique(table[:, 0])
        for own in [table[table[:, 0] == seed]]
    }


def column(name: str | None) -> str:
    """A column of `tasks` as SQL that has numbers; its name may be stored, and so anybody's."""
    return f"TRY_CAST(tasks.{store.quote(str(name))} AS DOUBLE)"


def points(interval: Interval) -> str:
    """A difference of accuracies as people read it, `+1.5 points [+0.5, +2.5]`."""
    return _shown(interval, lambda value: f"{100 * value:+.1f}", unit=" points")


def _percent(interval: Interval) -> str:
    return _shown(interval, lambda value: f"{value:.0%}")


def _shown(interval: Interval, form: Callable[[float], str], unit: str = "") -> str:
    if not np.isfinite(interval.mean):
        return "not measured"
    ends = f"[{form(interval.low)}, {form(interval.high)}]"
    return f"{form(interval.mean)}{unit} {ends if np.isfinite(interval.low) else '[no interval]'}"


def _remedy(interval: Interval, lives: dict[int, Life], field: str) -> str:
    """What to type where runs went through all tasks and a thing was not measured late enough."""
    measured = "fresh" if field == "fresh_every" else "rank"
    late = [getattr(life, measured)[2 * life.tasks // 3 :] for life in lives.values()]
    unseen = all(map(_whole, lives.values())) and not any(np.isfinite(part).any() for part in late)
    if np.isfinite(interval.mean) or not unseen:
        return ""
    tasks = max(life.tasks for life in lives.values())
    told = any(np.isfinite(life.largest[2 * life.tasks // 3 :]).any() for life in lives.values())
    if field == "spectrum_every" and told:
        return (
            " (spectra are there, but so few Lanczos steps do not tell it: under a new `--out`, "
            "`--set probes.ggn_route=gram` counts exactly)"
        )
    return f" (`--set probes.{field}={cadence(tasks)}` under a new `--out` measures it)"


def _seeds(lives: dict[int, Life]) -> str:
    partial = sum(not _whole(life) for life in lives.values())
    text = f"{len(lives)} seed{'s' if len(lives) != 1 else ''}"
    return f"{text}, {partial} of them without all tasks" if partial else text
