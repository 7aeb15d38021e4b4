"""Who may look: names a browser may have come by, and the token where others reach this machine."""

import hmac
import ipaddress
import socket
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple


class Door(NamedTuple):
    """What a request must bring.

    - `host`: where the server is bound, as it was asked for.
    - `cookie`: the name that the token has as a cookie.
    - `token`: None where whoever reaches the server may look.
    """

    host: str
    cookie: str
    token: str | None

    def knows(self, host: str | None) -> bool:
        """Whether the page may be asked for under this `Host`, whatever its port, which a tunnel
        changes.

        A name that some page's owner lets point here is refused, so that no page elsewhere can
        read this one through a visitor's browser (DNS rebinding). A plain address is nobody's.
        """
        name = _name(host or "")
        local = loopback(self.host)
        try:
            address = ipaddress.ip_address(name)
            return address.is_loopback or not local
        except ValueError:
            own = {"localhost"} if local else {"localhost", self.host, socket.gethostname()}
            return name in {one.lower() for one in own}

    def admits(self, brought: str | None) -> bool:
        """Whether this is the token, found in a time that does not depend on how much is right."""
        if self.token is None:
            return True
        return hmac.compare_digest((brought or "").encode(), self.token.encode())

    def brought(self, cookies: str | None, authorization: str | None) -> str | None:
        """The token that the headers of a request hold, right or wrong."""
        kind, _, value = (authorization or "").partition(" ")
        if kind.lower() == "bearer":
            return value.strip()
        try:
            morsel = SimpleCookie(cookies or "").get(self.cookie)
        except CookieError:
            return None
        return morsel.value if morsel else None


def loopback(host: str) -> bool:
    """Whether only this machine reaches a server that is bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name(host: str) -> str:
    """A `Host` header without its port, and an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".").lower()
