"""What can be looked at along tasks, as people choose it: measures, and layers of them."""

import re
from typing import Any

from neoteny import glossary
from neoteny.report.figures.words import MATRICES, words
from neoteny.report.packing import columns
from neoteny.report.recorded import Recorded


def measures(streams: list[Recorded]) -> list[dict[str, Any]]:
    """Every measure that some stream has, first those that streams are judged by.

    Each has the `name` of its column, a `label`, its `unit`, what it `means`, the `group` under
    which it is listed, and the numbers of the `layers` that have a column of their own.
    """
    judged = [one.metric for one in streams]
    every = [name for one in streams for name in columns(one) if one.measured(name)]
    names = list(dict.fromkeys([*(name for name in judged if name in every), *every]))
    layers: dict[str, set[int]] = {}
    for name in names:
        if of_layer := re.fullmatch(r"(.+)_(\d+)", name):
            layers.setdefault(of_layer[1], set()).add(int(of_layer[2]))
    whole = [name for name in names if not _is_layer(name, names)]
    return [_measure(name, sorted(layers.get(name, ()))) for name in whole]


def _is_layer(name: str, names: list[str]) -> bool:
    """Whether a column is one layer's, of a measure that has a mean over layers."""
    found = re.fullmatch(r"(.+)_(\d+)", name)
    return bool(found) and found[1] in names


def _measure(name: str, layers: list[int]) -> dict[str, Any]:
    known, group = glossary.entry(name), glossary.group(name)
    title = glossary.GROUPS[group].title if group else "Other measures"
    return {
        "name": name,
        "label": _label(name),
        "unit": known.unit.replace("\\", "") if known else "",
        "means": known.meaning.replace("`", "").replace("\\", "") if known else "",
        "group": "Learning" if group == "runs" else title,
        "layers": layers,
    }


def _label(name: str) -> str:
    """As "GGN rank at the start of the task"."""
    phase = re.fullmatch(r"(.+)_(start|end)", name)
    said = words(phase[1] if phase else name)
    for matrix, title in MATRICES.items():
        said = re.sub(rf"^{matrix}\b", title, said)
    return f"{said} at the {phase[2]} of the task" if phase else said
