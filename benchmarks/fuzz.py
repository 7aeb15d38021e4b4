"""Throw hostile files at every reader: each is read, or refused in one sentence, and no more.

    python benchmarks/fuzz.py [--inputs 100000] [--seed 0] [--only idx,query] [--jobs 1]
    python benchmarks/fuzz.py --repeat idx:4711

Valid files are cut, flipped, spliced, relabelled, or built to lie: sizes that are not so, bombs,
pickles, links, names that lead elsewhere. A failure is any exception but the refusal, a process
that dies, an input that takes too long or much memory, a program that is run, or a file outside the
folder that is touched. Exits with 1 if there is one; what failed is named in `--keep`.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hostile import READERS, workers

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--inputs", type=int, default=100_000, help="of all readers together")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--only", help="readers, comma-separated")
parser.add_argument("--jobs", type=int, default=1, help="readers at once")
parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
parser.add_argument("--here", action="store_true", help="in this process: quick for a few inputs")
parser.add_argument("--repeat", metavar="READER:NUMBER", help="one input, with its traceback")


def main() -> int:
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.repeat:
            name, _, number = arguments.repeat.rpartition(":")
            print(workers.repeat(name, arguments.seed, int(number), Path(scratch) / "it"))
            return 0
        names = arguments.only.split(",") if arguments.only else [*READERS]
        whole = sum(READERS[name].share for name in names)

        def go(name: str) -> workers.Tally:
            inputs = -int(-arguments.inputs * READERS[name].share // whole)
            if arguments.here:
                found = workers.here(name, arguments.seed, inputs, Path(scratch) / name)
            else:
                place = Path(scratch), arguments.keep
                found = workers.campaign(name, arguments.seed, inputs, *place)
            _print(name, found)
            return found

        print("reader            inputs    read refused failures seconds")
        with ThreadPoolExecutor(arguments.jobs) as pool:
            tallies = list(pool.map(go, names))
    added = [sum(column) for column in zip(*(tally[:3] for tally in tallies), strict=True)]
    failures = [failure for tally in tallies for failure in tally.failures]
    _print("all", workers.Tally(*added, failures, sum(tally.seconds for tally in tallies)))
    return 1 if failures else 0


def _print(name: str, found: workers.Tally) -> None:
    failed = len(found.failures)
    print(
        f"{name:<16} {found.inputs:>7,} {found.read:>7,} {found.refused:>7,} {failed:>8,} "
        f"{found.seconds:>7.1f}",
        flush=True,
    )
    kinds: dict[str, list[int]] = {}
    for failure in found.failures if name != "all" else []:
        kinds.setdefault(failure.reason[-60:], []).append(failure.number)
    for numbers in kinds.values():
        first = next(one for one in found.failures if one.number == numbers[0])
        print(f"    {len(numbers)} x {first.reason[:300]} (as {name}:{numbers[0]})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
