"""The verdict on agents: who stops learning new worlds, judged against fresh agents in them.

A return says nothing by itself, as tasks differ in how hard they are. So every task is scored
between what a fresh agent gets there before it has learnt anything, 0, and what it gets while it
learns, 1; and the scores of the last third of the tasks are compared.
"""

from typing import NamedTuple

import numpy as np

from neoteny.statistics import Interval, bootstrap_mean, interquartile_mean
from neoteny.studies.plasticity import Outcome, Verdict, column

TOLERANCE = 0.1
"""Of what a fresh agent gains; an agent that gains so much less has lost plasticity."""

RESAMPLES = 2000


class Scores(NamedTuple):
    """What one method scored, in the last third of the tasks.

    - `late`: for each seed, all it gained as a share of all that fresh agents gained.
    - `table`: a score for each seed and task, NaN where a fresh agent was not measured.
    - `entropy`: for each seed, that of the policy at the end of the tasks, in nats.
    - `whole`: whether every seed came through all tasks.
    """

    late: dict[int, float]
    table: np.ndarray
    entropy: dict[int, float]
    whole: bool


def judge(connection, study: str) -> list[Verdict]:
    """Judge the agents of `study` in the tables behind `connection` (see `neoteny.store.connect`).

    Per stream: (1) `bp` loses plasticity: late in the stream it gains less than 1 - `TOLERANCE` of
    what a fresh agent gains in the same worlds; (2) of every other method, whether it keeps it,
    and how it compares with `bp` seed by seed. Intervals are over seeds; beside them stands the
    interquartile mean over seeds and tasks, with a bootstrap in which each task is resampled on
    its own (Agarwal et al., 2021). The entropy is told because a policy that no longer tries
    anything looks like one that can no longer learn.
    """
    streams = connection.execute(
        "SELECT DISTINCT stream FROM tasks WHERE study = ? ORDER BY stream", [study]
    ).fetchall()
    verdicts = []
    for (stream,) in streams:
        methods = connection.execute(
            "SELECT DISTINCT method FROM tasks WHERE study = ? AND stream = ? ORDER BY method",
            [study, stream],
        ).fetchall()
        found = {method: _scores(connection, study, stream, method) for (method,) in methods}
        if "bp" in found:
            verdicts.append(_loses(stream, found["bp"]))
        for method in sorted(found, key=lambda name: (name != "l2_er", name)):
            if method != "bp":
                verdicts.append(_keeps(stream, method, found))
    return verdicts


def _loses(stream: str, own: Scores) -> Verdict:
    score = _interval(own)
    bound = 1 - TOLERANCE
    outcome: Outcome = (
        "holds" if score.high < bound else "fails" if score.low > bound else "undecided"
    )
    return Verdict(stream, "bp loses plasticity", outcome, _evidence(score, own))


def _keeps(stream: str, method: str, found: dict[str, Scores]) -> Verdict:
    own = found[method]
    score, bound = _interval(own), 1 - TOLERANCE
    outcome: Outcome = (
        "holds" if score.low > bound else "fails" if score.high < bound else "undecided"
    )
    evidence = _evidence(score, own)
    if "bp" in found:
        bp = found["bp"].late
        pairs = [own.late[seed] - bp[seed] for seed in sorted(own.late.keys() & bp.keys())]
        known = [value for value in pairs if np.isfinite(value)]
        if known:
            evidence += f"; against bp {_shown(bootstrap_mean(known), sign=True)}"
    return Verdict(stream, f"{method} keeps its plasticity", outcome, evidence)


def _evidence(score: Interval, own: Scores) -> str:
    middle = middle_mean(own.table)
    entropy = f"{np.mean([*own.entropy.values()]):.2f} nats" if own.entropy else "not measured"
    return (
        f"gains in the last third {_shown(score)} of a fresh agent's; middle half of seeds and "
        f"tasks {_shown(middle)}; entropy at a task's end {entropy}; {len(own.late)} seeds"
    )


def _interval(own: Scores) -> Interval:
    """Over seeds; no ends, so undecided, where one is not whole or a fresh agent is missing."""
    values = [*own.late.values()]
    known = [value for value in values if np.isfinite(value)]
    if known and len(known) == len(values) and own.whole:
        return bootstrap_mean(known)
    mean = float(np.mean(known)) if known else np.nan
    return Interval(mean, np.nan, np.nan, len(known), "not measured in every seed")


def middle_mean(table: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The interquartile mean of scores by (seed, task), each task's seeds resampled on their own.

    At three seeds such an interval is too narrow (see `statistics.bootstrap_mean`): it is here
    to compare with the literature, and decides nothing.
    """
    tasks = [scores[np.isfinite(scores)] for scores in table.T]
    tasks = [scores for scores in tasks if len(scores)]
    if not tasks:
        return Interval(np.nan, np.nan, np.nan, 0, "not measured")
    draw = np.random.default_rng(seed)
    means = np.sort(
        [
            interquartile_mean(
                np.concatenate(
                    [scores[draw.integers(len(scores), size=len(scores))] for scores in tasks]
                )
            )
            for _ in range(resamples)
        ]
    )
    outside = int(0.025 * resamples)
    mean = interquartile_mean(np.concatenate(tasks))
    count = sum(map(len, tasks))
    return Interval(
        mean, float(means[outside]), float(means[-1 - outside]), count, "stratified bootstrap"
    )


def _scores(connection, study: str, stream: str, method: str) -> Scores:
    metric, asked = connection.execute(
        "SELECT config ->> '$.setting.metric', (config ->> '$.tasks')::INTEGER FROM runs "
        "WHERE study = ? AND stream = ? AND method = ? ORDER BY seed",
        [study, stream, method],
    ).fetchone() or (None, 0)
    needed = (metric, f"fresh_{metric}", "untrained_return", "final_entropy")
    rows = connection.execute(
        f"SELECT seed, task, {', '.join(map(column, needed))} FROM tasks "
        "WHERE study = ? AND stream = ? AND method = ? ORDER BY seed, task",
        [study, stream, method],
    ).fetchall()
    table = np.array([[np.nan if v is None else v for v in row] for row in rows], dtype=float)
    late, scores, entropy, whole = {}, [], {}, True
    reached = np.unique(table[table[:, 1] >= 2 * asked // 3, 1])
    for seed in np.unique(table[:, 0]):
        own = table[table[:, 0] == seed]
        whole &= len(own) == asked
        own = own[own[:, 1] >= 2 * asked // 3]
        gain, fresh = own[:, 2] - own[:, 4], own[:, 3] - own[:, 4]
        known = np.isfinite(gain) & np.isfinite(fresh) & (fresh > 0)
        late[int(seed)] = float(gain[known].sum() / fresh[known].sum()) if known.any() else np.nan
        line = np.full(len(reached), np.nan)
        line[np.searchsorted(reached, own[known, 1])] = gain[known] / fresh[known]
        scores.append(line)
        ends = own[np.isfinite(own[:, 5]), 5]
        if len(ends):
            entropy[int(seed)] = float(ends.mean())
    return Scores(late, np.array(scores), entropy, whole)


def _shown(interval: Interval, *, sign: bool = False) -> str:
    if not np.isfinite(interval.mean):
        return "not measured"
    form = (lambda value: f"{value:+.2f}") if sign else (lambda value: f"{value:.2f}")
    if not np.isfinite(interval.low):
        return f"{form(interval.mean)} [no interval]"
    return f"{form(interval.mean)} [{form(interval.low)}, {form(interval.high)}]"
