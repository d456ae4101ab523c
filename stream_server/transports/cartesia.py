"""Where Cartesia's protocol is spoken: `/tts/websocket`, `/tts/bytes`, `/tts/sse`."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from stream_server.errors import StreamServerError
from stream_server.events import Event, Failed
from stream_server.protocols import cartesia
from stream_server.protocols.cartesia import Cartesia, Lines
from stream_server.transports.house import House
from stream_server.transports.openapi import Operation, sound_of
from stream_server.transports.surface import body_of, http_route, retry_header, socket_route
from stream_server.transports.utterance import speak

PATHS = ("/tts",)  # under them errors are told in this protocol's form
Pieces = Callable[[Event], bytes]


def routes(house: House) -> list[BaseRoute]:
    def dialect(socket: WebSocket) -> Cartesia:
        return Cartesia(house.voices, lambda: house.engine.spec, house.limits)

    async def answer(
        request: Request, make_pieces: Callable[[cartesia.Request], Pieces], media_type: str | None
    ) -> Response:
        asked = cartesia.read_request(await body_of(request, house.limits.message_bytes))
        settings = asked.settings(house.voices, house.engine.spec, paced=False)
        pieces = make_pieces(asked)
        return await speak(request, house, settings, asked.transcript, pieces, media_type or settings.format.media_type)

    async def sound(request: Request) -> Response:
        return await answer(request, lambda asked: cartesia.sound, None)

    async def lines(request: Request) -> Response:
        return await answer(request, Lines, "text/event-stream")

    return [
        socket_route("/tts/websocket", dialect, house, error),
        http_route("/tts/bytes", sound, house, error, ["POST"]),
        http_route("/tts/sse", lines, house, error, ["POST"]),
    ]


def error(error: StreamServerError) -> Response:
    fields = cartesia.error_fields(Failed.of(error, None), None)
    return JSONResponse(fields, error.http_status, retry_header(error))


EXAMPLE = {"transcript": "Hello there.", "output_format": {"container": "mp3", "sample_rate": 44_100}}
LINES = {"text/event-stream": {"type": "string"}}
OPERATIONS = (
    Operation(
        "POST",
        "/tts/bytes",
        "Cartesia: speak a text",
        cartesia.Request,
        EXAMPLE,
        answers=sound_of(("mp3", "wav", *cartesia.CODECS.values())),
    ),
    Operation("POST", "/tts/sse", "Cartesia: the same, as events", cartesia.Request, EXAMPLE, answers=LINES),
)
