"""How long the report of many runs takes: to write, to open, and to draw its first figure.

    python benchmarks/report.py [--runs 200] [--tasks 100] [--streams 4] [--spectra 5] [--keep DIR]

Fabricates runs through `neoteny.store`, with the columns, layers and spectra that the digits
study stores; writes `report.html` and `leaderboard.html`; opens both from disk in headless
Chromium. Times of opening are the median of three, each in a new browser.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from neoteny import api, report, store

METHODS = ("bp", "l2_er", "l2", "er", "cbp", "snp", "spectral", "l2_init", "redo", "reset")
LAYERS = 3
CADENCE = 5
"""Curvature and fresh networks are measured on each fifth task."""

PER_LAYER = ("effective_rank", "stable_rank", "srank", "approximate_rank", "dead", "dormant",
             "saturated")  # fmt: skip
OF_SPECTRA = ("rank", "rank_se", "budget_rank", "budget_rank_se", "effective_rank", "max", "min",
              "trace", "trace_se")  # fmt: skip
PLAIN = ("online_loss", "final_loss", "weight_norm", "gradient_norm", "displacement")


def fabricate(folder, runs, tasks, streams, spectra):
    """`runs` stored runs: each method, stream and seed in turn."""
    rng = np.random.default_rng(0)
    for number in range(runs):
        method = METHODS[number % len(METHODS)]
        stream = f"stream-{number // len(METHODS) % streams}"
        seed = number // (len(METHODS) * streams)
        place = folder / stream / method / f"seed-{seed}"
        fade = METHODS.index(method) / len(METHODS)
        with store.Run.open(place, _config(stream, method, seed, tasks), {"jax": "0"}) as run:
            for task in range(tasks):
                run.append(_row(rng, task, fade * task / tasks))
            for task in range(0, tasks, max(1, tasks // spectra)) if spectra else ():
                _save_spectra(run, rng, task, fade * task / tasks)
            run.commit({"params": np.zeros(1)}, seconds=60.0, microseconds_per_step=100.0)
            run.finish("finished")


def _config(stream, method, seed, tasks):
    return {
        "study": "made-up", "stream": stream, "method": method, "seed": seed, "tasks": tasks,
        "hyperparameters": {"weight_decay": 1e-4} if "l2" in method else {},
        "setting": {
            "stream": {"rule": "permuted-pixels", "dataset": "digits"},
            "metric": "online_accuracy",
            "network": {"kind": "mlp", "widths": [100] * LAYERS, "layer_norm": False},
            "training": {"optimiser": "sgd", "learning_rate": 0.01, "momentum": 0.9, "batch": 16},
            "probes": {"epsilon": 0.01},
        },
    }  # fmt: skip


def _row(rng, task, age):
    noisy = lambda value: float(value * (1 + 0.02 * rng.standard_normal()))
    row = {f"{kind}_accuracy": noisy(0.9 - 0.4 * age) for kind in ("online", "final", "heldout")}
    row |= {name: noisy(1 + age) for name in PLAIN}
    for name in PER_LAYER:
        row |= {name: noisy(20 - 15 * age)}
        row |= {f"{name}_{layer}": noisy(20 - 15 * age) for layer in range(1, LAYERS + 1)}
    if task % CADENCE == 0:
        row |= {f"fresh{kind}_accuracy": noisy(0.92) for kind in ("", "_online", "_heldout")}
        for matrix in ("ggn", "hessian"):
            for phase in ("start", "end"):
                row |= {f"{matrix}_{name}_{phase}": noisy(200 - 150 * age) for name in OF_SPECTRA}
    return row


def _save_spectra(run, rng, task, age):
    for matrix in ("ggn", "hessian"):
        for phase in ("start", "end"):
            nodes = 30 * np.exp(-4 * age) * 10.0 ** rng.uniform(-8, 0, (2, 48))
            if matrix == "hessian":
                nodes[:, ::4] *= -0.1
            weights = rng.dirichlet(np.full(48, 0.3), 2)
            run.save_spectrum(task, phase, matrix, nodes=nodes, weights=weights, size=26_000)


def opened(page, ready):
    """Seconds from the address to the load event, and until `ready` can be seen."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        began = time.perf_counter()
        tab.goto(page.as_uri())
        loaded = time.perf_counter() - began
        tab.wait_for_selector(ready)
        drawn = time.perf_counter() - began
        browser.close()
    return loaded, drawn


def tell(name, path, written, ready):
    times = [opened(path, ready) for _ in range(3)]
    loaded, drawn = (statistics.median(column) for column in zip(*times, strict=True))
    size = path.stat().st_size / 2**20
    print(f"{name:12} written in {written:6.2f} s, {size:6.1f} MB; loaded {loaded:.2f} s, "
          f"first figure drawn {drawn:.2f} s after it was asked for", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--spectra", type=int, default=5, help="tasks with spectra, 0 for none")
    parser.add_argument(
        "--keep", type=Path, help="leave the runs in this folder, or use those there"
    )
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="neoteny-report-"))
    if not any(folder.glob("*/*/*/run.json")):
        began = time.perf_counter()
        fabricate(folder, asked.runs, asked.tasks, asked.streams, asked.spectra)
        seconds = time.perf_counter() - began
        print(f"{asked.runs} runs of {asked.tasks} tasks fabricated in {seconds:.0f} s")
    began = time.perf_counter()
    connection = store.connect(folder)
    print(f"{'tables':12} read in {time.perf_counter() - began:.2f} s", flush=True)
    began = time.perf_counter()
    path = report.write(connection, folder / "report.html", title="Many runs", verdict=None,
                        reproduce="python benchmarks/report.py")  # fmt: skip
    tell("report", path, time.perf_counter() - began, ".plot .main-svg")
    began = time.perf_counter()
    api.Results(folder).leaderboard(folder / "leaderboard.html")
    tell(
        "leaderboard", folder / "leaderboard.html", time.perf_counter() - began, "svg.ranks circle"
    )
    if asked.keep is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
