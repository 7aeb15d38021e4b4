"""Kill runs at random instants, most of them while they write, and compare how they end.

    python tests/campaigns/kill.py [--instants 200] [--seed 0] [--tasks 16] [--kinds data,...]

A run is started again until it finishes; what it is killed by in the meantime is `SIGKILL`, half of
the times at an instant drawn from its whole life, half at, or within three milliseconds of, a step
of its writing. Then table, spectra, checkpoint and the end of its record must be those of a run
that nobody disturbed, to the bit. Before a run goes on, all that it left must be readable. Of the
kinds, `store` does little but write, the others train. Prints where the kills fell; exits with 1 if
one result differs.
"""

import argparse
import mmap
import os
import random
import select
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PROBES = {
    "names": ["norms"],
    "rows": 20,
    "fresh_every": 5,
    "spectrum_every": 2,
    "spectrum_rows": 20,
    "spectrum_steps": 4,
    "spectrum_probes": 1,
}
ADAM = {"optimiser": "adam", "learning_rate": 0.01, "batch": 20}
LIFE: dict[str, Any] = {
    "metric": "final_return",
    "network": {"widths": [6]},
    "training": ADAM | {"epochs": 1},
    "probes": PROBES,
}
COPIES = {"seats": 4, "rollout": 20, "iterations": 2}
KINDS: dict[str, dict[str, Any]] = {
    "store": {},
    "data": {
        "metric": "final_accuracy",
        "stream": {"rule": "random-labels", "dataset": "digits", "rows": 60},
        "network": {"widths": [8, 8]},
        "training": ADAM,
        "probes": PROBES,
    },
    "cartpole": LIFE
    | {"stream": {"rule": "offset-observations", "environment": "cartpole"}, "agent": COPIES},
    "dqn": LIFE
    | {
        "stream": {"rule": "offset-observations", "environment": "cartpole"},
        "agent": COPIES | {"kind": "dqn", "reuse": 1, "learning_starts": 40},
    },
    "gymnasium": LIFE
    | {
        "stream": {"rule": "offset-observations", "environment": "gymnasium:CartPole-v1"},
        "agent": COPIES,
    },
}
WITHIN = 0.003
"""Seconds after a step of writing within which a kill may fall."""

WRITTEN = ("spectrum", "table", "checkpoint", "record")
PLACES = (
    "starting",
    "opening",
    "learning",
    *(f"{what}: {part}" for what in WRITTEN for part in ("writing", "flushing", "renaming")),
    "between two files",
)


class Doom(NamedTuple):
    """When a child dies: after `seconds`, or at a step of its writing, and how long after it."""

    seconds: float | None = None
    step: int | None = None
    after: float | None = None


class Stage:
    """What a child does just now, in memory that outlives it."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 8)

    @property
    def place(self) -> str:
        return PLACES[self.memory[0]]

    @property
    def steps(self) -> int:
        return int.from_bytes(self.memory[1:5], "little")

    def clear(self) -> None:
        self.memory[0:8] = bytes(8)

    def enter(self, place: str) -> None:
        self.memory[0] = PLACES.index(place)

    def step(self, place: str, doom: Doom) -> None:
        self.enter(place)
        steps = self.steps + 1
        self.memory[1:5] = steps.to_bytes(4, "little")
        if steps == doom.step:
            if doom.after is None:
                _die()
            threading.Timer(doom.after, _die).start()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _watch(stage: Stage, doom: Doom) -> None:
    """Tell `stage` of each step of writing; the steps themselves stay what they are."""
    from neoteny.store import Run, files

    flush, replace, rename, writing = files._flush, files.replace, os.replace, ["record"]

    def watched_replace(path, write):
        names = {"tasks.parquet": "table", "checkpoint.npz": "checkpoint", "run.json": "record"}
        writing[0] = names.get(path.name, "spectrum")

        def watched_write(temporary):
            stage.step(f"{writing[0]}: writing", doom)
            write(temporary)

        replace(path, watched_write)
        stage.step("between two files", doom)

    def watched_flush(path):
        stage.step("between two files" if path.is_dir() else f"{writing[0]}: flushing", doom)
        flush(path)

    def watched_rename(source, target):
        stage.step(f"{writing[0]}: renaming", doom)
        rename(source, target)

    def watched_method(method, before, after):
        def watched(*arguments, **options):
            stage.enter(before)
            result = method(*arguments, **options)
            stage.enter(after)
            return result

        return watched

    files.replace, files._flush, os.replace = watched_replace, watched_flush, watched_rename
    Run._resume = watched_method(Run._resume, "opening", "learning")
    for name in ("save_spectrum", "commit", "finish"):
        setattr(Run, name, watched_method(getattr(Run, name), "between two files", "learning"))


Work = Callable[[Path], object]


def _work(kind: str, tasks: int) -> Work:
    """What carries a run of that kind to its end, below a folder."""
    if kind == "store":
        from power import learn

        return lambda folder: learn(folder, tasks, 3, lambda value: None)
    from neoteny import loop
    from neoteny.config import Study, validated
    from neoteny.sweep import expand, folder_of

    loop.COMMIT_SECONDS = 0.05
    setting = KINDS[kind] | {"tasks": tasks}
    study = {"name": kind, "methods": ["cbp"], "seeds": 1, "streams": {"s": setting}}
    (config,) = expand(validated(Study, study))
    return lambda folder: loop.run(config, folder_of(folder, config))


def _live(work: Work, folder: Path, stage: Stage, doom: Doom) -> None:
    from neoteny import store

    if store.find_runs(folder):
        store.connect(folder).close()  # raises if anything is damaged
    _watch(stage, doom)
    work(folder)


def child(work: Work, folder: Path, stage: Stage, doom: Doom) -> bool:
    """Let a process do the work; whether it came to its end."""
    stage.clear()
    pid = os.fork()
    if not pid:
        try:
            _live(work, folder, stage, doom)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    if doom.seconds is not None:
        handle = os.pidfd_open(pid)
        if not select.select([handle], [], [], doom.seconds)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
    end = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if end not in (0, -signal.SIGKILL):
        raise SystemExit(f"A run ended with {end}.")
    return end == 0


def campaign(
    kind: str, tasks: int, instants: int, draw: random.Random, scratch: Path
) -> dict[str, Any]:
    """Runs of one kind, killed `instants` times in all: where, and how many ended otherwise."""
    from power import content

    work = _work(kind, tasks)
    stage, places = Stage(), Counter()
    child(work, scratch / "first", stage, Doom())  # compiles
    began = time.monotonic()
    child(work, scratch / "whole", stage, Doom())
    life, steps, whole = time.monotonic() - began, stage.steps, content(scratch / "whole")
    runs, different, kills = 0, 0, 0

    def doom() -> Doom:
        if draw.random() < 0.5:
            return Doom(seconds=draw.uniform(0, life))
        return Doom(None, draw.randint(1, steps), draw.choice([None, draw.uniform(0, WITHIN)]))

    while kills < instants:
        folder, ended = scratch / f"run-{runs}", False
        while not ended:
            ended = child(work, folder, stage, doom() if kills < instants else Doom())
            if not ended:
                kills += 1
                places[stage.place] += 1
        runs += 1
        different += content(folder) != whole
    same = content(scratch / "first") == whole
    return {"kills": kills, "runs": runs, "different": different + (not same), "places": places}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instants", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", type=int, default=16)
    parser.add_argument("--kinds", default=",".join(KINDS))
    arguments = parser.parse_args()
    kinds, draw, found = arguments.kinds.split(","), random.Random(arguments.seed), {}
    with tempfile.TemporaryDirectory() as scratch:
        _prepare(Path(scratch), kinds)
        for place, kind in enumerate(kinds):
            share = len(range(place, arguments.instants, len(kinds)))
            found[kind] = campaign(kind, arguments.tasks, share, draw, Path(scratch, kind))
            print(f"{kind}: {found[kind]['kills']} kills", file=sys.stderr, flush=True)
    report(found)
    return int(any(one["different"] for one in found.values()))


def _prepare(scratch: Path, kinds: list[str]) -> None:
    """Import here once what every child needs, and start no thread: they are forked from here."""
    os.environ |= {
        "OPENBLAS_NUM_THREADS": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(scratch / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    import duckdb  # noqa: F401
    import power  # noqa: F401

    if kinds != ["store"]:
        import gymnasium  # noqa: F401
        import sklearn.datasets  # noqa: F401

        import neoteny.loop  # noqa: F401

    assert len(os.listdir("/proc/self/task")) == 1, "a thread would not be in the children"


def report(found: dict[str, dict[str, Any]]) -> None:
    line = lambda name, cells: print(f"{name:<22}" + "".join(f"{cell:>11}" for cell in cells))
    line("", [*found, "all"])
    for name in ("kills", "runs", "different"):
        counts = [one[name] for one in found.values()]
        line(name, [*counts, sum(counts)])
    for place in PLACES:
        counts = [one["places"][place] for one in found.values()]
        line(f"  {place}", [*counts, sum(counts)])


if __name__ == "__main__":
    sys.exit(main())
