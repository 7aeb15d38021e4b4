"""Measure, explain, predict and prevent loss of plasticity in networks that never stop learning.

Importing this costs nothing: each part loads when it is first named.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PARTS = (
    "curvature",
    "interventions",
    "methods",
    "networks",
    "probes",
    "report",
    "rl",
    "statistics",
    "store",
    "streams",
    "studies",
)

_NAMES = {
    "run": "api",
    "tune": "tuning",
    "Results": "api",
    "Study": "config",
    "Setting": "config",
    "UserError": "errors",
    "Diagnosis": "monitor",
    "Monitor": "monitor",
    "Rule": "monitor",
}


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"neoteny.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"neoteny.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'neoteny' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PARTS, *_NAMES])
