"""The ASGI application: routes, what is said where there is none, and what every HTTP answer has around it."""

from itertools import chain

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from stream_server.errors import StreamServerError, UnknownPath, WrongMethod
from stream_server.transports import cartesia, deepgram, elevenlabs, models, native, openai, openapi, piper, voices
from stream_server.transports.cors import Cors
from stream_server.transports.house import House
from stream_server.transports.page import page_routes
from stream_server.transports.request_id import RequestId
from stream_server.transports.surface import Renderer

DESCRIBED = (openai, elevenlabs, cartesia, deepgram, piper, models, voices)
OPERATIONS = tuple(chain(*(each.OPERATIONS for each in DESCRIBED)))
PROTOCOLS = (native, models, openai, elevenlabs, cartesia, deepgram, piper, voices)
RENDERERS: tuple[tuple[str, Renderer], ...] = (
    *((path, openai.error) for path in openai.PATHS),
    *((path, elevenlabs.error) for path in elevenlabs.PATHS),
    *((path, cartesia.error) for path in cartesia.PATHS),
    *((path, deepgram.error) for path in deepgram.PATHS),
)  # what a path begins with → the form in which its errors are told; the native one elsewhere


def make_app(house: House) -> ASGIApp:
    spoken = chain.from_iterable(protocol.routes(house) for protocol in PROTOCOLS)
    app = Starlette(
        routes=[*operations(house), *openapi.routes(OPERATIONS), *spoken, NO_SOCKET, *page_routes()],
        exception_handlers={HTTPException: nowhere, Exception: broken},
    )
    return RequestId(Cors(app, house.guard))


async def nowhere(request: Request, refusal: Exception) -> Response:
    """Starlette found no route, or none for that method."""
    assert isinstance(refusal, HTTPException)
    error: StreamServerError = UnknownPath("nothing is served here", field="path")
    if refusal.status_code == 405:
        error = WrongMethod("not by this method", field="method", limit=(refusal.headers or {}).get("Allow"))
    answer = renderer_of(request)(error)
    answer.headers.update(refusal.headers or {})
    return answer


async def no_socket(socket: WebSocket) -> None:
    """Starlette by itself would say 403, as if a key were wrong."""
    await socket.send_denial_response(renderer_of(socket)(UnknownPath("nothing is served here", field="path")))


NO_SOCKET = WebSocketRoute("/{path:path}", no_socket)


async def broken(request: Request, defect: Exception) -> Response:
    return renderer_of(request)(StreamServerError("something broke in the server"))


def renderer_of(request: HTTPConnection) -> Renderer:
    return next((render for path, render in RENDERERS if request.url.path.startswith(path)), native.error)


def operations(house: House) -> list[BaseRoute]:
    """What a person or a machine watches the server by; no key is asked for."""
    engine, metrics = house.engine, house.metrics

    async def health(request: Request) -> Response:
        """Alive: the front answers, and its engine lives or was let go of."""
        return JSONResponse({"alive": engine.can_serve}, 200 if engine.can_serve else 503)

    async def ready(request: Request) -> Response:
        """One more context would be admitted; where it is not `loaded`, it waits for the model to load."""
        speaking, room = engine.admission.inside, engine.room
        can = engine.can_serve and speaking < room
        told = {"ready": can, "loaded": engine.alive, "speaking": speaking, "room": room}
        return JSONResponse(told, 200 if can else 503)

    async def show_metrics(request: Request) -> Response:
        metrics.show_load(engine.load)
        metrics.speaking.set(engine.admission.inside)
        metrics.room.set(engine.room)
        metrics.show_memory(engine.alive, engine.memory, engine.pid)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return [Route("/health", health), Route("/ready", ready), Route("/metrics", show_metrics)]
