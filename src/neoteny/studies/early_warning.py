"""How early does a measurement warn that a network is losing its plasticity?

A network has lost plasticity from the first task on which it stays five points below a fresh
network. A probe alarms when it leaves the range it keeps in networks that do not lose it: the
threshold is set for a given rate of false alarms on healthy runs of *other* seeds, from the
probe's own value on the second task. Runs that diverged or are not finished are left out.
"""

from typing import NamedTuple

import numpy as np

from neoteny.config import Study
from neoteny.statistics import bootstrap_mean
from neoteny.studies.plasticity import TOLERANCE, Verdict
from neoteny.studies.what_predicts_plasticity import WHAT_PREDICTS_PLASTICITY, Tasks, gather

FALSE_ALARMS = 0.1
"""The share of healthy runs that may alarm, in the runs that set the threshold."""


class Alarms(NamedTuple):
    """How a probe does on runs of seeds that did not set its threshold.

    `leads` has, for each run that loses plasticity, the tasks from alarm to loss: negative
    where it alarms late, and counted to the stream's end where it never does. `by_seed` has
    their mean for each seed: runs of one seed are no independent evidence.
    """

    leads: np.ndarray
    by_seed: np.ndarray
    missed: int
    false_alarms: int
    healthy: int
    rises: bool


def judge(connection, study: str = "early-warning") -> list[Verdict]:
    """A verdict on each probe, the earliest first.

    The runs are those of `what-predicts-plasticity`, whose name as `study` reads its folder.
    """
    found = leads(connection, study)
    if not found:
        claim = "a measurement warns before plasticity is lost"
        said = "runs that lose plasticity and runs that keep it are both needed, of several seeds"
        return [Verdict("all", claim, "undecided", said)]
    order = sorted(found, key=lambda name: -float(found[name].leads.mean()))
    return [_verdict(name, found[name]) for name in order]


def leads(connection, study: str) -> dict[str, Alarms]:
    """How each probe does that is known in every run; none where nothing can be judged."""
    tasks = gather(connection, study)
    losses = {int(run): onset(tasks.gap[tasks.run == run]) for run in np.unique(tasks.run)}
    seeds = {run: int(tasks.seed[tasks.run == run][0]) for run in losses}
    found = {name: warn(tasks, name, losses, seeds) for name in tasks.values}
    return {name: alarms for name, alarms in found.items() if alarms and len(alarms.leads)}


def onset(gaps: np.ndarray) -> int | None:
    """The first place from which two tasks running lie more than `TOLERANCE` below fresh."""
    low = gaps < -TOLERANCE
    lasting = np.flatnonzero(low[:-1] & low[1:])
    return int(lasting[0]) if len(lasting) else None


def warn(
    tasks: Tasks, name: str, losses: dict[int, int | None], seeds: dict[int, int]
) -> Alarms | None:
    """Judge one probe, every seed by thresholds from the others; None where it is not known."""
    scale = _scale(tasks.values[name])
    every = {run: _path(tasks.values[name][tasks.run == run], scale) for run in losses}
    paths = {run: path for run, path in every.items() if path is not None}
    known = list(paths)
    leads, late, missed, false_alarms, healthy, rises = {}, [], 0, 0, 0, []
    for seed in sorted(set(seeds.values())):
        rule = _rule(paths, losses, [run for run in known if seeds[run] != seed])
        if rule is None:
            return None
        sign, threshold = rule
        rises.append(sign > 0)
        for run in (run for run in known if seeds[run] == seed):
            alarm, loss = _alarm(sign * paths[run], threshold), losses[run]
            if loss is None:
                healthy, false_alarms = healthy + 1, false_alarms + (alarm is not None)
            else:
                missed += alarm is None
                late.append(_lead(paths[run], alarm, loss))
                leads.setdefault(seed, []).append(late[-1])
    by_seed = np.array([np.mean(found) for found in leads.values()], float)
    mostly = 2 * sum(rises) > len(rises)
    return Alarms(np.array(late, float), by_seed, missed, false_alarms, healthy, mostly)


def _scale(values: np.ndarray) -> float:
    """The usual size of a probe over all runs: where it is smaller, changes count as absolute."""
    sizes = np.abs(values[np.isfinite(values)])
    return float(np.median(sizes) or np.mean(sizes)) if len(sizes) else 0.0


def _path(values: np.ndarray, scale: float) -> np.ndarray | None:
    """How far a probe has moved from its first value; None where too little is known.

    In logarithms where values are large beside `scale`, and in units of it where they are
    small; signs count.
    """
    if not scale or np.isnan(values).mean() > 0.5 or np.isnan(values[0]):
        return None
    moved = np.arcsinh(10 * values / scale) - np.arcsinh(10 * values[0] / scale)
    return np.where(np.isnan(moved), 0.0, moved)  # what was not measured raises no alarm


def _rule(paths, losses, runs) -> tuple[float, float] | None:
    """The direction and threshold with the best mean lead at the allowed rate of false alarms."""
    best, best_lead = None, -np.inf
    for sign in (-1.0, 1.0):
        peaks = [np.max(sign * paths[run]) for run in runs if losses[run] is None]
        if not peaks:
            return None
        threshold = max(float(np.quantile(peaks, 1 - FALSE_ALARMS)), 1e-9)
        leads = []
        for run in runs:
            if (loss := losses[run]) is not None:
                leads.append(_lead(paths[run], _alarm(sign * paths[run], threshold), loss))
        lead = float(np.mean(leads)) if leads else -np.inf
        if lead > best_lead:
            best, best_lead = (sign, threshold), lead
    return best


def _alarm(path: np.ndarray, threshold: float) -> int | None:
    over = np.flatnonzero(path > threshold)
    return int(over[0]) if len(over) else None


def _lead(path: np.ndarray, alarm: int | None, loss: int) -> int:
    return loss - (len(path) if alarm is None else alarm)


def _verdict(name: str, warning: Alarms) -> Verdict:
    probe = name.removesuffix("_start")
    interval = bootstrap_mean(warning.by_seed)
    trusted = warning.false_alarms <= 2 * FALSE_ALARMS * warning.healthy
    outcome = "undecided"
    if interval.low > 0 and trusted:
        outcome = "holds"
    elif interval.high < 0:
        outcome = "fails"
    said = (
        f"mean lead {interval.mean:+.1f} tasks [{interval.low:+.1f}, {interval.high:+.1f}] over "
        f"{len(warning.leads)} runs that lose it, {warning.missed} missed; false alarms in "
        f"{warning.false_alarms} of {warning.healthy} healthy runs; alarms when it "
        f"{'rises' if warning.rises else 'falls'}"
    )
    return Verdict("all", f"`{probe}` warns before accuracy has fallen by five points",
                   outcome, said)  # fmt: skip


EARLY_WARNING = Study(
    name="early-warning",
    title="How many tasks before plasticity is lost does each probe alarm?",
    methods=WHAT_PREDICTS_PLASTICITY.methods,
    seeds=3,
    streams=WHAT_PREDICTS_PLASTICITY.streams,
)
