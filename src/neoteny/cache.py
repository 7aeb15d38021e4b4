"""Where neoteny keeps what it can make or fetch again, and how that comes into its place."""

import contextlib
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

ABANDONED = 24 * 3600.0
"""Seconds after which a part belongs to a process that was killed."""


def folder() -> Path:
    """`NEOTENY_CACHE`, else `neoteny` in the user's cache folder. Not created here."""
    if own := os.environ.get("NEOTENY_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neoteny"


def settings() -> dict[str, str]:
    """What a process of our own has in its environment, where nobody chose otherwise.

    It keeps compiled code for other processes, and LAPACK off the cores JAX uses: the threads of
    OpenBLAS, which serves small eigenproblems within compiled steps, spin on the cores of XLA's
    own, and both then wait for each other.
    """
    return {
        "OPENBLAS_NUM_THREADS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(compiled()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def compiled() -> Path:
    """The folder of compiled programs, without those that a killed process left half written.

    JAX would warn of such a one, compile it and leave it there, at every start. Each is looked at
    once.
    """
    place = folder() / "compiled"
    looked = place / ".looked"
    with contextlib.suppress(OSError):  # somebody else's to write, or another process is at it too
        since = looked.stat().st_mtime if looked.exists() else 0.0
        for path in place.glob("*-cache"):
            if path.stat().st_mtime >= since and _cut_off(path.read_bytes()):
                path.unlink()
        if place.exists():
            looked.touch()
    return place


def _cut_off(content: bytes) -> bool:
    """Whether it is but the beginning of what zlib wrote, which JAX uses; others pass."""
    reader = zlib.decompressobj()
    try:
        reader.decompress(content)
    except zlib.error:
        return content[:1] == b"\x78"
    return not reader.eof


@contextlib.contextmanager
def placed(target: Path) -> Iterator[Path]:
    """A name beside `target` for a file or folder to be made, which then takes its place, whole.

    Where the making fails nothing is left of it. Each process has a name of its own, so several
    that make the same at once all succeed; a folder that another has put there first stays.

    **Raises:** `OSError` if it cannot be put there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for other in target.parent.glob(".*.part"):
        if is_older(other, ABANDONED):
            _remove(other)
    part = target.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        _flush(part)
        try:
            part.replace(target)
        except OSError:
            if not (part.is_dir() and target.is_dir()):
                raise
    finally:
        _remove(part)


def is_older(path: Path, seconds: float) -> bool:
    """Whether nobody has written to, or touched, what is there for so long."""
    with contextlib.suppress(FileNotFoundError):  # its owner, or another process, was faster
        return time.time() - path.stat().st_mtime > seconds
    return False


def _flush(part: Path) -> None:
    """To disk, so that no loss of power leaves a name without its content."""
    for path in part.iterdir() if part.is_dir() else [part]:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    with contextlib.suppress(OSError):
        part.unlink()
