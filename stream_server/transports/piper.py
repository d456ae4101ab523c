"""Where Piper's HTTP request is answered: `POST /piper`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from stream_server.events import Audio, Event
from stream_server.protocols import piper
from stream_server.transports.house import House
from stream_server.transports.native import error
from stream_server.transports.openapi import Operation, sound_of
from stream_server.transports.surface import body_of, http_route
from stream_server.transports.utterance import speak


def routes(house: House) -> list[BaseRoute]:
    async def post(request: Request) -> Response:
        body = await body_of(request, house.limits.message_bytes)
        settings, text = piper.read_request(body, house.voices, house.engine.spec)
        return await speak(request, house, settings, text, sound, settings.format.media_type)

    return [http_route("/piper", post, house, error, ["POST"])]


def sound(event: Event) -> bytes:
    return event.data if isinstance(event, Audio) else b""


OPERATIONS = (
    Operation(
        "POST", "/piper", "Piper: speak a text", piper.Body, {"text": "Hello there."}, answers=sound_of(("wav",))
    ),
)
