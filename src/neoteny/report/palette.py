"""One colour and marker for each method, the same in every figure of a report.

The colours keep apart under the common colour-vision deficiencies (after Okabe & Ito, 2008,
and Tol, 2021), each with a lighter twin for dark pages, and stand out from the page by three
to one; markers differ as well, so that a grey print can still be read. Dashes are free to say
what a line is: a fresh network, or early in the stream.
"""

from typing import NamedTuple


class Ink(NamedTuple):
    """How a method is drawn: colours on light and dark pages, and a marker.

    `symbol` is plotly's name of the marker, `marker` matplotlib's.
    """

    light: str
    dark: str
    symbol: str
    marker: str


REFERENCE = "fresh network"
"""The key of the fresh-network reference where all methods share one."""

_KNOWN = {
    REFERENCE: Ink("#8a8f98", "#8d939e", "line-ew", "_"),
    "bp": Ink("#30343b", "#d3d6db", "circle", "o"),
    "l2_er": Ink("#d1490c", "#ff8f4f", "diamond", "D"),
    "l2": Ink("#0072b2", "#4fb0ee", "square", "s"),
    "er": Ink("#00866a", "#35cfa3", "triangle-up", "^"),
    "cbp": Ink("#9c3fa0", "#b96cc4", "triangle-down", "v"),
    "spectral": Ink("#2a90cb", "#a8dcff", "cross", "P"),
    "snp": Ink("#5a4a00", "#e8c547", "x", "X"),
    "layer_norm_l2": Ink("#530d62", "#d6355a", "star", "*"),
}
_SPARE = (
    Ink("#3b2f8f", "#a79cf0", "hexagon", "h"),
    Ink("#5f7d1c", "#b5d65c", "pentagon", "p"),
    Ink("#c2185b", "#ff7fae", "triangle-left", "<"),
    Ink("#00707a", "#4ed3de", "triangle-right", ">"),
    Ink("#7b4b2a", "#cfa07c", "bowtie", "8"),
    Ink("#5c6b7a", "#a9b8c7", "star-square", "d"),
)


def inks(methods: list[str]) -> dict[str, Ink]:
    """An ink for each of `methods`, and one for the reference.

    Well-known methods keep theirs in every report; the others take the spare ones in order
    of name, then those of known methods that are absent, and share when all are taken.
    """
    unknown = sorted(set(methods) - set(_KNOWN))
    free = [*_SPARE, *(ink for name, ink in _KNOWN.items() if name not in methods)]
    free.remove(_KNOWN[REFERENCE])
    free = [ink for ink in free if ink != _KNOWN["bp"]]
    chosen = {name: free[place % len(free)] for place, name in enumerate(unknown)}
    return {REFERENCE: _KNOWN[REFERENCE]} | {
        name: _KNOWN.get(name) or chosen[name] for name in methods
    }
