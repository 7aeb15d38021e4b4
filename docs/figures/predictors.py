"""Draw what the studies of predictors and alarms found.

python docs/figures/predictors.py runs/what-predicts-plasticity docs/figures
"""

import sys
from pathlib import Path

import matplotlib.figure
import numpy as np

from neoteny import store
from neoteny.studies import early_warning
from neoteny.studies import what_predicts_plasticity as prediction

STUDY = "what-predicts-plasticity"


def predictors(connection, path: Path) -> None:
    """Out-of-sample R² of each predictor, with intervals over runs."""
    tasks = prediction.gather(connection, STUDY)
    scores = {name: prediction.score(tasks, name) for name in tasks.values}
    known = {name: found for name, found in scores.items() if np.isfinite(found.over_methods[0])}
    order = sorted(known, key=lambda name: known[name].over_methods[0])
    figure = matplotlib.figure.Figure(figsize=(9, 0.26 * len(order) + 1.4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for place, field, title in (
        (axes[0], "over_methods", "methods left out"),
        (axes[1], "over_streams", "streams left out"),
    ):
        values = np.array([getattr(known[name], field) for name in order])
        errors = np.abs(values[:, 1:].T - values[:, 0])
        place.errorbar(values[:, 0], range(len(order)), xerr=errors, fmt="o", ms=4, lw=1)
        place.axvline(0, color="#8a8f98", lw=0.8)
        place.set(title=title, xlabel="out-of-sample R² of the gap", xlim=(-1.5, 1))
    axes[0].set_yticks(range(len(order)), [name.removesuffix("_start") for name in order])
    figure.savefig(path, dpi=130)


def alarms(connection, path: Path) -> None:
    """The lead of each probe's alarm over the loss of plasticity: every run, and the mean."""
    found = early_warning.leads(connection, STUDY)
    order = sorted(found, key=lambda name: found[name].leads.mean())
    figure = matplotlib.figure.Figure(figsize=(7, 0.26 * len(order) + 1.4), layout="constrained")
    axes = figure.subplots()
    for row, name in enumerate(order):
        runs = found[name].leads
        axes.plot(runs, np.full(len(runs), row), "o", ms=3, alpha=0.35, color="#1f6feb")
        axes.plot(runs.mean(), row, "|", ms=11, mew=2, color="#111111")
    axes.axvline(0, color="#8a8f98", lw=0.8)
    axes.set_yticks(range(len(order)), [name.removesuffix("_start") for name in order])
    axes.set(xlabel="tasks from alarm to loss of plasticity (positive: in time)")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    runs, out = Path(sys.argv[1]), Path(sys.argv[2])
    tables = store.connect(runs, spectra=False)
    predictors(tables, out / "predictors.png")
    alarms(tables, out / "alarms.png")
