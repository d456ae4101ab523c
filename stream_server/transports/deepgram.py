"""Where Deepgram's protocol is spoken: `/v1/speak`, as a websocket and as a POST."""

from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from stream_server.errors import StreamServerError
from stream_server.protocols import deepgram
from stream_server.protocols.deepgram import Deepgram
from stream_server.transports.house import House
from stream_server.transports.openapi import Operation, sound_of
from stream_server.transports.surface import body_of, http_route, retry_header, socket_route
from stream_server.transports.utterance import speak

PATHS = ("/v1/speak",)  # under them errors are told in this protocol's form


def routes(house: House) -> list[BaseRoute]:
    def dialect(socket: WebSocket) -> Deepgram:
        query = deepgram.read_query(socket.query_params)
        return Deepgram(query.spoken(house.voices, house.engine.spec), query.model, house.limits)

    async def post(request: Request) -> Response:
        settings = deepgram.read_query(request.query_params).posted(house.voices, house.engine.spec)
        text = deepgram.read_body(await body_of(request, house.limits.message_bytes))
        headers = {"dg-request-id": uuid4().hex}
        return await speak(request, house, settings, text, deepgram.sound, settings.format.media_type, headers)

    return [
        socket_route("/v1/speak", dialect, house, error),
        http_route("/v1/speak", post, house, error, ["POST"]),
    ]


def error(error: StreamServerError) -> Response:
    return JSONResponse(deepgram.error_body(error), error.http_status, retry_header(error))


QUERY = {
    name: {"type": kind} for name, kind in (("model", "string"), ("encoding", "string"), ("sample_rate", "integer"))
}
OPERATIONS = (
    Operation(
        "POST",
        "/v1/speak",
        "Deepgram: speak a text",
        deepgram.Body,
        {"text": "Hello there."},
        QUERY,
        sound_of((*deepgram.FILES.values(), "wav", *deepgram.RAW.values())),
    ),
)
