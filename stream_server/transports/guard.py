"""Who may come in: keys, and the web pages that may speak to us.

A key may stand wherever the clients people use put it.  Without keys everybody on the machine may come, but no web
page from elsewhere: a browser lets any page reach a server on its own machine.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from stream_server.errors import ForbiddenOrigin, Unauthorized

HEADERS = ("xi-api-key", "x-api-key")
PARAMETERS = ("api_key", "xi_api_key", "xi-api-key", "token", "key")
SCHEMES = ("bearer ", "token ")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Guard:
    keys: tuple[str, ...] = ()  # none: no key is asked for
    origins: tuple[str, ...] = ()  # of web pages that may speak to us beside our own; "*" is all
    open: bool = False  # whoever comes may come, by the operator's leave

    def admit(self, connection: HTTPConnection) -> None:
        """Raises `Unauthorized` or `ForbiddenOrigin`."""
        self.admit_origin(connection)
        if not self.knows(*presented(connection)):
            raise Unauthorized("a key is needed here, and none that fits was given", field="api_key")

    def admit_origin(self, connection: HTTPConnection) -> None:
        origin = connection.headers.get("origin")
        if origin is not None and not self.allows(origin, connection.headers.get("host", "")):
            raise ForbiddenOrigin("this server does not serve pages of that origin", field="origin")

    def allows(self, origin: str, host: str) -> bool:
        """Our own pages, those of this machine, those the operator named.

        A page is our own if it came from the host it speaks to.  Where neither a key nor the operator's leave stands
        behind it, that host must be an address and no name: a name can be made to point here by whoever owns it.
        """
        if "*" in self.origins or origin in self.origins:
            return True
        try:
            parts = urlsplit(origin)
            name = parts.hostname
        except ValueError:  # a browser writes no such origin
            return False
        if parts.scheme not in ("http", "https") or name is None:
            return False
        trusted = bool(self.keys) or self.open or is_address(name)
        return name in LOOPBACK or (parts.netloc == host and trusted)

    def knows(self, *keys: str) -> bool:
        """Whether one of the keys opens this server; compared in constant time."""
        return not self.keys or any(
            hmac.compare_digest(key.encode(), known.encode()) for key in keys for known in self.keys
        )


def is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def presented(connection: HTTPConnection) -> Iterator[str]:
    """Every key the peer gave."""
    authorization = connection.headers.get("authorization", "")
    for scheme in SCHEMES:
        if authorization.lower().startswith(scheme):
            yield lettered(authorization[len(scheme) :].strip())
    yield from (lettered(connection.headers[name]) for name in HEADERS if name in connection.headers)
    yield from (connection.query_params[name] for name in PARAMETERS if name in connection.query_params)


def lettered(value: str) -> str:
    """A header's bytes, which come one a character, as the UTF-8 that a key is written in."""
    return value.encode("latin-1").decode("utf-8", "replace")
