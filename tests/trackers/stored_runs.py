"""Runs as a store has them, for every tracker: ended well or badly, with gaps and odd names."""

import numpy as np

from neoteny import store

ROWS = [
    {"online_accuracy": 0.1, "hessian_max": 1e-3 / 3, "episodes": 2**40 + 1, "dead_1": None},
    {"online_accuracy": 1 / 3, "hessian_max": float("nan"), "flag": True, "note": "text"},
    {"online_accuracy": 0.7, "odd name/[µ]": -1e300, "odd name__µ_": 2.0, "..": 1e-40},
]
STATES = {
    ("bp", 0): ("finished", None),
    ("bp", 1): ("diverged", "loss not finite in task 3"),
    ("l2", 0): ("failed", "ValueError: why <b>"),
    ("l2", 1): ("interrupted", None),
}
SIZE = 100


def write_run(out, method, seed, status="finished", reason=None, rows=ROWS):
    """A run with a spectrum at the start of task 1, or more rows of one that has not ended."""
    config = {
        "study": "study/one", "stream": "labels", "method": method, "seed": seed, "tasks": 5,
        "hyperparameters": {"weight_decay": 0.001},
        "setting": {"metric": "online_accuracy", "network": {"widths": [8, 8], "bias": True}},
    }  # fmt: skip
    folder = out / "labels" / method / f"seed-{seed}"
    with store.Run.open(folder, config, {"jax": "0.10", "device": {"kind": "cpu"}}) as run:
        for row in rows[run.tasks_done :]:
            run.append(row)
        nodes = np.array([[-0.5, 0.0, 2.0], [1e-15, 3.0, 3.1]])
        weights = np.array([[0.25, 0.25, 0.5], [0.9, 0.05, 0.05]])
        run.save_spectrum(1, "start", nodes=nodes, weights=weights, size=SIZE)
        run.save_spectrum(4, "end", "ggn", nodes=nodes, weights=weights, size=SIZE)  # has no row
        run.commit({"w": np.zeros(1)}, seconds=2.5, microseconds_per_step=None)
        if status != "interrupted":
            run.finish(status, reason)
    return folder


def write_all(out):
    for (method, seed), ended in STATES.items():
        write_run(out, method, seed, *ended)


def numbers(out):
    """By run and then by task, what its rows hold: the columns' names and their numbers."""
    found = {f"labels/{method}/seed-{seed}": {} for method, seed in STATES}
    answer = store.query(out, "SELECT * EXCLUDE (study, stream, note) FROM tasks ORDER BY task")
    for row in answer.rows:
        named = dict(zip(answer.columns, row, strict=True))
        run = f"labels/{named.pop('method')}/seed-{named.pop('seed')}"
        task = named.pop("task")
        found[run][task] = {
            name: float(value) for name, value in named.items() if value is not None
        }
    return found
