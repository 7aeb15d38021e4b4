"""Fill the disk at every page of a run, take its right to write away, and go on when mended.

    unshare -rm python tests/campaigns/full.py [--tasks 4] [--spectra 2]

The disk is a tmpfs of one page, then of two, and so on until the run fits; `unshare` lets anyone
mount one that no other process sees. Whenever the run stops it must say what cannot be written and
why, what it left must be readable, and with more room it must end with the bits of a run that had
room all along. Prints how often each file was the one that did not fit; exits with 1 at a failure.
"""

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

from power import RUN, content, learn

from neoteny import store


def mount(place: Path, *options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], check=True)


def stopped(work, place: Path, reason: str) -> str | None:
    """The file that could not be written, or nothing if the work came to its end."""
    try:
        work(place)
    except store.StoreError as error:
        found = re.match(r"`([^`]*)` cannot be written: (.*?)\. Nothing that was comm", str(error))
        assert found and reason in found[2], str(error)
        if (place / RUN / "run.json").exists():
            (row,) = store.status(place)
            assert row["status"] == "interrupted", row
            store.connect(place).close()
        return Path(found[1]).name
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--spectra", type=int, default=2)
    arguments = parser.parse_args()
    work = partial(learn, done=lambda value: None, **vars(arguments))
    names, different = Counter(), 0
    with tempfile.TemporaryDirectory() as scratch:
        whole, disk = Path(scratch, "whole"), Path(scratch, "disk")
        whole.mkdir()
        disk.mkdir()
        work(whole)
        for pages in itertools.count(1):
            mount(disk, f"size={pages * os.sysconf('SC_PAGE_SIZE')}")
            try:
                name = stopped(work, disk, "No space left on device")
                mount_again(disk, "size=16m")
                if name and (disk / RUN).exists():
                    mount_again(disk, "ro")
                    assert stopped(work, disk, "Read-only file system"), "it wrote"
                    mount_again(disk, "rw")
                work(disk)
                different += content(disk) != content(whole)
            finally:
                subprocess.run(["umount", disk], check=True)
            if name is None:
                break
            names[re.sub(r"\d+", "*", name)] += 1
    print(f"disks of 1 to {pages} pages: {sum(names.values())} too small, {different} different")
    for name, count in names.most_common():
        print(f"  {count:>3} {name}")
    return int(different > 0)


def mount_again(place: Path, option: str) -> None:
    mount(place, "remount", option)


if __name__ == "__main__":
    sys.exit(main())
