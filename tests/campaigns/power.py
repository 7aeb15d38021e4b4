"""Lose power at every step of a short run, in every way there is, and go on from what is left.

    python tests/campaigns/power.py [--tasks 8] [--spectra 3] [--states 5000] [--seed 0]

The run's calls to the file system are recorded. Of what was asked for and not flushed, the disk may
then hold any part: each name stands for any file that it was given since its folder was last
flushed, a new folder is there or not, and a file that was not flushed is whole, empty, cut off,
torn or full of zeros. From each such state the run must open at the last commit that had returned,
or at the one under way, and end with the bits of a run that nobody disturbed. The same is asked of
a page that replaces another. Prints how many states there were; exits with 1 if one fails.
"""

import argparse
import itertools
import json
import math
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neoteny import store

RUN = Path("stream", "method", "seed-0")


# ---- what is done, and how it is seen to be right


def learn(root: Path, tasks: int, spectra: int, done: Callable[[int], None]) -> None:
    """A run that commits after two tasks of three; `done` is told what is promised from then on."""
    config = dict(study="s", stream="a", method="bp", seed=0, tasks=tasks)
    with store.Run.open(root / RUN, config) as run:
        if run.finished:
            return
        found = run.checkpoint()
        w = found[1]["w"] if found else np.zeros(3)
        for task in range(run.tasks_done, tasks):
            w = np.sin(w + task)
            for matrix in range(spectra):
                run.save_spectrum(task, "end", f"m{matrix}", nodes=w, weights=w)
            run.append({"final_accuracy": float(w[0]), "late": task if task > 1 else None})
            if task % 3 or task == tasks - 1:
                run.commit({"w": w}, seconds=1.0, microseconds_per_step=None)
                done(task + 1)
        run.finish("finished")
        done(tasks + 1)


def learnt(root: Path) -> int:
    """What of the promises holds in `root`: the tasks that it opens at, one more if finished."""
    if not (root / RUN / "run.json").exists():
        return 0
    (row,) = store.status(root)
    store.connect(root).close()
    found = store.Run.open(root / RUN, store.read_record(root / RUN)["config"])
    found.close()
    return found.tasks_done + (row["status"] == "finished")


def write_page(root: Path, done: Callable[[int], None]) -> None:
    """A page that replaces another."""
    for version in (1, 2):
        store.write_text(root / "new" / "page.html", f"version {version}" * 9)
        done(version)


def written(root: Path) -> int:
    path = root / "new" / "page.html"
    text = path.read_text() if path.exists() else ""
    return ["", "version 1" * 9, "version 2" * 9].index(text)


# ---- what a disk was asked for


class Flushed(NamedTuple):
    """A file's content is on disk, or with `content` missing all names in a folder."""

    path: Path
    content: bytes | None


class Named(NamedTuple):
    """A name stands for another file: with this content, on disk if `flushed`; or for none."""

    path: Path
    content: bytes | None
    flushed: bool = False


class Made(NamedTuple):
    """A new folder."""

    path: Path


class Promised(NamedTuple):
    """What the program has said from now on to be kept."""

    value: int


class Recorder:
    """What is asked of the file system below `root` while it is in a `with` statement."""

    def __init__(self, root: Path):
        self.root, self.asked, self.safe = root, [], {}
        self.true = {name: getattr(os, name) for name in ("fsync", "replace", "unlink", "mkdir")}

    def __enter__(self) -> "Recorder":
        for name in self.true:
            setattr(os, name, getattr(self, f"_{name}"))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self.true.items():
            setattr(os, name, function)

    def promise(self, value: int) -> None:
        self.asked.append(Promised(value))

    def _at(self, path: Any) -> Path:
        return Path(path).relative_to(self.root)

    def _fsync(self, handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        content = None if path.is_dir() else path.read_bytes()
        if content is not None:
            self.safe[path] = content
        self.asked.append(Flushed(self._at(path), content))

    def _replace(self, source: Path, target: Path) -> None:
        content = source.read_bytes()
        flushed = self.safe.pop(source, None) == content
        self.true["replace"](source, target)
        self.asked.append(Named(self._at(target), content, flushed))

    def _unlink(self, path: Path, **options: Any) -> None:
        self.true["unlink"](path, **options)
        self.asked.append(Named(self._at(path), None, True))

    def _mkdir(self, path: Path, *options: Any, **others: Any) -> None:
        self.true["mkdir"](path, *options, **others)
        self.asked.append(Made(self._at(path)))


# ---- what it may hold


State = dict[Path, bytes | None]
"""Files by their paths, and folders, which have no content."""
GONE = object()


def possible(asked: list[Any]) -> tuple[dict[Path, list[Any]], int]:
    """What each path may be after `asked`, and what is promised by then."""
    may: dict[Path, list[list[Any]]] = {}
    promised = 0
    for one in asked:
        match one:
            case Flushed(folder, None):
                may |= {path: may[path][-1:] for path in may if path.parent == folder}
            case Named(path, content, flushed):
                may.setdefault(path, [[GONE]]).append(_contents(content, flushed))
            case Made(path):
                may.setdefault(path, [[GONE]]).append([None])
            case Promised(value):
                promised = value
    return {path: [*itertools.chain(*each)] for path, each in may.items()}, promised


def _contents(content: bytes | None, flushed: bool) -> list[Any]:
    if content is None:
        return [GONE]
    half = len(content) // 2
    torn = content[:half] + bytes(len(content) - half)
    spoilt = [b"", content[:half], torn, bytes(len(content))]
    return [content] if flushed else [content, *spoilt]


def states(asked: list[Any], most: int, draw: random.Random) -> Iterator[tuple[State, int]]:
    """What may be left at some step and what is promised by then: all, or `most` of them drawn."""
    moments = [possible(asked[:step]) for step in range(len(asked) + 1)]
    count = sum(math.prod(map(len, may.values())) for may, _ in moments)
    if count <= most:
        for may, promised in moments:
            for chosen in itertools.product(*may.values()):
                yield _state(may, chosen), promised
    else:
        for may, promised in draw.choices(moments, k=most):
            yield _state(may, [draw.choice(each) for each in may.values()]), promised


def _state(may: dict[Path, list[Any]], chosen: Any) -> State:
    kept = dict(zip(may, chosen, strict=True))
    gone = {path for path, what in kept.items() if what is GONE}
    return {path: what for path, what in kept.items() if not gone & {path, *path.parents}}


def lay_out(state: State, root: Path) -> None:
    """The state as files, each with what a writer of it may have left half written."""
    for path, content in state.items():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
            half_written = root / path.parent / f".{path.name}.1-ab.tmp"
            half_written.write_bytes(content[: len(content) // 2])


# ---- the campaign


class Found(NamedTuple):
    """States met, those that differ, those that stood at what was under way, and what is wrong."""

    states: int
    distinct: int
    later: int
    wrong: list[str]


def campaign(work: Callable, seen: Callable, most: int, draw: random.Random) -> Found:
    """Lose power while `work(root, promise)` is at it; `seen(root)` is which promise is kept."""
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place).resolve()
        (scratch / "whole").mkdir()
        with Recorder(scratch / "whole") as recorder:
            work(scratch / "whole", recorder.promise)
        promises = [0, *(one.value for one in recorder.asked if isinstance(one, Promised))]
        under_way = dict(itertools.pairwise([*promises, promises[-1]]))
        expected, count, met = content(scratch / "whole"), 0, {}
        for state, promised in states(recorder.asked, most, draw):
            count += 1
            key = frozenset(state.items())
            met[key] = state, max(promised, met.get(key, (state, 0))[1])
        later, wrong = 0, []
        for state, promised in met.values():
            root = scratch / "state"
            root.mkdir()
            lay_out(state, root)
            try:
                found = seen(root)
                later += found > promised
                if not promised <= found <= under_way[promised]:
                    wrong.append(f"{promised} was promised, {found} found")
                work(root, lambda value: None)
                if content(root) != expected:
                    wrong.append(f"from {promised} it came to another end")
            except Exception as error:
                wrong.append(f"{promised} was promised: {type(error).__name__}: {error}")
            shutil.rmtree(root)
    return Found(count, len(met), later, wrong)


def content(root: Path) -> dict[str, object]:
    """All results below `root`; of a record how the run ended, and no temporaries of a page."""
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != ".lock"]
    found = {str(path.relative_to(root)): path.read_bytes() for path in paths}
    for name in [name for name in found if name.endswith("run.json")]:
        record = json.loads(found[name])
        found[name] = [record[key] for key in ("config", "status", "reason", "tasks")]
    pages = {name: page for name, page in found.items() if not name.endswith(".tmp")}
    return found if store.find_runs(root) else pages


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--spectra", type=int, default=3)
    parser.add_argument("--states", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    run = partial(learn, tasks=arguments.tasks, spectra=arguments.spectra)
    cases = {
        "a run": (lambda root, done: run(root, done=done), learnt),
        "a page": (write_page, written),
    }
    os.fsync = lambda handle: None  # the power here is on
    draw, failed = random.Random(arguments.seed), False
    print(f"{'':<8}{'states':>9}{'distinct':>10}{'at the later commit':>21}{'wrong':>7}")
    for name, (work, seen) in cases.items():
        found = campaign(work, seen, arguments.states, draw)
        print(
            f"{name:<8}{found.states:>9}{found.distinct:>10}{found.later:>21}{len(found.wrong):>7}"
        )
        for sentence in found.wrong[:5]:
            print(f"  {sentence}")
        failed = failed or bool(found.wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
