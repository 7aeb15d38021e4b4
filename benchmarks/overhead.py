"""What a run does beside learning, on tasks of about a second: storing, telling, cheap probes.

    python benchmarks/overhead.py [--cores 1] [--tasks 20] [--epochs 60] [--every 1]

One run, as `neoteny run` carries it out, with its probes at every task; a fresh network and
spectra, which cost what they cost, are left out. Each part is timed where the loop calls it, in
processor time of the process, and divided by that of learning.
"""

import argparse
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--cores", type=int, default=1)
parser.add_argument("--tasks", type=int, default=20)
parser.add_argument("--epochs", type=int, default=60, help="Of a task: 60 take about a second.")
parser.add_argument("--every", type=int, default=1, help="Probe every so many tasks.")
arguments = parser.parse_args()
timing.pin(arguments.cores)

import jax  # noqa: E402

from neoteny import loop, store  # noqa: E402
from neoteny.config import RunConfig, Setting  # noqa: E402
from neoteny.progress import Progress  # noqa: E402

SPENT: Counter = Counter()


@contextmanager
def clocked(part: str):
    began = time.process_time()
    yield
    SPENT[part] += time.process_time() - began


def clock(owner, name: str, part: str) -> None:
    """Have every call of `owner.name` counted to `part`, until its arrays are there."""
    inner = getattr(owner, name)

    def timed(*words, **options):
        with clocked(part):
            return jax.block_until_ready(inner(*words, **options))

    setattr(owner, name, timed)


def clock_steps(owner, name: str, part: str) -> None:
    """The same of a generator, of what it computes between its questions and of their answers."""
    inner = getattr(owner, name)

    def timed(*words, **options):
        with clocked(part):
            return (yield from inner(*words, **options))

    setattr(owner, name, timed)


def main() -> None:
    setting = Setting.model_validate(
        {
            "stream": {"rule": "random-labels", "dataset": "digits"},
            "network": {"widths": (256, 256, 256)},
            "training": {
                "optimiser": "adam",
                "learning_rate": 1e-3,
                "batch": 16,
                "epochs": arguments.epochs,
            },
            "probes": {"every": arguments.every, "fresh_every": 0, "spectrum_every": 0},
        }
    )
    config = RunConfig(
        study="overhead", stream="digits", method="bp", seed=0, tasks=arguments.tasks + 1,
        hyperparameters={}, setting=setting,
    )  # fmt: skip
    clock(store.Run, "append", "storing")
    clock(store.Run, "commit", "storing")
    clock(loop, "_probe", "cheap probes")
    clock_steps(loop, "_evaluated", "accuracy on training rows")
    clock_steps(loop, "_heldout", "accuracy on held-out rows")
    began = 0.0
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        progress.start([config])

        def told(done: int, value: float | None) -> None:
            nonlocal began
            if done == 1:  # which compiled it all
                SPENT.clear()
                began = time.process_time()
            else:
                with clocked("telling"):
                    progress.task_done(config, done, value)

        loop.run(config, Path(folder) / "run", on_task=told)
        whole = time.process_time() - began
    learning = whole - sum(SPENT.values())
    print(f"{timing.machine()}; {arguments.tasks} tasks of {learning / arguments.tasks:.2f} s")
    for part, seconds in SPENT.most_common():
        print(f"  {part}: {seconds / learning:.2%} of learning")
    cheap = sum(SPENT[part] for part in ("storing", "telling", "cheap probes")) / learning
    print(f"storing, telling and cheap probes: {cheap:.2%} (aim: at most 3 %)")


if __name__ == "__main__":
    main()
