"""Intervals and ranks for a handful of seeds: NumPy alone, and the same numbers every time."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean and how far it may be from the truth.

    `low` and `high` are in the units of the values, and NaN where one value leaves nothing
    to judge by. `count` is the number of values; `method` says how the interval was made.
    """

    mean: float
    low: float
    high: float
    count: int
    method: str


def bootstrap_mean(
    values: Any,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    stretch: bool = True,
) -> Interval:
    """The mean of `values` with a bootstrap interval that holds up at three seeds.

    The means of resamples are spread as if `n` values told the variance exactly; at few
    values the plain percentile interval is therefore far too narrow. So its two ends are
    moved away from the mean by `sqrt(n / (n - 1)) * t / z`: the bootstrap's variance made
    unbiased, times the quantile of Student's t with `n - 1` degrees of freedom over the
    normal one. The factor is 2.7 at three values, 1.6 at five, 1.2 at ten, and tends to one.

    How often a 95 % interval held the true mean, in 20,000 simulations (4,000 at ten):

    | values | stretched, normal | plain, normal | stretched, exponential | plain, exponential |
    |---|---|---|---|---|
    | 3 | 0.95 | 0.75 | 0.89 | 0.70 |
    | 5 | 0.95 | 0.84 | 0.89 | 0.78 |
    | 10 | 0.95 | 0.90 | 0.90 | 0.86 |

    Skewed values are thus still covered too seldom, as by every interval made of so few
    (Student's t: 0.89, 0.88 and 0.90); at two values, normal ones are covered 0.93 of the time.

    Up to five values all `n^n` resamples are enumerated and nothing is random; beyond, costs
    `resamples * n` draws.

    **Arguments:**

    - `values`: finite numbers, one for each independent unit (a seed, never a task).
    - `confidence`: between 0 and 1.
    - `resamples`: how many resamples to draw where they are not enumerated.
    - `seed`: of these draws.
    - `stretch`: `False` gives the plain percentile interval, to compare with the literature.

    **Raises:** `ValueError` if there are no values, one is not finite, or an option is out
    of range.

    **Source:** Efron (1979) for the bootstrap and its percentile interval; that it is too
    narrow by these factors, Hesterberg (2015), who widens the quantile's level instead of
    the interval. With three values no level is wide enough: the percentile interval cannot
    leave their range, which holds a normal mean 3 times in 4.
    """
    values = _finite("values", values)
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` is {confidence}; it lies between 0 and 1, such as 0.95.")
    if resamples < 1:
        raise ValueError(f"`resamples` is {resamples}; draw at least 1, such as 10_000.")
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return Interval(mean, math.nan, math.nan, 1, "one value: no interval")
    exact = count <= 5
    means = _all_means(values) if exact else _drawn_means(values, resamples, seed)
    # Counted from both ends, so that negated values have the negated interval.
    outside = math.ceil((1 - confidence) / 2 * len(means)) - 1
    low, high = float(means[outside]), float(means[-1 - outside])
    factor = _stretch(count, confidence) if stretch else 1.0
    method = ("exact" if exact else "resampled") + " percentile bootstrap"
    method += ", stretched for few values" if stretch else ""
    return Interval(
        mean, mean + factor * (low - mean), mean + factor * (high - mean), count, method
    )


def paired_difference(a: Mapping[Any, float], b: Mapping[Any, float], **options: Any) -> Interval:
    """The mean of `a - b` over the seeds that both have, with the interval of `bootstrap_mean`.

    Two methods that saw the same streams from the same initial weights share most of their
    luck; the difference seed by seed is free of it.

    **Arguments:**

    - `a`, `b`: seed to value. Seeds that only one of them has are left out: see `count`.
    - `options`: those of `bootstrap_mean`.

    **Raises:** `ValueError` if no seed is common, or as `bootstrap_mean` does.
    """
    common = [seed for seed in a if seed in b]
    if not common:
        raise ValueError(
            f"`a` has seeds {sorted(a, key=str)} and `b` has {sorted(b, key=str)}: none in "
            "common, so nothing is paired. Run both with the same seeds."
        )
    common.sort(key=lambda seed: (str(type(seed)), seed))  # the order of a dict decides nothing
    return bootstrap_mean([float(a[seed]) - float(b[seed]) for seed in common], **options)


def spearman(x: Any, y: Any) -> float:
    """Spearman's rank correlation of `x` and `y`, in [-1, 1]; ties get their average rank.

    NaN if either is constant, since nothing can then go along with it.

    **Raises:** `ValueError` if the two differ in length, have fewer than two values, or a
    value that is not finite.
    """
    x, y = _finite("x", x), _finite("y", y)
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"`x` has {len(x)} values and `y` has {len(y)}; pass 2 or more pairs.")
    ranks = [_ranks(values) - (len(x) + 1) / 2 for values in (x, y)]
    norms = math.sqrt(float(ranks[0] @ ranks[0]) * float(ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1]) / norms if norms > 0 else math.nan


def interquartile_mean(values: Any) -> float:
    """The mean of the middle half of `values`; neither the best nor the worst quarter counts.

    Where a quarter is no whole number of values, the value it cuts counts in part.

    **Raises:** `ValueError` if there are no values, or one is not finite.

    **Source:** for scores over seeds, Agarwal et al. (2021). They drop whole values alone,
    so that at fewer than four values theirs is the plain mean, and depends on `n` by steps.
    """
    values = np.sort(_finite("values", values))
    edges = np.arange(len(values) + 1) / len(values)
    share = np.diff(np.clip(edges, 0.25, 0.75)) * 2
    return float(share @ values)


def _finite(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"`{name}` has shape {array.shape}; pass one or more numbers in a row.")
    if not np.all(np.isfinite(array)):
        where = np.flatnonzero(~np.isfinite(array))[0]
        raise ValueError(
            f"`{name}[{where}]` is {array[where]}; leave out what was not measured, and say so."
        )
    return array


def _all_means(values: np.ndarray) -> np.ndarray:
    choices = np.indices((len(values),) * len(values)).reshape(len(values), -1)
    return np.sort(values[choices].mean(axis=0))


def _drawn_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    at_once = max(1, 1_000_000 // len(values))
    sizes = [min(at_once, resamples - done) for done in range(0, resamples, at_once)]
    chosen = (draw.integers(len(values), size=(size, len(values))) for size in sizes)
    return np.sort(np.concatenate([values[choice].mean(axis=1) for choice in chosen]))


def _stretch(count: int, confidence: float) -> float:
    normal = NormalDist().inv_cdf((1 + confidence) / 2)
    return math.sqrt(count / (count - 1)) * _student_quantile(count - 1, confidence) / normal


def _student_quantile(degrees: int, confidence: float) -> float:
    """The `t` for which `|T| < t` has probability `confidence`.

    **Source:** the finite sums in the angle `atan(t / sqrt(degrees))` of Abramowitz & Stegun
    (1964), 26.7.3 and 26.7.4, inverted by bisection.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        below = _student_probability(degrees, middle) < confidence
        low, high = (middle, high) if below else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _student_probability(degrees: int, angle: float) -> float:
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(2 + odd, degrees + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (step - 1) / step
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]
