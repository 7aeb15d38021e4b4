"""How soon neoteny starts: import, help, and the first task of a study begun a second time.

    python benchmarks/start.py [--rounds 3] [--study spectral-collapse-digits]

Each time is that of a process of its own, from the moment it is asked for. The study runs twice
into new folders, with one cache of compiled code that begins empty: the second time everything
should be found there. Compilations are counted by JAX itself, by way of a plugin.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import timing

PLUGIN = """
import os, time, jax
from neoteny import loop

asked, counts = float(os.environ["NEOTENY_ASKED_AT"]), {"cache_hits": 0, "cache_misses": 0}
live_through, seen = loop._live_through, []


def count(event, **_):
    kind = event.rpartition("/")[2]
    if kind in counts:
        counts[kind] += 1


def watched(*arguments):
    if not seen:
        seen.append(time.time() - asked)
    return live_through(*arguments)


def run(*arguments, **options):
    status = whole(*arguments, **options)
    found = f"{counts['cache_misses']} {counts['cache_hits']} {seen[0]}"
    with open(os.environ["NEOTENY_FOUND"], "a") as file:
        file.write(f"{os.getpid()} {found}\\n")
    return status


jax.monitoring.register_event_listener(count)
loop._live_through, whole, loop.run = watched, loop.run, run
"""


def seconds(words: list[str], **environment: str) -> float:
    """Wall time of a process."""
    began = time.time()
    told = os.environ | environment | {"NEOTENY_ASKED_AT": str(began)}
    subprocess.run(words, check=True, capture_output=True, env=told)
    return time.time() - began


def study(name: str, folder: Path, place: str) -> tuple[float, int, int, float]:
    """Seconds in all, compilations and what was found compiled, seconds to the first task."""
    plugin, found = folder / "plugin.py", folder / f"{place}.txt"
    plugin.write_text(PLUGIN)
    words = [
        "run", name, "--methods", "bp,l2_er", "--seeds", "1", "--set", "tasks=2",
        "--plugin", plugin, "--out", folder / place,
    ]  # fmt: skip
    program = [sys.executable, "-c", "from neoteny.cli import main; main()"]
    cache, told = str(folder / "cache"), str(found)
    taken = seconds([*program, *map(str, words)], NEOTENY_CACHE=cache, NEOTENY_FOUND=told)
    last = {line.split()[0]: line.split()[1:] for line in found.read_text().splitlines()}
    misses, hits, first = zip(*last.values(), strict=True)
    return taken, sum(map(int, misses)), sum(map(int, hits)), min(map(float, first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--study", default="spectral-collapse-digits")
    arguments = parser.parse_args()
    print(timing.machine())
    help_ = [sys.executable, "-c", "from neoteny.cli import main; main()", "--help"]
    imports = [sys.executable, "-c", "import neoteny"]
    for name, words in {"import neoteny": imports, "neoteny --help": help_}.items():
        taken = statistics.median(seconds(words) for _ in range(arguments.rounds))
        print(f"{name}: {taken:.2f} s (aim: at most 0.5)")
    with tempfile.TemporaryDirectory() as folder:
        for place in ("first", "second"):
            taken, misses, hits, first = study(arguments.study, Path(folder), place)
            print(
                f"{arguments.study}, {place} time: first task after {first:.1f} s, {taken:.1f} s "
                f"in all, {misses} programs compiled, {hits} found compiled"
            )
        print("aim, the second time: first task within 3 s, nothing compiled")


if __name__ == "__main__":
    main()
