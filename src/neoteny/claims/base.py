"""What a claim of the literature is as a program: parts to measure, and a judgement of the rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from neoteny.claims.rows import Rows
from neoteny.claims.verdicts import Finding

SCALES = ("smoke", "desk", "paper")
"""Sizes of a claim: seconds on one core, minutes on two, and as in its paper where that is more."""


class Size(NamedTuple):
    """How large a part is measured: its seeds, and what differs from the defaults of `measure`.

    With no seeds it is not measured at this size. The option `data=True` becomes the folder of
    data sets that the user names; a part that has it is left out where none is named.
    """

    seeds: int = 1
    options: Mapping[str, Any] = {}


class Part(NamedTuple):
    """One experiment of a claim.

    - `measure(seed, **options) -> rows`: pure; a row has names and plain numbers or words.
    - `smoke`, `desk`, `paper`: its sizes; where the paper's is no other than the desk's, `None`.
    """

    name: str
    measure: Callable[..., Sequence[Mapping[str, Any]]]
    smoke: Size = Size()
    desk: Size = Size()
    paper: Size | None = None

    def size(self, scale: str) -> Size:
        return getattr(self, scale) or self.desk


class Claim(NamedTuple):
    """What a paper says, how it is measured here, and what of the measurements would bear it out.

    - `sentence`: the claim; `source`: the paper that makes it.
    - `judge(rows by part) -> findings`: pure. Tolerances are constants beside it, set before any
      row was seen.
    - `figures(rows by part) -> figures`: to be drawn; see `neoteny.report.figures`.
    - `notes`: what did not come out as published, or was measured in another way.
    """

    name: str
    title: str
    sentence: str
    source: str
    parts: tuple[Part, ...]
    judge: Callable[[Mapping[str, Rows]], list[Finding]]
    figures: Callable[[Mapping[str, Rows]], list[Any]]
    notes: str = ""
