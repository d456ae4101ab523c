"""Where ElevenLabs' protocols are spoken: `/v1/text-to-speech/{voice}…` and what its clients look up beside it.

`GET /v1/models` is not here: another protocol has that address too.
"""

from collections.abc import Callable
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from stream_server.errors import StreamServerError
from stream_server.events import Audio, Event
from stream_server.protocols.dialect import Dialect
from stream_server.protocols.elevenlabs import http
from stream_server.protocols.elevenlabs.formats import DEFAULT, FORMATS
from stream_server.protocols.elevenlabs.messages import read_query
from stream_server.protocols.elevenlabs.multi import Multi
from stream_server.protocols.elevenlabs.single import Single
from stream_server.protocols.elevenlabs.socket import Refused
from stream_server.transports.guard import presented
from stream_server.transports.house import House
from stream_server.transports.openapi import Operation, sound_of
from stream_server.transports.surface import Handler, body_of, http_route, retry_header, socket_route
from stream_server.transports.utterance import speak

PATHS = ("/v1/text-to-speech", "/v1/voices", "/v2/voices")  # under them errors are told in this protocol's form
KEY = "xi-api-key"  # the header that their clients alone send
SPEECH = "/v1/text-to-speech/{voice}"
Pieces = Callable[[Event], bytes]


def routes(house: House) -> list[BaseRoute]:
    return [*sockets(house), *speech(house), *choices(house)]


def sockets(house: House) -> list[BaseRoute]:
    def dialect(kind: type[Single | Multi]) -> Callable[[WebSocket], Dialect]:
        def make(socket: WebSocket) -> Dialect:
            try:
                voice = house.voices.find(socket.path_params["voice"], house.engine.spec)
                options = read_query(socket.query_params, voice, house.limits)
            except StreamServerError as error:
                return Refused(error)
            knows = house.guard.knows
            return kind(options, house.limits, knows, knows(*presented(socket)))

        return make

    paths: dict[str, type[Single | Multi]] = {f"{SPEECH}/stream-input": Single, f"{SPEECH}/multi-stream-input": Multi}
    return [socket_route(path, dialect(kind), house, error, keyed_later=True) for path, kind in paths.items()]


def speech(house: House) -> list[BaseRoute]:
    """Sound alone, or with its text's times: the two that are called streams answer no differently from those not."""

    async def sound(request: Request) -> Response:
        return await answer(request, lambda text: data_of, None)

    async def timed_lines(request: Request) -> Response:
        return await answer(request, http.TimedLines, "application/json")

    async def timed_whole(request: Request) -> Response:
        return await answer(request, http.TimedWhole, "application/json")

    async def answer(request: Request, make_pieces: Callable[[str], Pieces], media_type: str | None) -> Response:
        voice = house.voices.find(request.path_params["voice"], house.engine.spec)
        body = await body_of(request, house.limits.message_bytes)
        settings, text = http.read_request(body, request.query_params, voice)
        media_type = media_type or settings.format.media_type
        headers = {"request-id": uuid4().hex}
        return await speak(request, house, settings, http.speakable(text), make_pieces(text), media_type, headers)

    handlers: dict[str, Handler] = {
        SPEECH: sound,
        f"{SPEECH}/stream": sound,
        f"{SPEECH}/with-timestamps": timed_whole,
        f"{SPEECH}/stream/with-timestamps": timed_lines,
    }
    return [http_route(path, handler, house, error, ["POST"]) for path, handler in handlers.items()]


def choices(house: House) -> list[BaseRoute]:
    """What there is to choose from; some clients ask it without their key."""

    async def voices(request: Request) -> Response:
        return JSONResponse(http.voices(house.engine.spec))

    async def voices_page(request: Request) -> Response:
        return JSONResponse(http.voices_page(house.engine.spec))

    async def voice(request: Request) -> Response:
        spec = house.engine.spec
        return JSONResponse(http.voice(house.voices.find(request.path_params["voice"], spec), spec))

    handlers: dict[str, Handler] = {"/v1/voices": voices, "/v2/voices": voices_page, "/v1/voices/{voice}": voice}
    return [http_route(path, handler, house, error, public=True) for path, handler in handlers.items()]


def models(house: House) -> Response:
    return JSONResponse(http.models(house.engine.spec))


def data_of(event: Event) -> bytes:
    return event.data if isinstance(event, Audio) else b""


def error(error: StreamServerError) -> Response:
    return JSONResponse(http.error_body(error), error.http_status, retry_header(error))


QUERY = {"output_format": {"type": "string", "enum": [*FORMATS], "default": DEFAULT}}
EXAMPLE = {"text": "Hello there.", "voice_settings": {"speed": 1.0}}
TIMED = {"application/json": {"type": "object"}}
SOUND = sound_of(format.codec for format in FORMATS.values())
OPERATIONS = (
    Operation("POST", SPEECH, "ElevenLabs: speak a text", http.Body, EXAMPLE, QUERY, SOUND),
    Operation("POST", f"{SPEECH}/stream", "ElevenLabs: the same", http.Body, EXAMPLE, QUERY, SOUND),
    Operation("POST", f"{SPEECH}/with-timestamps", "ElevenLabs: with times", http.Body, EXAMPLE, QUERY, TIMED),
    Operation(
        "POST",
        f"{SPEECH}/stream/with-timestamps",
        "ElevenLabs: with times, by the line",
        http.Body,
        EXAMPLE,
        QUERY,
        TIMED,
    ),
    Operation("GET", "/v1/voices", "ElevenLabs: the voices"),
    Operation("GET", "/v2/voices", "ElevenLabs: the voices, a page of them"),
    Operation("GET", "/v1/voices/{voice}", "ElevenLabs: a voice"),
)
