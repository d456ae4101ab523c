"""Routes of a protocol: the guard before them, its own form of errors behind them."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from stream_server.errors import EngineDead, MessageTooLarge, Overloaded, StreamServerError
from stream_server.protocols.dialect import Dialect
from stream_server.transports.conversation import Conversation
from stream_server.transports.house import House
from stream_server.transports.utterance import Gone

log = logging.getLogger(__name__)
Handler = Callable[[Request], Awaitable[Response]]
Renderer = Callable[[StreamServerError], Response]  # an error as this protocol tells it


def http_route(
    path: str, handler: Handler, house: House, render: Renderer, methods: Sequence[str] = ("GET",), public: bool = False
) -> Route:
    return Route(path, guarded(handler, house, render, public), methods=list(methods))


def guarded(handler: Handler, house: House, render: Renderer, public: bool = False) -> Handler:
    """public: a key is not asked for, as clients give none where they only look around."""

    async def handle(request: Request) -> Response:
        try:
            house.guard.admit_origin(request) if public else house.guard.admit(request)
            return await handler(request)
        except StreamServerError as error:
            house.metrics.errors.labels(error.code).inc()
            return render(error)
        except (ClientDisconnect, Gone):
            return Response(status_code=499)  # which nobody hears

    return handle


def socket_route(
    path: str,
    make_dialect: Callable[[WebSocket], Dialect],
    house: House,
    render: Renderer,
    subprotocol: str | None = None,
    keyed_later: bool = False,
) -> WebSocketRoute:
    """keyed_later: the key may come in the first message; the dialect asks the guard then.

    What is wrong before the handshake, or with the socket's query (`make_dialect` raises), is said instead of opening.
    """

    async def converse(socket: WebSocket) -> None:
        try:
            house.guard.admit_origin(socket) if keyed_later else house.guard.admit(socket)
            check_room(house)
            dialect = make_dialect(socket)
        except StreamServerError as error:
            house.metrics.errors.labels(error.code).inc()
            await socket.send_denial_response(render(error))
            return
        with house.metrics.connected():
            await Conversation(socket, dialect, house, subprotocol).serve()

    return WebSocketRoute(path, converse)


def check_room(house: House) -> None:
    """Raises `EngineDead`, or `Overloaded` where there are too many connections."""
    if not house.engine.can_serve and not house.engine.recovering:
        raise EngineDead("the speech engine is not running", retry_after=1.0)
    if house.metrics.open_connections >= house.limits.connections:
        raise Overloaded("too many connections", field="connections", limit=house.limits.connections, retry_after=1.0)


async def body_of(request: Request, limit: int) -> bytes:
    """The whole body; raises `MessageTooLarge` as soon as there is more of it than that."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise MessageTooLarge("the body is too large", field="body", limit=limit)
    return bytes(body)


def retry_header(error: StreamServerError) -> dict[str, str]:
    """For 429 and 503: whole seconds, at least one."""
    return {} if error.retry_after is None else {"retry-after": str(max(1, round(error.retry_after)))}
