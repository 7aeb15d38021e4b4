"""What all nodes of a cluster must have in common, and how a node finds out that it has not."""

import hashlib
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import neoteny
from neoteny import store


class Ground(NamedTuple):
    """Folders and files by their full names, with what tells them from others of that name."""

    out: Path
    token: str  # the name of a file in `out`
    data: Path | None
    plugins: dict[Path, str]  # the digest of each
    version: str


@contextmanager
def shown(out: Path, data: Path | None, plugins: Sequence[Path]) -> Iterator[Ground]:
    """The ground as this process sees it; a token lies in `out` for as long as it lasts."""
    out, token = out.absolute(), f".shared-{secrets.token_hex(8)}"
    digests = {path.absolute(): _digest(path) or "" for path in plugins}
    data = None if data is None else data.absolute()
    store.write_text(out / token, "Written to see whether all nodes share this folder.\n")
    try:
        yield Ground(out, token, data, digests, neoteny.__version__)
    finally:
        (out / token).unlink(missing_ok=True)


def unlike(ground: Ground) -> str | None:
    """Why runs cannot be carried out in this process, which may be on another machine."""
    node = socket.gethostname()
    if ground.version != neoteny.__version__:
        return (
            f"Node {node} has neoteny {neoteny.__version__}, but the sweep is started by "
            f"{ground.version}. Install the same version on all nodes."
        )
    shared = "Name one on a file system that all nodes share, by the same path on each."
    if not (ground.out / ground.token).exists():
        return f"`out` is {ground.out}, a folder that node {node} does not share. {shared}"
    if ground.data is not None and not ground.data.is_dir():
        return f"`data` is {ground.data}, a folder that node {node} does not have. {shared}"
    for path, digest in ground.plugins.items():
        if _digest(path) != digest:
            return (
                f"`plugin` is {path}, a file that node {node} does not have, or has another of. "
                f"{shared}"
            )
    return None


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
