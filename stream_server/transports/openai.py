"""Where OpenAI's speech API is spoken: `/v1/audio/speech` and the lists around it."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from stream_server.errors import StreamServerError
from stream_server.protocols import openai
from stream_server.protocols.openai import Refusal, Speech
from stream_server.protocols.reference import largest
from stream_server.transports.house import House
from stream_server.transports.openapi import Operation, sound_of
from stream_server.transports.surface import body_of, http_route, retry_header
from stream_server.transports.utterance import speak

PATHS = ("/v1/audio", "/v1/models")  # what lies under them and is not there is answered in this protocol's form


def routes(house: House) -> list[BaseRoute]:
    async def speech(request: Request) -> Response:
        most = largest(house.limits.body_bytes, house.limits)
        asked = openai.read_speech(await body_of(request, most), house.limits)
        settings = asked.settings(house.voices, house.engine.spec)
        pieces = openai.lines if asked.stream_format == "sse" else openai.sound
        return await speak(request, house, settings, asked.input, pieces, asked.media_type)

    async def model(request: Request) -> Response:
        return JSONResponse(openai.model(request.path_params["name"], house.engine.spec))

    async def speech_models(request: Request) -> Response:
        return JSONResponse(openai.speech_models(house.engine.spec))

    async def voices(request: Request) -> Response:
        return JSONResponse(openai.voices(house.engine.spec, house.voices))

    async def anything(request: Request) -> Response:
        """What clients ask for to have a connection open before they need it."""
        return JSONResponse({"docs": "/docs"})

    return [
        http_route("/v1/audio/speech", speech, house, error, ["POST"]),
        http_route("/v1/audio/models", speech_models, house, error, public=True),
        http_route("/v1/audio/voices", voices, house, error, public=True),
        http_route("/v1/models/{name:path}", model, house, error, public=True),
        http_route("/v1/", anything, house, error, public=True),
    ]


def models(house: House) -> Response:
    return JSONResponse(openai.models(house.engine.spec))


def error(error: StreamServerError) -> Response:
    status = openai.status(error)
    challenge = {"www-authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(openai.refuse(error).model_dump(), status, {**retry_header(error), **challenge})


OPERATIONS = (
    Operation(
        "POST",
        "/v1/audio/speech",
        "OpenAI: speak a text",
        asks=Speech,
        example={"model": "tts-1", "input": "Hello there.", "voice": "alloy", "response_format": "mp3"},
        answers={**sound_of(openai.CODECS.values()), "text/event-stream": {"type": "string"}},
        refuses=Refusal,
    ),
    Operation("GET", "/v1/models", "OpenAI: the models", refuses=Refusal),
    Operation("GET", "/v1/models/{name}", "OpenAI: one model", refuses=Refusal),
    Operation("GET", "/v1/audio/models", "the models, as Open WebUI lists them", refuses=Refusal),
    Operation("GET", "/v1/audio/voices", "the voices, as Open WebUI lists them", refuses=Refusal),
)
