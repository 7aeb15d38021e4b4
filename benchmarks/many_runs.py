"""How long the commands that read or continue runs take when ten thousand are stored.

    python benchmarks/many_runs.py [--runs 10000] [--keep DIR] [--only status,query]

They are copies of one real, short run of each of two streams: its rows with noise, its spectra, its
checkpoint, in the folders of a sweep over 10 methods, 20 seeds and a grid of learning rates. With
`--keep` they stay in DIR and are used again. `busy` are seconds of processor, which other work
beside disturbs less than those of the clock.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import duckdb
import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--runs", type=int, default=10_000)
parser.add_argument("--keep", type=Path)
parser.add_argument("--only", default="", help="commands, comma-separated, by how they begin")

STUDY = "spectral-collapse-digits"
SEEDS, METHODS, STREAMS = 20, 10, 2
CHANGES = {  # short, so that the run that is copied takes a moment
    "tasks": 20,
    "network.widths": "[16, 16, 16]",
    "training.epochs": 1,
    "stream.rows": 100,
    "probes.every": 1,
    "probes.fresh_every": 2,
    "probes.spectrum_every": 10,
    "streams.random-labels.hyperparameters.er.every": 6,
    "streams.random-labels.hyperparameters.l2_er.every": 6,
    "streams.permuted-pixels.hyperparameters.er.every": 50,
    "streams.permuted-pixels.hyperparameters.l2_er.every": 50,
}


def rates(runs: int) -> list[str]:
    """As many learning rates as it takes."""
    return [f"{0.001 * (place + 1):.3f}" for place in range(max(1, runs // _at_one_rate()))]


def _at_one_rate() -> int:
    return SEEDS * METHODS * STREAMS


def command(runs: int) -> list[str]:
    """The words after `neoteny` that run, or here continue, what is stored."""
    changes = [word for name, value in CHANGES.items() for word in ("--set", f"{name}={value}")]
    return [
        "sweep",
        STUDY,
        "--seeds",
        str(SEEDS),
        *changes,
        "--grid",
        f"lr={','.join(rates(runs))}",
    ]


def fabricate(runs: int, folder: Path) -> int:
    """Store `runs` finished runs below `folder`; returns how many there are."""
    from neoteny import api, sweep

    study = api.plan(STUDY, seeds=SEEDS, changes=CHANGES)
    planned = api.runs_of(study, {"lr": rates(runs)})[0][:runs]
    missing = [run for run in planned if not (sweep.folder_of(folder, run) / "run.json").exists()]
    if missing:
        models = folder.parent / f"{folder.name}-models"
        api.run(STUDY, out=models, methods=["bp"], seeds=1, changes=CHANGES)
        database = duckdb.connect(config={"threads": 1})
        for run in missing:
            model = models / run.stream.split("--")[0] / "bp" / "seed-0"
            _copy(model, sweep.folder_of(folder, run), run.model_dump(mode="json"), database)
    return len(planned)


def _copy(model: Path, place: Path, config: dict, database: duckdb.DuckDBPyConnection) -> None:
    """The run `model` as if it had been that of `config`: its record, its rows with noise."""
    (place / "spectra").mkdir(parents=True)
    same = [path for path in model.rglob("*") if path.suffix in (".npz", ".lock")]
    for path in same:
        os.link(path, place / path.relative_to(model))
    source = f"read_parquet('{model}/tasks.parquet')"
    noise = ", ".join(
        f'"{name}" * (0.95 + 0.05 * random()) AS "{name}"'
        for name, kind, *_ in database.execute(f"DESCRIBE FROM {source}").fetchall()
        if kind == "DOUBLE"
    )
    own = ", ".join(f"'{config[name]}' AS {name}" for name in ("stream", "method"))
    changed = f"{own}, {config['seed']}::BIGINT AS seed, {noise}"
    database.execute(
        f"COPY (SELECT * REPLACE ({changed}) FROM {source}) TO '{place}/tasks.parquet'"
    )
    record = json.loads((model / "run.json").read_text()) | {"config": config}
    (place / "run.json").write_text(json.dumps(record, indent=2) + "\n")


def commands(folder: Path, runs: int) -> list[list[str]]:
    place, by_method = str(folder), "SELECT method, avg(final_accuracy) FROM tasks GROUP BY method"
    return [
        ["status", place],
        ["status", place, "--summary"],
        ["query", place, "SELECT count(*) FROM runs"],
        ["query", place, by_method],
        ["query", place, "SELECT matrix, max(node) FROM spectra GROUP BY matrix"],
        ["judge", place],
        ["leaderboard", place],
        ["export", place, "--table", "tasks", "--out", str(folder.parent / "tasks.parquet")],
        ["report", place],
        [*command(runs), "--out", place],
    ]


class Cost(NamedTuple):
    """What a command took: seconds of the clock and of processor, and its peak MiB."""

    seconds: float
    busy: float
    memory: float


def measured(words: list[str]) -> Cost:
    """The cost of one command, as a process of its own."""
    program = [sys.executable, "-c", "from neoteny.cli import main; main()", *words]
    began = time.perf_counter()
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    if code:
        raise SystemExit(f"`neoteny {shlex.join(words)}` failed.")
    busy = usage.ru_utime + usage.ru_stime
    return Cost(time.perf_counter() - began, busy, usage.ru_maxrss / 1024)


def main() -> None:
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("NEOTENY_CACHE", f"{scratch}/cache")
        folder = (arguments.keep or Path(scratch) / "runs").absolute()
        began = time.perf_counter()
        # apart, because a process counts the memory of the one that it was forked from
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            runs = pool.submit(fabricate, arguments.runs, folder).result()
        print(f"{timing.machine()}: {runs:,} runs, made in {time.perf_counter() - began:.0f} s")
        print(f"{'seconds':>8} {'busy':>6} {'MiB':>6}  command")
        for words in commands(folder, arguments.runs):
            if arguments.only and words[0] not in arguments.only.split(","):
                continue
            seconds, busy, memory = measured(words)
            shown = shlex.join(word.replace(str(folder), "DIR") for word in words)
            print(f"{seconds:8.1f} {busy:6.1f} {memory:6.0f}  {shown[:90]}", flush=True)


if __name__ == "__main__":
    main()
