"""Who may come in: keys, and the web pages that may speak to us.

A key may stand wherever the clients people use put it.  Without keys everybody on the machine may come, but no web
page from elsewhere: a browser lets any page reach a server on its own machine.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
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
        """Our own pages, those of this machine, those the operator named."""
        if "*" in self.origins or origin in self.origins:
            return True
        try:
            parts = urlsplit(origin)
            name = parts.hostname
        except ValueError:  # a browser writes no such origin
            return False
        return parts.scheme in ("http", "https") and (name in LOOPBACK or (name is not None and parts.netloc == host))

    def knows(self, *keys: str) -> bool:
        """Whether one of the keys opens this server; compared in constant time."""
        return not self.keys or any(
            hmac.compare_digest(key.encode(), known.encode()) for key in keys for known in self.keys
        )


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
