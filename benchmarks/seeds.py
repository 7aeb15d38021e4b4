"""What a second seed on a second core costs: the wall time of two seeds over that of one.

    python benchmarks/seeds.py [--rounds 3] [--tasks 40]

Whole runs through the pool, start of the processes included; compiled code is cached first.
"""

import argparse
import os
import tempfile
from pathlib import Path

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--tasks", type=int, default=40)
arguments = parser.parse_args()


def main() -> None:
    from neoteny import api, sweep

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{scratch}/compiled"
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        number = iter(range(1000))

        def study(seeds: int):
            changes = {"tasks": arguments.tasks, "probes.spectrum_every": 0}
            plan = api.plan(
                "spectral-collapse-digits", methods=["bp"], seeds=seeds, changes=changes
            )
            runs = [run for run in sweep.expand(plan) if run.stream == "random-labels"]

            def go():
                out = Path(scratch) / str(next(number))
                # the pool itself, so that a single run, too, has one process bound to one core
                ended = sweep.Pool(runs, out, None, (), lambda config, done: None).work(2)
                assert {outcome.status for outcome in ended} == {"finished"}

            return go

        taken = timing.interleaved({"one": study(1), "two": study(2)}, arguments.rounds)
    print(timing.machine())
    print(
        f"Two seeds on two cores over one on one: {taken['two'] / taken['one']:.2f}x "
        f"(aim: at most 1.2; one takes {taken['one']:.1f} s)"
    )


if __name__ == "__main__":
    main()
