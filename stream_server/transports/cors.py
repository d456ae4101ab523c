"""What browsers ask before a page of another origin may use an HTTP answer of ours; the guard decides whose may.

Around every HTTP route, errors included.  Sockets pass: a browser asks nothing before it opens one, and the guard looks
at them itself.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_server.transports.guard import Guard

METHODS = "GET, POST, PATCH, DELETE, OPTIONS"
HEADERS = "authorization, content-type, xi-api-key, x-api-key"  # where a page does not say which it will send
EXPOSED = "x-request-id, request-id, retry-after"
REMEMBER_S = 600  # how long a browser need not ask again


class Cors:
    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        asked = Headers(scope=scope)
        origin = asked.get("origin")
        allowed = origin is not None and self._guard.allows(origin, asked.get("host", ""))

        async def send_headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("origin")
                if allowed and origin is not None:
                    headers["access-control-allow-origin"] = origin
                    headers["access-control-expose-headers"] = EXPOSED
            await send(message)

        if scope["method"] == "OPTIONS" and "access-control-request-method" in asked:
            await preflight(asked, allowed)(scope, receive, send_headed)
        else:
            await self._app(scope, receive, send_headed)


def preflight(asked: Headers, allowed: bool) -> Response:
    """A page whose origin is welcome may send what headers it likes: clients in browsers add their own."""
    if not allowed:
        return PlainTextResponse("this server does not serve pages of that origin", 403)
    told = {
        "access-control-allow-methods": METHODS,
        "access-control-allow-headers": asked.get("access-control-request-headers") or HEADERS,
        "access-control-max-age": str(REMEMBER_S),
    }
    return Response(status_code=204, headers=told)
