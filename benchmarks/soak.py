"""Whether memory and open files stay flat over a run of very many tiny tasks.

    python benchmarks/soak.py [--kind data|agent] [--tasks 86400] [--seconds 600]

A day of tasks of one second is 86,400. Prints, over the run, the memory that is resident, the part
of it that is the table of results, open files, threads, programs compiled and how long a commit
takes; then a verdict, and exits with 1 if it is that something grows. `--seconds` stops it earlier.
"""

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

PROBES = {
    "names": ["norms", "units", "ranks"],
    "start_names": ["units"],
    "rows": 20,
    "fresh_every": 50,
    "spectrum_every": 50,
    "spectrum_rows": 20,
    "spectrum_steps": 6,
    "spectrum_probes": 2,
}
STREAMS: dict[str, dict[str, Any]] = {
    "data": {
        "metric": "final_accuracy",
        "stream": {"rule": "random-labels", "dataset": "digits", "rows": 60},
        "network": {"widths": [8, 8]},
        "training": {"optimiser": "adam", "learning_rate": 0.001, "batch": 10},
        "probes": PROBES,
    },
    "agent": {
        "metric": "final_return",
        "stream": {"rule": "offset-observations", "environment": "cartpole"},
        "network": {"widths": [6]},
        "training": {"optimiser": "adam", "learning_rate": 0.01, "batch": 20, "epochs": 1},
        "agent": {"seats": 4, "rollout": 20, "iterations": 2},
        "probes": PROBES,
    },
}
WARM = 0.25
"""The first part of a run, in which allocators and caches still fill."""
LOOKS = 8
COPIES, BYTES_A_TASK = 5, 500
"""What a task may add to the memory: its row of the table, so many times, as a commit gathers the
rows anew, hands them to DuckDB and lets it write them; and so many bytes beyond."""


class Sample(NamedTuple):
    """What the process held after so many tasks."""

    tasks: int
    seconds: float
    resident: int
    table: int
    files: int
    threads: int
    compiled: int
    commit: float


class Watch:
    """Looks at this process every so many tasks."""

    def __init__(self, every: int, limit: float):
        import jax

        self.every, self.limit, self.began = every, limit, time.monotonic()
        self.samples: list[Sample] = []
        self.compiled, self.table, self.commit = 0, 0, 0.0
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        self._time_commits()

    def _heard(self, name: str, seconds: float, **_: Any) -> None:
        self.compiled += name == "/jax/core/compile/backend_compile_duration"

    def _time_commits(self) -> None:
        from neoteny.store import Run

        commit = Run.commit

        def timed(run, *arguments, **options):
            began = time.perf_counter()
            commit(run, *arguments, **options)
            self.commit = time.perf_counter() - began
            columns = run._table._columns.values()
            self.table = sum(array.nbytes for column in columns for array in column)

        Run.commit = timed

    def __call__(self, done: int, value: float | None) -> None:
        if done % self.every == 0:
            self.look(done)
        if time.monotonic() - self.began > self.limit:
            raise TimeoutError

    def look(self, done: int) -> None:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sample = Sample(
            done,
            time.monotonic() - self.began,
            pages * os.sysconf("SC_PAGE_SIZE"),
            self.table,
            len(os.listdir("/proc/self/fd")),
            len(os.listdir("/proc/self/task")),
            self.compiled,
            self.commit,
        )
        self.samples.append(sample)
        print(
            f"{done:>8} {sample.seconds:>7.0f} {sample.resident / 1e6:>9.1f} "
            f"{sample.table / 1e6:>8.1f} {sample.files:>6} {sample.threads:>8} "
            f"{sample.compiled:>9} {1e3 * sample.commit:>9.0f}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=STREAMS, default="data")
    parser.add_argument("--tasks", type=int, default=86_400)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from neoteny import loop, sweep
    from neoteny.config import Study, validated

    setting = STREAMS[arguments.kind] | {"tasks": arguments.tasks}
    study = {"name": "soak", "methods": ["bp"], "seeds": 1, "streams": {"s": setting}}
    (config,) = sweep.expand(validated(Study, study))
    print(f"{arguments.tasks} tasks of kind `{arguments.kind}`")
    print("   tasks seconds  resident    table  files  threads  compiled commit ms")
    watch = Watch(max(1, arguments.tasks // 40), arguments.seconds)
    with tempfile.TemporaryDirectory() as folder:
        try:
            loop.run(config, Path(folder), on_task=watch)
        except TimeoutError:
            print("stopped at the limit of time")
    return verdict(watch.samples)


def verdict(samples: list[Sample]) -> int:
    """Say what grew after the first part of the run; 1 if anything did that should not."""
    kept = [sample for sample in samples if sample.tasks >= WARM * samples[-1].tasks]
    if len(kept) < LOOKS:
        print(f"{len(kept)} looks are too few to tell: pass more `--seconds`, or fewer `--tasks`")
        return 1
    tasks = [sample.tasks for sample in kept]
    slope = lambda values: statistics.linear_regression(tasks, values).slope
    memory = slope([sample.resident for sample in kept])
    row = slope([sample.table for sample in kept])
    allowed = COPIES * row + BYTES_A_TASK
    grown = {
        name: getattr(kept[-1], name) - getattr(kept[0], name)
        for name in ("files", "threads", "compiled")
    }
    flat = memory <= allowed and max(grown.values()) <= 0
    print(
        f"From task {tasks[0]} to {tasks[-1]}: memory {memory:+.0f} bytes a task (a row of "
        f"the table has {row:.0f}; allowed: {allowed:.0f}), "
        + ", ".join(f"{name} {value:+d}" for name, value in grown.items())
        + f": {'flat' if flat else 'GROWS'}"
    )
    return int(not flat)


if __name__ == "__main__":
    sys.exit(main())
