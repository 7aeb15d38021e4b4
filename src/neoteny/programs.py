"""Programs that this process has compiled, of which the system lets it hold only so many."""

from pathlib import Path

import jax

SHARE = 0.5
"""Of the maps that Linux allows a process (65,530 where nobody changed it), from which on programs
are let go; those of one run take some hundreds to thousands."""


def make_room() -> bool:
    """Let go of all compiled programs if this process nears the system's limit of memory maps.

    Each program takes several, for as long as its function lives, and XLA ends the process with a
    segmentation fault where it gets no more: a sweep over a hundred learning rates would come to
    that. What is used again is compiled again, or read from the cache of compiled code. Only Linux
    has such a limit.

    **Cost:** of reading the list of maps, some milliseconds.

    **Returns:** whether they were let go.
    """
    try:
        held = Path("/proc/self/maps").read_bytes().count(b"\n")
        most = int(Path("/proc/sys/vm/max_map_count").read_text())
    except OSError:
        return False
    full = held >= SHARE * most
    if full:
        jax.clear_caches()
    return full
