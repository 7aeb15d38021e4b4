"""What the measurements of a claim come to: a statistic with its interval, beside a tolerance."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neoteny.statistics import Interval, bootstrap_mean
from neoteny.studies.plasticity import Outcome


class Finding(NamedTuple):
    """One thing that a claim says, and whether the rows bear it out.

    - `part`: the part whose rows it is about; `claim`: the sentence.
    - `statistic`: what `value` is, with its unit; `tolerance`: where it must lie, in words.
    - `evidence`: what else a reader should know.
    """

    part: str
    claim: str
    outcome: Outcome
    statistic: str
    value: Interval
    tolerance: str
    evidence: str = ""

    def said(self) -> str:
        """The statistic, its interval and the tolerance in one line."""
        line = f"{self.statistic} {shown(self.value)} ({self.tolerance})"
        return f"{line}; {self.evidence}" if self.evidence else line


def within(
    part: str,
    claim: str,
    statistic: str,
    values: Sequence[float] | np.ndarray | float,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    evidence: str = "",
    every: bool = False,
) -> Finding:
    """Whether a statistic lies from `low` to `high`, the ends included.

    Of values of several seeds it is their mean, and the claim holds where all of its 95 % interval
    lies there, fails where none of it does, and is undecided in between, as it is with one seed.
    With `every` each seed must lie there by itself, and one that does not is enough to fail. What
    is given as a number, and not in an array, has no interval and decides by itself: it is for
    what has no chance in it.
    """
    found = np.atleast_1d(np.asarray(values, float))
    tolerance = _tolerance(low, high) + (", every seed" if every and len(found) > 1 else "")
    if not len(found) or not np.isfinite(found).all():
        unknown = Interval(math.nan, math.nan, math.nan, len(found), "not measured")
        said = evidence or "not measured everywhere"
        return Finding(part, claim, "undecided", statistic, unknown, tolerance, said)
    interval = bootstrap_mean(found)
    slack = lambda bound: _SLACK * max(1.0, abs(bound)) if math.isfinite(bound) else 0.0
    low, high = low - slack(low), high + slack(high)
    inside = (found >= low) & (found <= high)
    if every or np.ndim(values) == 0:
        outcome: Outcome = "holds" if inside.all() else "fails"
    elif interval.low == interval.high and low < high and _at_an_end(interval.low, low, high):
        outcome = "undecided"  # all alike, and neither more nor less
    elif low <= interval.low and interval.high <= high:
        outcome = "holds"
    elif interval.high < low or interval.low > high:
        outcome = "fails"
    else:
        outcome = "undecided"
    return Finding(part, claim, outcome, statistic, interval, tolerance, evidence)


_SLACK = 1e-9
"""Of a tolerance's ends, relative to them where they are large: rounding decides nothing."""


def _at_an_end(value: float, low: float, high: float) -> bool:
    return any(abs(value - end) <= 2 * _SLACK * max(1.0, abs(value)) for end in (low, high))


def overall(findings: Sequence[Finding]) -> Outcome:
    """Of a claim: `holds` where all that it says does, `fails` where one thing does not."""
    outcomes = {finding.outcome for finding in findings}
    if not outcomes or ("undecided" in outcomes and "fails" not in outcomes):
        return "undecided"
    return "fails" if "fails" in outcomes else "holds"


def shown(interval: Interval) -> str:
    """An interval as people read it, `-0.501 [-0.503, -0.499]`; alone where there is none."""
    if math.isnan(interval.mean):
        return "unknown"
    if math.isnan(interval.low):
        return number(interval.mean)
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def number(value: float) -> str:
    """In four digits, with powers of ten where it is far from one."""
    if value == 0:
        return "0"
    return f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def _tolerance(low: float, high: float) -> str:
    if low == high:
        return f"must be {number(low)}"
    if math.isinf(high):
        return f"at least {number(low)}"
    if math.isinf(low):
        return f"at most {number(high)}"
    return f"from {number(low)} to {number(high)}"
