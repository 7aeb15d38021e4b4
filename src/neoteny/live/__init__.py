"""The live page: runs as they go, for a browser, from a small server that only reads."""

from neoteny.live.door import loopback
from neoteny.live.server import Server, serve

__all__ = ["Server", "loopback", "serve"]
