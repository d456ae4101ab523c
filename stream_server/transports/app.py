"""The ASGI application: routes and nothing else."""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from stream_server.engine.client import Engine
from stream_server.limits import Limits
from stream_server.metrics import Metrics
from stream_server.transports.native_socket import SUBPROTOCOL, NativeSocket
from stream_server.transports.page import page_routes


def make_app(engine: Engine, limits: Limits, metrics: Metrics) -> Starlette:
    async def health(request: Request) -> Response:
        """Alive: the front answers and its engine lives."""
        return JSONResponse({"alive": engine.alive}, 200 if engine.alive else 503)

    async def ready(request: Request) -> Response:
        """Can serve now: one more context would be admitted."""
        speaking, room = engine.admission.inside, engine.room
        can = engine.alive and speaking < room
        return JSONResponse({"ready": can, "speaking": speaking, "room": room}, 200 if can else 503)

    async def show_metrics(request: Request) -> Response:
        metrics.running.set(engine.load.running)
        metrics.waiting.set(engine.load.waiting)
        metrics.speaking.set(engine.admission.inside)
        metrics.room.set(engine.room)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def stream(socket: WebSocket) -> None:
        refusal = refuse(socket, engine, metrics.open_connections, limits)
        if refusal is not None:
            await socket.send_denial_response(refusal)
            return
        with metrics.connected():
            await NativeSocket(socket, engine, limits, metrics).serve()

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", show_metrics),
            WebSocketRoute("/v1/stream", stream),
            *page_routes(),
        ]
    )


def refuse(socket: WebSocket, engine: Engine, connections: int, limits: Limits) -> Response | None:
    """What is said instead of opening the socket, before the handshake."""
    if SUBPROTOCOL not in socket.scope.get("subprotocols", []):
        return error(400, "protocol_error", f"this server speaks the subprotocol {SUBPROTOCOL}", "subprotocol")
    if not engine.alive:
        return error(503, "engine_dead", "the speech engine is not running", None)
    if connections >= limits.connections:
        return error(503, "overloaded", f"no more than {limits.connections} connections", "connections")
    return None


def error(status: int, code: str, message: str, field: str | None) -> Response:
    headers = {"retry-after": "1"} if status == 503 else None
    return JSONResponse({"error": {"code": code, "message": message, "field": field}}, status, headers)
