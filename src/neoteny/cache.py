"""Where neoteny keeps what it can make or fetch again."""

import os
from pathlib import Path


def folder() -> Path:
    """`NEOTENY_CACHE`, else `neoteny` in the user's cache folder. Not created here."""
    if own := os.environ.get("NEOTENY_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neoteny"
