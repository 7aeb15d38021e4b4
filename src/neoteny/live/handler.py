"""One request for the live page: who asks is looked at, then what for, and it is answered."""

import hashlib
import json
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qs, urlsplit

from neoteny.sweep import in_one_line

SECTIONS = 60
"""Streams whose curves one answer may hold."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Answer(NamedTuple):
    """What a request gets."""

    status: HTTPStatus
    kind: str = "text/plain"
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


def _refusal(status: HTTPStatus, sentence: str = "") -> Answer:
    return Answer(status, body=f"{sentence or status.phrase}\n".encode())


FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/chart.js": ("chart.js", "text/javascript"),
}


class Handler(BaseHTTPRequestHandler):
    """One request on one connection."""

    server: Any  # a `Server`, which has a door and a board
    timeout = 10

    def do_GET(self) -> None:
        """Answer whoever may ask, with what may be asked for."""
        self._send(self._refused() or self._routed())

    do_HEAD = do_GET

    def _refused(self) -> Answer | None:
        door = self.server.door
        if not door.knows(self.headers.get("Host")):
            return _refusal(
                HTTPStatus.FORBIDDEN, "Open the address that was printed: not by this name."
            )
        brought = parse_qs(self._parts().query).get("token")
        if brought and door.token and door.admits(brought[0]):
            cookie = f"{door.cookie}={door.token}; HttpOnly; SameSite=Lax; Path=/"
            return Answer(HTTPStatus.SEE_OTHER, headers={"Location": "/", "Set-Cookie": cookie})
        token = door.brought(self.headers.get("Cookie"), self.headers.get("Authorization"))
        if not door.admits(token):
            return _refusal(
                HTTPStatus.FORBIDDEN, "Open the address that was printed: it has a token."
            )
        return None

    def _routed(self) -> Answer:
        parts = self._parts()
        if parts.path == "/state":
            return self._state(parts.query)
        if parts.path in FILES:
            name, kind = FILES[parts.path]
            return Answer(HTTPStatus.OK, kind, (_TEMPLATES / name).read_bytes())
        return _refusal(HTTPStatus.NOT_FOUND)

    def _state(self, query: str) -> Answer:
        wanted = parse_qs(query).get("open", [""])[0]
        numbers = [int(part) for part in wanted.split(",") if part.isdecimal() and len(part) < 10]
        try:
            told = self.server.board.answer(numbers[:SECTIONS])
        except Exception as error:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, in_one_line(error))
        body = json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
        if self.headers.get("If-None-Match") == tag:
            return Answer(HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
        return Answer(HTTPStatus.OK, "application/json", body, {"ETag": tag})

    def _parts(self) -> SplitResult:
        try:
            return urlsplit(self.path)
        except ValueError:
            return SplitResult("", "", "", "", "")

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        own = {"Content-Type": f"{answer.kind}; charset=utf-8", "Content-Length": len(answer.body)}
        for name, value in {**HEADERS, **own, **answer.headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code, message=None, explain=None) -> None:
        """Of `http.server`, for a request that is none or has a method other than GET and HEAD."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            allowed = {"Allow": "GET, HEAD"}
            self._send(_refusal(HTTPStatus.METHOD_NOT_ALLOWED)._replace(headers=allowed))
        else:
            self._send(_refusal(HTTPStatus(code)))

    def version_string(self) -> str:
        """Of the server, which tells no versions."""
        return "neoteny"

    def log_message(self, format, *args) -> None:
        """Nothing: the terminal is the user's."""


_TEMPLATES = files("neoteny.live.templates")
