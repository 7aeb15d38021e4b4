"""What was run, in words: for whoever points at a line."""

from collections.abc import Mapping
from typing import Any

from neoteny.report.recorded import Recorded


def about(recorded: Recorded) -> dict[str, list]:
    """For each method, its configurations in words, each after the seeds that ran under it."""
    found: dict[str, dict[tuple[str, ...], list[int]]] = {}
    for run in recorded.runs:
        words = tuple(described(run.configuration, run.method))
        found.setdefault(run.method, {}).setdefault(words, []).append(run.seed)
    return {
        method: [[seeds, list(words)] for words, seeds in configurations.items()]
        for method, configurations in found.items()
    }


def described(configuration: Mapping[str, Any], method: str) -> list[str]:
    """A run's configuration in a few short lines; nothing is said of what it does not have."""
    setting = _mapping(configuration, "setting")
    own = _mapping(_mapping(setting, "training_of"), method)
    lines = (
        _training(_mapping(setting, "training") | own),
        _network(_mapping(setting, "network")),
        _plain(_mapping(setting, "agent")),
        _plain(_mapping(configuration, "hyperparameters")),
    )
    return [line for line in lines if line]


def _mapping(owner: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = owner.get(name)
    return dict(found) if isinstance(found, Mapping) else {}


def _training(training: Mapping[str, Any]) -> str:
    said = {"learning_rate": "learning rate ", "batch": "batch ", "epochs": "epochs "}
    said |= {"optimiser": ""} | ({"momentum": "momentum "} if _uses_momentum(training) else {})
    parts = [word + _number(training[name]) for name, word in said.items() if training.get(name)]
    return ", ".join(parts)


def _uses_momentum(training: Mapping[str, Any]) -> bool:
    return training.get("optimiser") == "sgd"


def _network(network: Mapping[str, Any]) -> str:
    widths = network.get("widths")
    sizes = "–".join(map(str, widths)) if isinstance(widths, list) else ""
    normed = "layer norm" if network.get("layer_norm") else ""
    parts = [str(network.get("kind") or ""), sizes, str(network.get("activation") or ""), normed]
    said = ", ".join(part for part in parts if part)
    return f"network {said}" if said else ""


def _plain(values: Mapping[str, Any]) -> str:
    """As `weight_decay 0.0001, period 10`, for values that are numbers, words or truths."""
    simple = (int, float, str, bool)
    parts = [f"{name} {_number(one)}" for name, one in values.items() if isinstance(one, simple)]
    return ", ".join(parts)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
