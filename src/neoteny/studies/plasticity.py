"""The verdict on plasticity: who loses it, whether the spectrum goes first, what prevents it.

Everything is judged per stream, by differences within a seed and a bootstrap interval over
seeds, against tolerances fixed here before any run was looked at.
"""

from typing import Literal, NamedTuple

import numpy as np

from neoteny.statistics import Interval, bootstrap_mean, paired_difference

TOLERANCE = 0.05
"""Accuracy lost against a fresh network that counts as loss of plasticity: five points."""

ONSET = 0.2
"""A quantity has begun to fall when a fifth of its first value above its floor is gone."""

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
    """What a verdict reads of one run: per task, with NaN where a task was not measured."""

    accuracy: np.ndarray
    fresh: np.ndarray
    rank: np.ndarray
    chance: float


def judge(connection) -> list[Verdict]:
    """Judge all runs of the tables behind `connection` (see `neoteny.store.connect`).

    Per stream: (1) `bp` loses plasticity, that is, late in the stream it ends tasks more than
    `TOLERANCE` below a fresh network on the same tasks; (2) the number of Hessian eigenvalues
    above epsilon at task start begins to fall at an earlier task than accuracy does; (3)
    `l2_er` keeps both; (4) the same two questions of every other method. Where there is one
    seed there is no interval, and the verdict is undecided.
    """
    verdicts = []
    for stream in _column(connection, "SELECT DISTINCT stream FROM tasks ORDER BY stream"):
        lives = {
            method: _lives(connection, stream, method)
            for method in _column(
                connection,
                "SELECT DISTINCT method FROM tasks WHERE stream = ? ORDER BY method",
                stream,
            )
        }
        if "bp" in lives:
            verdicts += [_loses(stream, lives["bp"]), _spectrum_first(stream, lives["bp"])]
        for method in sorted(lives, key=lambda name: (name != "l2_er", name)):
            if method != "bp":
                verdicts.append(_keeps_both(stream, method, lives))
    return verdicts


def _loses(stream: str, lives: dict[int, Life]) -> Verdict:
    gap = bootstrap_mean([_gap(life) for life in lives.values()])
    outcome = _decide(holds=gap.high < -TOLERANCE, fails=gap.low > -TOLERANCE)
    return Verdict(
        stream,
        "bp loses plasticity",
        outcome,
        f"late gap to a fresh network {_points(gap)}, {_seeds(lives)}",
    )


def _spectrum_first(stream: str, lives: dict[int, Life]) -> Verdict:
    claim = "bp's spectrum collapses before its accuracy does"
    onsets = {
        seed: (_onset(life.rank, 0.0), _onset(life.accuracy, life.chance))
        for seed, life in lives.items()
    }
    both = [(a, b) for a, b in onsets.values() if a is not None and b is not None]
    if len(both) < len(onsets):
        missing = [
            name
            for place, name in enumerate(("spectrum", "accuracy"))
            if any(pair[place] is None for pair in onsets.values())
        ]
        lost = len(onsets) - len(both)
        text = (
            f"in {lost} of {_seeds(lives)} no fall of the {' or the '.join(missing)} by {ONSET:.0%}"
        )
        return Verdict(stream, claim, "undecided", text)
    lead = bootstrap_mean([float(accuracy - rank) for rank, accuracy in both])
    tasks = np.mean(both, axis=0)
    return Verdict(
        stream,
        claim,
        _decide(holds=lead.low > 0, fails=lead.high <= 0),
        f"eigenvalue count down by {ONSET:.0%} at task {tasks[0]:.1f}, accuracy at {tasks[1]:.1f}: "
        f"lead {lead.mean:.1f} tasks [{lead.low:.1f}, {lead.high:.1f}], {_seeds(lives)}",
    )


def _keeps_both(stream: str, method: str, lives: dict[str, dict[int, Life]]) -> Verdict:
    own = lives[method]
    gap = bootstrap_mean([_gap(life) for life in own.values()])
    share = bootstrap_mean([_share_left(life) for life in own.values()])
    outcome = _decide(
        holds=gap.low > -TOLERANCE and share.low > KEPT,
        fails=gap.high < -TOLERANCE or share.high < KEPT,
    )
    evidence = f"late gap to a fresh network {_points(gap)}; eigenvalues left {_percent(share)}"
    if "bp" in lives:
        late = [{s: _late(life) for s, life in lives[name].items()} for name in (method, "bp")]
        evidence += f"; late accuracy against bp {_points(paired_difference(*late), signed=True)}"
    return Verdict(
        stream, f"{method} keeps accuracy and spectrum", outcome, f"{evidence}, {_seeds(own)}"
    )


def _decide(*, holds: bool, fails: bool) -> Outcome:
    """NaN intervals, of one seed, satisfy neither side."""
    return "holds" if holds else "fails" if fails else "undecided"


def _gap(life: Life) -> float:
    """Accuracy minus a fresh network's, over the tasks of the last third where both are known."""
    tasks = np.flatnonzero(np.isfinite(life.fresh) & np.isfinite(life.accuracy))
    late = tasks[tasks >= 2 * len(life.accuracy) // 3]
    chosen = late if len(late) else tasks[-1:]
    return float(np.mean(life.accuracy[chosen] - life.fresh[chosen])) if len(chosen) else np.nan


def _late(life: Life) -> float:
    """Mean accuracy on the last tenth of the tasks."""
    return float(np.mean(life.accuracy[-max(1, len(life.accuracy) // 10) :]))


def _share_left(life: Life) -> float:
    """Eigenvalues above epsilon at the last measured task's start, as a share of the first's."""
    known = life.rank[np.isfinite(life.rank)]
    return float(known[-1] / known[0]) if len(known) and known[0] > 0 else np.nan


def _onset(values: np.ndarray, floor: float) -> int | None:
    """The first task from which the quantity stays, in the mean, below its first value's share.

    Noise in one task is no onset: the value there and at the next measured task must both be low.
    """
    tasks = np.flatnonzero(np.isfinite(values))
    if len(tasks) < 2:
        return None
    limit = floor + (1 - ONSET) * (values[tasks[0]] - floor)
    low = values[tasks] < limit
    for place in range(len(tasks)):
        if low[place] and (place + 1 == len(tasks) or low[place + 1]):
            return int(tasks[place])
    return None


def _lives(connection, stream: str, method: str) -> dict[int, Life]:
    (metric,) = _column(
        connection,
        "SELECT DISTINCT config ->> '$.setting.metric' FROM runs WHERE stream = ? AND method = ?",
        stream,
        method,
    )[:1]
    fresh = {"final_accuracy": "fresh_accuracy", "online_accuracy": "fresh_online_accuracy"}[metric]
    known = _column(connection, "SELECT column_name FROM (DESCRIBE tasks)")
    rank = "hessian_rank_start" if "hessian_rank_start" in known else "NULL::DOUBLE"
    rows = connection.execute(
        f"SELECT seed, {metric}, {fresh}, {rank}, chance_accuracy FROM tasks "
        "WHERE stream = ? AND method = ? ORDER BY seed, task",
        [stream, method],
    ).fetchall()
    table = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=float)
    return {
        int(seed): Life(*table[table[:, 0] == seed][:, 1:4].T, chance=float(table[0, 4]))
        for seed in np.unique(table[:, 0])
    }


def _column(connection, sql: str, *values) -> list:
    return [row[0] for row in connection.execute(sql, list(values)).fetchall()]


def _points(interval: Interval, signed: bool = True) -> str:
    sign = "+" if signed else ""
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * interval.mean:{sign}.1f} points [{low:{sign}.1f}, {high:{sign}.1f}]"


def _percent(interval: Interval) -> str:
    return f"{interval.mean:.0%} [{interval.low:.0%}, {interval.high:.0%}]"


def _seeds(lives: dict) -> str:
    return f"{len(lives)} seed{'s' if len(lives) != 1 else ''}"
