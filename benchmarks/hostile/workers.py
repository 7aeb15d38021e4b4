"""Processes that hand hostile inputs to a reader, and what is watched while they do."""

import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from hostile.reader import Reader, emptied

SECONDS = 20.0
"""For one input; a machine that others use, too, may hold a quick one up for some of them."""

MEBIBYTES = 400
"""That memory may grow by for one input, none of which has as much as one."""

ROOM = 3 * 2**30
"""Bytes of addresses that a process may ask for beyond those it has begun with."""

LONGEST = 6000
"""Letters of a refusal; the longest list all fields of a study."""


class Failure(NamedTuple):
    """An input that a reader neither read nor refused as it should, by its number."""

    number: int
    reason: str


class Tally(NamedTuple):
    """What came of a reader's inputs."""

    inputs: int
    read: int
    refused: int
    failures: list[Failure]
    seconds: float


# ---- one process


class _Watch:
    """What Python itself reports of files that are opened to write, and programs that are run."""

    RUN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn")
    OTHER = ("socket.connect", "pickle.find_class", "urllib.Request")
    CHANGE = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod")

    def __init__(self, root: Path):
        self.root, self.on, self.seen = os.path.realpath(root), False, []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = arguments
            if (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._check(event, path)
        elif event in self.CHANGE:
            self._check(event, arguments[1] if event == "os.symlink" else arguments[0])
        elif event in self.RUN + self.OTHER and not str(arguments[0]).startswith("file:"):
            self.seen.append(f"{event} {arguments!r:.200}")

    def _check(self, event: str, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            whole = os.path.realpath(os.path.dirname(os.path.abspath(os.fsdecode(path))))
            if not (whole + "/").startswith(self.root + "/") and not whole.startswith("/dev"):
                self.seen.append(f"{event} of {path!r:.200}")


@contextmanager
def _memory() -> Iterator[list[float]]:
    """The most by which the memory of this process grows, in MiB."""
    Path("/proc/self/clear_refs").write_text("5")
    before, found = _resident("VmRSS"), [0.0]
    yield found
    found[0] = (_resident("VmHWM") - before) / 1024


def _resident(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field))


class _Trial:
    """A reader in a folder of its own, ready for one input after another."""

    def __init__(self, reader: Reader, root: Path, seed: str):
        self.reader, self.root, self.seed = reader, root, seed
        for name in ("sound", "scratch", "cache", "here", "temporary"):
            (root / name).mkdir(parents=True, exist_ok=True)
        os.environ |= {"NEOTENY_CACHE": str(root / "cache"), "JAX_PLATFORMS": "cpu"}
        for name in ("NEOTENY_DATA", "JAX_COMPILATION_CACHE_DIR"):  # no input's doing
            os.environ.pop(name, None)
        tempfile.tempdir = str(root / "temporary")
        os.chdir(root / "here")
        warnings.simplefilter("ignore")  # of names that are twice in an archive, as they are to be
        sys.dont_write_bytecode = True  # what is imported on the way is no file that an input wrote
        os.fsync = lambda handle: None  # no power is lost here
        self.sound = reader.prepare(root / "sound")
        self.watch = _Watch(root)
        self.before = self._listed()

    def content(self, number: int) -> bytes:
        return self.reader.make(Random(f"{self.seed}/{number}"), self.sound)

    def outcome(self, content: bytes) -> str:
        """`read`, `refused`, or what else has happened."""
        scratch = emptied(self.root / "scratch")
        emptied(self.root / "cache")
        (self.root / "input").write_bytes(content)
        with _memory() as grown:
            self.watch.on = True
            try:
                said = self._read(content, scratch)
            finally:
                self.watch.on = False
        if self.watch.seen:
            said, self.watch.seen = f"it did {self.watch.seen[0]}", []
        if grown[0] > MEBIBYTES:
            said = f"{len(content):,} bytes took {grown[0]:,.0f} MiB"
        if (after := self._listed()) != self.before:
            said, self.before = f"files {sorted(after ^ self.before)} came or went", after
        return said

    def _read(self, content: bytes, scratch: Path) -> str:
        from neoteny.errors import UserError

        try:
            self.reader.read(content, self.sound, scratch)
            return "read"
        except (UserError, *self.reader.refuses) as error:
            return _unclear(error) or "refused"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]!r}"
            return f"{said} ({Path(place.filename).name}:{place.lineno})"

    def _listed(self) -> set[str]:
        ours = {path.name for path in self.root.iterdir()} - {"input"}
        return (
            ours
            | {f"here/{name}" for name in os.listdir(self.root / "here")}
            | {f"sound/{name}" for name in os.listdir(self.root / "sound")}
        )


def _unclear(error: Exception) -> str:
    """What is amiss with a refusal: it must be a sentence, with no lack of memory behind it."""
    sentence = str(error)
    if not sentence.endswith((".", ")")) or "\n" in sentence:
        return f"no sentence: {sentence[:300]!r}"
    if len(sentence) > LONGEST:
        return f"a refusal of {len(sentence):,} letters: {sentence[:100]!r}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return f"more memory was asked for than there is: {sentence[:300]}"
        cause = cause.__cause__ or cause.__context__
    return ""


def _work(name: str, seed: str, root: Path, numbers: range, counts: Any, line: Any) -> None:
    from hostile import READERS

    trial = _Trial(READERS[name], root, f"{seed}/{name}")
    trial.outcome(trial.content(-1))  # what is imported once is no input's fault
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
    for number in numbers:
        counts[0] = number
        said = trial.outcome(trial.content(number))
        if said in ("read", "refused"):
            counts[1 if said == "read" else 2] += 1
        else:
            line.send(Failure(number, said))
    counts[0] = numbers.stop


def here(name: str, seed: int, inputs: int, root: Path) -> Tally:
    """Hand so many inputs to a reader in this process, which none of them had better end."""
    from hostile import READERS

    began, trial = time.perf_counter(), _Trial(READERS[name], root, f"{seed}/{name}")
    said = [trial.outcome(trial.content(number)) for number in range(inputs)]
    os.chdir("/")
    read, refused = said.count("read"), said.count("refused")
    failures = [
        Failure(number, one) for number, one in enumerate(said) if one not in ("read", "refused")
    ]
    return Tally(inputs, read, refused, failures, time.perf_counter() - began)


def repeat(name: str, seed: int, number: int, root: Path) -> str:
    """What comes of one input, once more and in this process; its traceback, where it has one."""
    from hostile import READERS

    trial = _Trial(READERS[name], root, f"{seed}/{name}")
    content = trial.content(number)
    print(f"{len(content):,} bytes: {content[:2000]!r}")
    try:
        trial.reader.read(content, trial.sound, emptied(root / "scratch"))
    except Exception:
        traceback.print_exc()
    return trial.outcome(content)


# ---- the process that watches them


def campaign(name: str, seed: int, inputs: int, root: Path, keep: Path) -> Tally:
    """Hand so many inputs to a reader; those that fail are kept, and a process that dies is
    followed by another."""
    began, failures = time.perf_counter(), []
    counts = get_context("spawn").Array("q", 3)
    first = 0
    while first < inputs:
        place = root / f"{name}-{first}"
        ours, theirs = get_context("spawn").Pipe()
        work = (name, str(seed), place, range(first, inputs), counts, theirs)
        counts[0] = first
        process = get_context("spawn").Process(target=_work, args=work, daemon=True)
        process.start()
        theirs.close()
        found = _followed(process, counts, ours)
        for failure in found:
            failures.append(failure)
            _keep(keep, name, failure, place / "input")
        first = counts[0] + (counts[0] < inputs)
    return Tally(inputs, counts[1], counts[2], failures, time.perf_counter() - began)


def _followed(process: Any, counts: Any, line: Any) -> list[Failure]:
    """The failures of one process to its end, the last of which may be that end."""
    failures: list[Failure] = []
    number, since = counts[0], time.perf_counter() + 3 * SECONDS  # to begin takes longer
    while True:
        try:
            while line.poll(0.1):
                failures.append(line.recv())
        except EOFError:
            break
        if counts[0] != number:
            number, since = counts[0], time.perf_counter()
        if time.perf_counter() - since > SECONDS:
            process.kill()
            failures.append(Failure(counts[0], f"took more than {SECONDS:.0f} s"))
            break
    process.join()
    if process.exitcode and not (failures and failures[-1].number == counts[0]):
        failures.append(Failure(counts[0], f"the process ended with {process.exitcode}"))
    return failures


def _keep(keep: Path, name: str, failure: Failure, place: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    (keep / f"{name}-{failure.number}.txt").write_text(f"{failure.reason}\n")
