"""Which measurement, taken before a task, predicts how well the network will learn it?

The main paper's central claim is that the spectrum at a task's start decides. Its rivals are
measured beside it, on the same rows of the same tasks, and all are judged alike: by how well
they predict the fresh-network gap of tasks from *methods* and from *streams* that the
prediction was not fitted on. Every threshold is fixed before any accuracy is seen.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from neoteny.config import (
    Metric,
    NetworkConfig,
    ProbesConfig,
    Setting,
    StreamConfig,
    Study,
    TrainingConfig,
)
from neoteny.statistics import spearman
from neoteny.studies.plasticity import Verdict

RESAMPLES = 1000
"""Bootstrap resamples of whole units; tasks of one run are no independent evidence."""

COVERED = 0.5
"""A predictor that is known for fewer of the tasks than this is not judged."""

EXACT = "ggn_rank_start"
"""The count of eigenvalues from the quadrature's weights, with no smoothing kernel."""

PUBLISHED = ("ggn_legacy_rank_start", "hessian_legacy_rank_start")
"""The smoothed count: of the same spectrum, and of the one that was published."""

TOO_FEW = "too few methods, or too few tasks that have both measurements, to compare them on"

START = ("ranks", "units", "norms", "trainability", "budget", "readiness", "ntk")
"""The rivals, all measured on the same 50 rows; the spectra are measured besides."""


class Tasks(NamedTuple):
    """Every task of every run but the first of each, which no history precedes.

    `gap` is accuracy minus that of a fresh network on the same task; `run` numbers the runs;
    `values` has a column of predictors by name, NaN where one was not measured. Runs that
    diverged or are not finished are not in it; `left_out` counts them.
    """

    stream: np.ndarray
    method: np.ndarray
    run: np.ndarray
    seed: np.ndarray
    gap: np.ndarray
    values: dict[str, np.ndarray]
    left_out: int = 0


class Score(NamedTuple):
    """How well one predictor does, with 95 % intervals.

    `correlation` is Spearman's, within streams and averaged over them, resampling runs.
    `over_methods` and `over_streams` are out-of-sample R², each method (stream) predicted from
    all others, resampling what was left out: the claim is about methods, or streams, that
    nobody has seen. Predictors are standardised and gaps centred stream by stream, so that to
    tell one data set from another explains nothing; below zero is worse than a constant.
    """

    correlation: tuple[float, float, float]
    over_methods: tuple[float, float, float]
    over_streams: tuple[float, float, float]
    tasks: int


def judge(connection, study: str = "what-predicts-plasticity") -> list[Verdict]:
    """A verdict on each predictor, the best first, then on the two claims about the spectrum."""
    tasks = gather(connection, study)
    if not len(tasks.gap):
        claim = "a measurement predicts the gap to a fresh network"
        return [Verdict("all", claim, "undecided", "no task has a fresh reference")]
    scores = {name: score(tasks, name) for name in tasks.values}
    order = sorted(scores, key=lambda name: -np.nan_to_num(scores[name].over_methods[0], nan=-9))
    verdicts = [_predicts(name, scores[name], tasks) for name in order]
    if EXACT in scores:
        rivals = [name for name in order if not name.startswith(("ggn_", "hessian_"))]
        verdicts += [_central(tasks, rivals)] if rivals else []
        verdicts += [_better(tasks, EXACT, name) for name in PUBLISHED if name in scores]
    return verdicts


def gather(connection, study: str) -> Tasks:
    """Read what `judge` needs from the store's tables."""
    described = connection.execute("SELECT column_name FROM (DESCRIBE tasks)").fetchall()
    known = {name for (name,) in described}
    names = [name for (name,) in described if predictor(name, known)]
    chosen = "".join(f', TRY_CAST("{name}" AS DOUBLE)' for name in names)
    rows = connection.execute(
        f"""
        SELECT t.stream, t.method, t.seed, t.online_accuracy - t.fresh_online_accuracy,
            t.final_accuracy - t.fresh_accuracy, r.config ->> '$.setting.metric'{chosen}
        FROM tasks t JOIN runs r USING (study, stream, method, seed)
        WHERE study = ? AND t.task > 0 AND t.fresh_accuracy IS NOT NULL AND r.status = 'finished'
        ORDER BY t.stream, t.method, t.seed, t.task
        """,
        [study],
    ).fetchall()
    number: dict[tuple, int] = {}
    runs = [number.setdefault(tuple(row[:3]), len(number)) for row in rows]
    gaps = [row[3] if row[5] == "online_accuracy" else row[4] for row in rows]
    table = np.array([[np.nan if v is None else v for v in row[6:]] for row in rows], float)
    table = table.reshape(len(rows), len(names))
    vary = [len(np.unique(column[np.isfinite(column)])) > 1 for column in table.T]
    names, table = [n for n, keep in zip(names, vary, strict=True) if keep], table[:, vary]
    left_out = connection.execute(
        "SELECT count(*) FROM runs WHERE study = ? AND status <> 'finished'", [study]
    ).fetchone()[0]
    return Tasks(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array(runs, int),
        np.array([row[2] for row in rows]),
        np.array(gaps, float),
        dict(zip(names, table.T, strict=True)),
        left_out,
    )


def predictor(column: str, columns: set[str]) -> bool:
    """Whether a column is a measurement of the whole network from before the task."""
    name = column.removesuffix("_start")
    layer, _, number = name.rpartition("_")
    of_a_layer = number.isdigit() and f"{layer}_start" in columns
    return name != column and not of_a_layer


def score(tasks: Tasks, name: str) -> Score:
    """Judge the predictor called `name`; NaN where it is constant or too rarely known."""
    known = np.isfinite(tasks.values[name]) & np.isfinite(tasks.gap)
    nothing = (np.nan, np.nan, np.nan)
    if known.sum() < COVERED * len(known):
        return Score(nothing, nothing, nothing, int(known.sum()))
    some = _chosen(tasks, known)
    errors = {
        group: _errors(some, some.values[name], labels)
        for group, labels in (("methods", some.method), ("streams", some.stream))
    }
    return Score(
        _interval(
            some.run,
            lambda rows: _within(some.stream[rows], some.values[name][rows], some.gap[rows]),
        ),
        _interval(some.method, lambda rows: _explained(errors["methods"][:, rows])),
        _interval(some.stream, lambda rows: _explained(errors["streams"][:, rows])),
        int(known.sum()),
    )


def _predicts(name: str, found: Score, tasks: Tasks) -> Verdict:
    claim = f"`{name.removesuffix('_start')}` before a task predicts the gap on it"
    if np.isnan(found.over_methods[0]):
        said = f"{found.tasks} of {len(tasks.gap)} tasks have it, of too few methods or streams"
        return Verdict("all", claim, "undecided", said)
    _, low, high = found.over_methods
    said = (
        f"R² on unseen methods {_shown(found.over_methods)}, on unseen streams "
        f"{_shown(found.over_streams)}; rank correlation {_shown(found.correlation)}; "
        f"{found.tasks} tasks"
    )
    if tasks.left_out:
        said += f"; {tasks.left_out} runs unfinished or diverged, left out"
    return Verdict("all", claim, _outcome(low, high), said)


def _central(tasks: Tasks, rivals: list[str]) -> Verdict:
    """Against every rival: it holds if it beats them all, and fails if it surely loses to one."""
    claim = f"central claim: `{EXACT}` predicts better than every rival"
    leads = {name: _lead(tasks, EXACT, name, 0.05 / len(rivals)) for name in rivals}
    worst = min(leads, key=lambda name: np.nan_to_num(leads[name][0], nan=np.inf))
    if np.isnan(leads[worst][0]):
        return Verdict("all", claim, "undecided", TOO_FEW)
    _, low, high = np.fmin.reduce(list(leads.values()))  # NaN only where all are
    said = f"R² on unseen methods {_shown(leads[worst])} above `{worst.removesuffix('_start')}`"
    return Verdict(
        "all",
        claim,
        _outcome(low, high),
        f"{said}, the strongest of {len(rivals)} rivals; intervals corrected for their number",
    )


def _better(tasks: Tasks, one: str, other: str) -> Verdict:
    """Whether `one` explains more than `other` of the same tasks, of methods left out."""
    claim = f"`{one}` predicts better than the published `{other}`"
    lead = _lead(tasks, one, other, 0.05)
    if np.isnan(lead[0]):
        return Verdict("all", claim, "undecided", TOO_FEW)
    said = f"R² on unseen methods {_shown(lead)} above it, on the tasks that have both"
    return Verdict("all", claim, _outcome(lead[1], lead[2]), said)


def _lead(tasks: Tasks, one: str, other: str, error: float) -> tuple[float, float, float]:
    columns = [tasks.values[one], tasks.values[other]]
    known = np.isfinite(columns).all(axis=0) & np.isfinite(tasks.gap)
    if known.sum() < COVERED * len(known):
        return np.nan, np.nan, np.nan
    some = _chosen(tasks, known)
    first, second = (_errors(some, some.values[name], some.method) for name in (one, other))
    return _interval(
        some.method,
        lambda rows: _explained(first[:, rows]) - _explained(second[:, rows]),
        error,
    )


def _outcome(low: float, high: float) -> Any:
    return "holds" if low > 0 else "fails" if high < 0 else "undecided"


def _chosen(tasks: Tasks, rows: np.ndarray) -> Tasks:
    values = {name: column[rows] for name, column in tasks.values.items()}
    parts = (tasks.stream, tasks.method, tasks.run, tasks.seed, tasks.gap)
    stream, method, run, seed, gap = (part[rows] for part in parts)
    return Tasks(stream, method, run, seed, gap, values)


def _errors(tasks: Tasks, values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Squared errors, (2, tasks), of a monotone fit and of a constant, group by group left out.

    NaN where fewer than three tasks are left to fit to.
    """
    from sklearn.isotonic import IsotonicRegression

    errors = np.full((2, len(values)), np.nan)
    for group in np.unique(groups):
        out = groups == group
        if (~out).sum() < 3:
            continue
        measured, gap = _by_stream(tasks, values, out)
        rising = bool(spearman(measured[~out], gap[~out]) >= 0)
        fit = IsotonicRegression(increasing=rising, out_of_bounds="clip")
        fit.fit(measured[~out], gap[~out])
        errors[0, out] = (gap[out] - fit.predict(measured[out])) ** 2
        errors[1, out] = gap[out] ** 2
    return errors


def _by_stream(tasks: Tasks, values: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values standardised and gaps centred by what else is known of their stream.

    Of a stream that is left out whole nothing else is known: it is its own yardstick, and what
    is predicted are the differences within it.
    """
    measured, gap = np.array(values), np.array(tasks.gap)
    for stream in np.unique(tasks.stream):
        here = tasks.stream == stream
        yardstick = here & ~out if (here & ~out).any() else here
        spread = np.std(values[yardstick])
        measured[here] = (values[here] - np.mean(values[yardstick])) / (spread or 1.0)
        gap[here] -= np.mean(tasks.gap[yardstick])
    return measured, gap


def _explained(errors: np.ndarray) -> float:
    fitted, baseline = np.nansum(errors, axis=1)
    return float(1 - fitted / baseline) if baseline > 0 else np.nan


def _within(streams: np.ndarray, values: np.ndarray, gaps: np.ndarray) -> float:
    found = [
        spearman(values[here], gaps[here])
        for stream in np.unique(streams)
        if (here := streams == stream).sum() > 2
    ]
    known = [value for value in found if np.isfinite(value)]  # not where a stream is constant
    return float(np.mean(known)) if known else np.nan


def _interval(
    units: np.ndarray, statistic: Callable[[np.ndarray], float], error: float = 0.05
) -> tuple[float, float, float]:
    """A statistic of all tasks, and its percentile interval over resampled units.

    Fits are not repeated, so the interval is that of the fits at hand. NaN for one unit.
    """
    rows = [np.flatnonzero(units == unit) for unit in np.unique(units)]
    value = statistic(np.arange(len(units)))
    draw = np.random.default_rng(0)
    drawn: list[Any] = [
        statistic(np.concatenate([rows[i] for i in draw.integers(len(rows), size=len(rows))]))
        for _ in range(RESAMPLES)
    ]
    if len(rows) < 2 or not np.isfinite(drawn).any():
        return value, np.nan, np.nan
    low, high = np.nanpercentile(drawn, [50 * error, 100 - 50 * error])
    return value, float(low), float(high)


def _shown(interval: tuple[float, float, float]) -> str:
    value, low, high = interval
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" if np.isfinite(value) else "unknown"


def _setting(rule: str, dataset: str, metric: Metric = "final_accuracy") -> Setting:
    """Twenty tasks of 1 500 rows; every task is measured, and learnt by a fresh network too."""
    return Setting(
        stream=StreamConfig(rule=rule, dataset=dataset, rows=1500),
        tasks=20,
        metric=metric,
        network=NetworkConfig(widths=(100, 100, 100)),
        training=TrainingConfig(optimiser="adam", learning_rate=1e-3, batch=16, epochs=20),
        probes=ProbesConfig(
            names=(),
            start_names=START,
            rows=50,
            fresh_every=1,
            spectrum_every=1,
            spectrum_rows=50,
            spectrum_steps=48,
            spectrum_probes=4,
            spectrum_at=("start",),
        ),
        hyperparameters={"er": {"every": 50}, "l2_er": {"every": 50}},
    )


WHAT_PREDICTS_PLASTICITY = Study(
    name="what-predicts-plasticity",
    title="Which measurement before a task predicts how well it will be learnt?",
    methods=("bp", "l2", "l2_er", "cbp", "snp", "layernorm_l2", "l2_init", "spectral"),
    seeds=3,
    streams={
        "digits-random-labels": _setting("random-labels", "digits"),
        "digits-permuted-labels": _setting("permuted-labels", "digits"),
        "mnist-random-labels": _setting("random-labels", "mnist"),
        "fashion-random-labels": _setting("random-labels", "fashion-mnist"),
        "mnist-permuted-pixels": _setting("permuted-pixels", "mnist", "online_accuracy"),
    },
)
