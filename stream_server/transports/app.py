"""The ASGI application: routes and nothing else."""

from itertools import chain

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stream_server.transports import cartesia, deepgram, elevenlabs, native, piper
from stream_server.transports.house import House
from stream_server.transports.page import page_routes


def make_app(house: House) -> Starlette:
    spoken = [protocol.routes(house) for protocol in (native, elevenlabs, cartesia, deepgram, piper)]
    return Starlette(routes=[*operations(house), *chain.from_iterable(spoken), *page_routes()])


def operations(house: House) -> list[BaseRoute]:
    """What a person or a machine watches the server by; no key is asked for."""
    engine, metrics = house.engine, house.metrics

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

    return [Route("/health", health), Route("/ready", ready), Route("/metrics", show_metrics)]
