"""A study that takes a moment, and the command line on it: what several test files share."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from neoteny.config import Study, changed, validated

STUDY = {
    "name": "tiny",
    "methods": ["bp"],
    "seeds": 1,
    "streams": {
        "labels": {
            "tasks": 3,
            "metric": "final_accuracy",
            "stream": {"rule": "random-labels", "dataset": "digits", "rows": 60},
            "network": {"widths": [8, 8]},
            "training": {"optimiser": "adam", "learning_rate": 0.001, "batch": 10},
            "probes": {
                "names": ["norms"],
                "rows": 20,
                "fresh_every": 2,
                "spectrum_every": 2,
                "spectrum_rows": 20,
                "spectrum_steps": 6,
                "spectrum_probes": 2,
            },
        }
    },
}

TOML = """
name = "tiny"
methods = ["bp"]
seeds = 1

[streams.labels]
tasks = 3
metric = "final_accuracy"
stream = { rule = "random-labels", dataset = "digits", rows = 60 }
network = { widths = [8, 8] }
training = { optimiser = "adam", learning_rate = 0.001, batch = 10 }

[streams.labels.probes]
names = ["norms"]
rows = 20
fresh_every = 2
spectrum_every = 2
spectrum_rows = 20
spectrum_steps = 6
spectrum_probes = 2
"""


def study(**changes) -> Study:
    """The tiny study with fields changed; `__` stands for the dot of a path."""
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    return changed(validated(Study, STUDY), paths)


def environment(scratch: Path, **variables: str) -> dict[str, str]:
    """Of a process that keeps what it compiles and downloads below `scratch`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("NEOTENY_")}
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(scratch / "compiled"),
        "NEOTENY_CACHE": str(scratch / "cache"),
        "JAX_PLATFORMS": "cpu",
    }
    return own | kept | variables


def command(*words: object) -> list[str]:
    """The words that start `neoteny` in this interpreter."""
    return [sys.executable, "-c", "from neoteny.cli import main; main()", *map(str, words)]


def neoteny(scratch: Path, *words: object, **options) -> subprocess.CompletedProcess:
    """Run `neoteny` as a process of its own, to its end."""
    return subprocess.run(
        command(*words),
        env=environment(scratch),
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def contents(folder: Path) -> dict[str, object]:
    """All that a study's folder holds of results: tables as bytes, arrays as bytes by name."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*.parquet")):
        found[str(path.relative_to(folder))] = path.read_bytes()
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path) as arrays:
            for name in arrays.files:
                array = arrays[name]
                found[f"{path.relative_to(folder)}:{name}"] = (array.shape, array.tobytes())
    return found
