"""Many methods over many streams: ranks, chances of being better, and what many looks cost.

NumPy and SciPy alone, on scores of which more is better, and the same numbers every time.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from neoteny.statistics import Interval

EXACT = 14
"""Up to so many differences, all ways to flip their signs are tried: 16,384."""


def probability_of_improvement(
    a: Mapping[str, Sequence[float]],
    b: Mapping[str, Sequence[float]],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """How likely a run of `a` is to do better than one of `b` on the same stream; a tie is half.

    The mean over streams of the share of pairs of runs that `a` wins (Mann & Whitney's
    statistic). Its interval is a percentile bootstrap that draws seeds anew on each stream apart;
    streams are those there are, none is drawn. Where a side has one run alone on some stream there
    is no interval: its ends are NaN. Costs `resamples` times all pairs.

    **Arguments:**

    - `a`, `b`: by stream, a score for each seed. Streams that only one has are left out; `count`
      of the answer is how many remain.

    **Raises:** `ValueError` if no stream is common, or a score is not finite.

    **Source:** Agarwal et al. (2021), section 4.3.
    """
    common = sorted(a.keys() & b.keys())
    if not common:
        raise ValueError(
            f"`a` has streams {sorted(a)} and `b` has {sorted(b)}: none in common to compare on."
        )
    pairs = [(_finite("a", a[stream]), _finite("b", b[stream])) for stream in common]
    draw = np.random.default_rng(seed)
    mean = float(np.mean([_wins(x[:, None], y[None]).mean() for x, y in pairs]))
    if min(min(len(x), len(y)) for x, y in pairs) < 2:
        return Interval(mean, math.nan, math.nan, len(common), "one run on a side: no interval")
    means = np.zeros(resamples)
    for ours, theirs in pairs:
        rows = ours[draw.integers(len(ours), size=(resamples, len(ours)))]
        others = theirs[draw.integers(len(theirs), size=(resamples, len(theirs)))]
        means += _wins(rows[:, :, None], others[:, None, :]).mean((1, 2)) / len(pairs)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(mean, float(low), float(high), len(common), "bootstrap by streams")


def _wins(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    return (ours > theirs) + 0.5 * (ours == theirs)


def sign_flip(differences: Any, *, draws: int = 10_000, seed: int = 0) -> float:
    """The two-sided p-value of paired differences whose mean is zero if signs are mere chance.

    The share of all ways to flip signs that have a mean as far from zero as the one found; beyond
    `EXACT` differences, of so many draws and the one found. With n pairs it is never below
    `2 / 2**n`: three seeds cannot give less than 0.25.

    **Raises:** `ValueError` if there is no difference, or one is not finite.

    **Source:** Fisher (1935), section 21.
    """
    values = _finite("differences", differences)
    if len(values) <= EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=len(values))))
    else:
        drawn = np.random.default_rng(seed).integers(2, size=(draws, len(values)))
        signs = np.concatenate([np.ones((1, len(values))), 2.0 * drawn - 1])
    sums = np.abs(signs @ values)
    rounding = 1e-12 * np.abs(values).sum()  # by which equal sums may differ
    return float(np.mean(sums >= sums[0] - rounding))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several tests made at once, raised so that all may be read at one level.

    Rejecting those below a level errs in any of them with at most that probability, however the
    tests depend on each other.

    **Raises:** `ValueError` if one is no probability.

    **Source:** Holm (1979).
    """
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"`p_values[{name!r}]` is {value}, but lies between 0 and 1.")
    order = sorted(p_values, key=lambda name: (p_values[name], name))
    adjusted, highest = {}, 0.0
    for place, name in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


class Ranks(NamedTuple):
    """How methods rank over streams.

    - `mean`: by method, its mean rank, 1 the best; ties share theirs.
    - `critical`: two mean ranks that differ by more do so at a level of 5 %; infinite for fewer
      than two streams.
    - `p`: of Friedman's test that all methods rank alike; NaN for fewer than two streams.
    - `streams`: those ranked over, on which every method has a score.
    """

    mean: dict[str, float]
    critical: float
    p: float
    streams: tuple[str, ...]


def mean_ranks(scores: Mapping[str, Mapping[str, float]]) -> Ranks:
    """Rank methods on each stream, and average.

    **Arguments:**

    - `scores`: by stream, a score for each method. Streams that lack a method are left out.

    **Raises:** `ValueError` if fewer than two methods are there, a score is not finite, or no
    stream has all of them.

    **Source:** Friedman (1937); the critical difference, Nemenyi (1963), after Demšar (2006).
    """
    from scipy import stats

    methods = sorted(set().union(*scores.values())) if scores else []
    streams = tuple(stream for stream in sorted(scores) if scores[stream].keys() == set(methods))
    if len(methods) < 2 or not streams:
        raise ValueError(
            f"{len(methods)} methods ({', '.join(methods)}), and {len(streams)} of {len(scores)} "
            "streams have a score of each. Rank at least two, on streams that have them all."
        )
    table = np.stack([_finite(s, [scores[s][method] for method in methods]) for s in streams])
    scale = np.abs(table).max(axis=1, keepdims=True)
    rounded = np.round(table / np.where(scale > 0, scale, 1.0), 12)  # means alike are a tie
    ranks = stats.rankdata(-rounded, axis=1)
    mean = dict(zip(methods, ranks.mean(0).tolist(), strict=True))
    count, size = ranks.shape
    if count < 2:
        return Ranks(mean, math.inf, math.nan, streams)
    spread = math.sqrt(size * (size + 1) / (6 * count))
    critical = stats.studentized_range.ppf(0.95, size, np.inf) / math.sqrt(2) * spread
    return Ranks(mean, float(critical), _friedman(ranks, stats.chi2), streams)


def _friedman(ranks: np.ndarray, chi2: Any) -> float:
    """With ties' correction; no difference at all is no evidence."""
    count, size = ranks.shape
    between = count * np.sum((ranks.mean(0) - (size + 1) / 2) ** 2)
    within = np.sum((ranks - (size + 1) / 2) ** 2) / (count * (size - 1))
    return float(chi2.sf(between / within, size - 1)) if within > 0 else 1.0


def _finite(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"`{name}` is {values!r}; pass one or more finite numbers in a row.")
    return array
