"""What the layers look like: their units and features, weights and gradients."""

import re

from neoteny.report.figures.lines import panels
from neoteny.report.figures.shapes import Figure, View, figure
from neoteny.report.figures.words import BAND, blocks
from neoteny.report.recorded import Recorded

_UNITS = {
    "dead": ("Dead units", "share of units"),
    "effective_rank": ("Effective rank of features", "effective rank"),
    "dormant": ("Dormant units", "share of units"),
    "saturated": ("Saturated units", "share of units"),
    "stable_rank": ("Stable rank of features", "stable rank"),
    "approximate_rank": ("Approximate rank of features", "approximate rank"),
}
_NORMS = {
    "weight_norm": ("Norm of the weights", "Euclidean norm"),
    "gradient_norm": ("Norm of the gradient", "Euclidean norm"),
    "displacement": ("Displacement over the task", "Euclidean norm"),
}


def units(recorded: Recorded) -> Figure:
    """Dead units and the effective rank of features, over the layers and in each."""
    suffixes = {"mean over layers": ""}
    suffixes |= {f"layer {layer}": f"_{layer}" for layer in layers(recorded.columns, *_UNITS)}
    views = [
        View(label, panels(recorded, {name + suffix: said for name, said in _UNITS.items()}))
        for label, suffix in suffixes.items()
    ]
    missing = "No probe of units or features was recorded."
    title = "Dead units and feature rank"
    return figure("units", title, BAND + blocks(recorded), views, missing)


def layers(columns: list[str], *names: str) -> list[int]:
    """The layer numbers `n` for which there is a column `<name>_n` for some of `names`."""
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, names))})_(\d+)")
    found = (pattern.fullmatch(name) for name in columns)
    return sorted({int(match[1]) for match in found if match})


def norms(recorded: Recorded) -> Figure:
    """Norms of weights and gradients, and how far a task moves the weights."""
    view = View("", panels(recorded, _NORMS))
    missing = "No norms were recorded."
    caption = BAND + blocks(recorded)
    return figure("norms", "Weights and gradients", caption, [view], missing)
