"""A small HTTP server for one page: it answers GET and HEAD, and serves no file of the folder."""

import secrets
import socket
import sys
import time
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from neoteny.errors import UserError
from neoteny.live.board import Board
from neoteny.live.door import Door, loopback
from neoteny.live.handler import Handler

PORT = 8765
CONNECTIONS, SECONDS = 32, 20.0
"""At once, and that one may last."""


def serve(
    folder: Path, *, host: str = "127.0.0.1", port: int | None = None, token: bool = False
) -> "Server":
    """A server for the runs at or below `folder`, bound but not yet answering.

    Call its `serve_forever`, and `server_close` at the end; `url` is what to open.

    **Arguments:**

    - `host`: where others reach the machine, a token is asked for.
    - `port`: a free one from 8765 on if not given.
    - `token`: ask for one on the loopback as well.

    **Raises:** `UserError` if `folder` is a file, or the address cannot be had.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"`{folder}` is a file. Name the folder of runs that is given to --out.")
    if port is not None and not 0 <= port <= 65535:
        raise UserError(f"`--port` is {port}; ports are 1 to 65535. Leave it out for a free one.")
    secret = secrets.token_urlsafe(24) if token or not loopback(host) else None
    family, address = _resolved(host)
    for choice in [port] if port is not None else [*range(PORT, PORT + 20), 0]:
        try:
            return Server(folder, host, family, (address, choice), secret)
        except OSError as error:
            reason = error.strerror or str(error)
    raise UserError(_unbound(host, port, reason))


def _resolved(host: str) -> tuple[int, str]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"`--host` is {host!r}, which is no address of this machine. Pass 127.0.0.1, or "
            "0.0.0.0 to be reached from others."
        ) from error
    return family, str(address[0])


def _unbound(host: str, port: int | None, reason: str) -> str:
    where = f"`--port` is {port}" if port is not None else f"`--host` is {host}"
    advice = "another, or none for one that is free" if port is not None else "127.0.0.1"
    return f"{where}, but {host} cannot be listened at there: {reason.lower()}. Pass {advice}."


class Server(ThreadingHTTPServer):
    """Not for callers: use `serve`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, host: str, family: int, address: tuple, token: str | None):
        self.address_family = family
        self._begun: dict[Any, float] = {}
        super().__init__(address, Handler)
        self.door = Door(host, f"neoteny-{self.server_port}", token)
        self.board = Board(folder)

    @property
    def url(self) -> str:
        """What to open: with the token, where one is asked for."""
        name = socket.gethostname() if self.door.host in ("0.0.0.0", "::") else self.door.host
        name = f"[{name}]" if ":" in name else name
        token = f"?token={self.door.token}" if self.door.token else ""
        return f"http://{name}:{self.server_port}/{token}"

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # `HTTPServer` would ask a name server who this is
        self.server_port = self.server_address[1]

    def process_request(self, request, client_address) -> None:
        if len(self._begun) >= CONNECTIONS:
            self.shutdown_request(request)
            return
        self._begun[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._begun.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off who has been asking, or listening, for too long."""
        for request, begun in list(self._begun.items()):
            if time.monotonic() - begun > SECONDS:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request, client_address) -> None:
        """A visitor who has gone is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
