"""Whether there is room: what a data set may take of this machine's memory."""

import os
from pathlib import Path

from neoteny.streams.files import DataError

LARGE = 0.25
"""Above this share of the memory that is free, images stay in their file."""

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def available() -> int:
    """Bytes that could still be filled: what the system has, or a container's rest if less.

    Where neither can be known, as on macOS, half of what the machine has, else 4 GiB.
    """
    bounds = [bound for bound in (_of_system(), _of_container()) if bound is not None]
    return min(bounds) if bounds else _guess()


def check_room(size: int, what: str, advice: str) -> None:
    """Refuse to fill `size` bytes that are not there.

    **Raises:** `DataError`, where `what` begins the sentence and `advice` ends it.
    """
    if size > (free := available()):
        raise DataError(f"{what} {_gib(size)} of memory, but {_gib(free)} are free. {advice}")


def is_large(size: int) -> bool:
    """Whether `size` bytes are so much of what is free that they had better stay in a file."""
    return size > LARGE * available()


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB"


def _of_system() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError):
        return None


def _of_container() -> int | None:
    try:
        limit, used = (int((_CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        cached = next(
            int(line.split()[1])
            for line in (_CGROUP / "memory.stat").read_text().splitlines()
            if line.startswith("inactive_file ")
        )
    except (OSError, StopIteration, ValueError):  # no such file, or the limit is "max"
        return None
    return max(0, limit - used + cached)


def _guess() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return 2**32
