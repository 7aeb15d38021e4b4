"""What a commit costs as a run's table grows, and how seldom a run therefore makes one.

python benchmarks/commits.py [--rows 1000,10000,100000] [--columns 60] [--rounds 5]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rows", default="1000,10000,100000")
parser.add_argument("--columns", type=int, default=60)
parser.add_argument("--rounds", type=int, default=5)
arguments = parser.parse_args()


def main() -> None:
    from neoteny import loop, store

    config = dict(study="s", stream="a", method="bp", seed=0, tasks=10**9)
    draw, weights = np.random.default_rng(0), {"w": np.ones(10_000)}
    print(timing.machine())
    print(
        f"{'rows':>8} {'commit ms':>10} {'file MB':>8} {'resident MB':>12} {'seconds between':>16}"
    )
    with tempfile.TemporaryDirectory() as folder, store.Run.open(folder, config) as run:
        for rows in map(int, arguments.rows.split(",")):
            taken = []
            for lap in range(arguments.rounds + 1):
                while run.tasks_done < rows + lap:
                    run.append({f"c{i}": x for i, x in enumerate(draw.random(arguments.columns))})
                began = time.perf_counter()
                run.commit(weights, seconds=1.0, microseconds_per_step=None)
                taken.append(time.perf_counter() - began)
            commit = statistics.median(taken[1:])  # the first gathers all rows at once
            size = Path(folder, "tasks.parquet").stat().st_size / 1e6
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
            between = loop.COMMIT_SECONDS * max(1, commit / loop.COMMIT_SHARE)
            print(
                f"{rows:>8} {1e3 * commit:>10.0f} {size:>8.1f} {resident:>12.0f} {between:>16.1f}"
            )


if __name__ == "__main__":
    main()
