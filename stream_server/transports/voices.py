"""Where voices are made, renamed and deleted: `/v1/voices`, our own way and ElevenLabs'.  Listing is another surface's.

Both delete at one address: who brings an `xi-api-key` is answered as ElevenLabs answers.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stream_server.audio.reference import FIELD, read_reference
from stream_server.errors import CannotClone, IdleTimeout, Overloaded, StreamServerError
from stream_server.limits import Limits
from stream_server.protocols.elevenlabs import new_voice
from stream_server.protocols.voices_api import (
    ChangeBody,
    NewVoice,
    NewVoiceBody,
    body_limit,
    described,
    read_change,
    read_new_voice,
)
from stream_server.transports import elevenlabs
from stream_server.transports.house import House
from stream_server.transports.native import error
from stream_server.transports.openapi import Operation, form_of
from stream_server.transports.surface import body_of, guarded, http_route
from stream_server.voices.maker import VoiceMaker
from stream_server.voices.store import Listed

PATH = "/v1/voices"
ADD = PATH + "/add"
ONE = PATH + "/{voice}"
RETRY_AFTER_S = 2.0


def routes(house: House) -> list[BaseRoute]:
    limits = house.limits
    room = Room(limits)

    async def made_of(request: Request, read: Callable[[str, bytes, Limits], NewVoice]) -> Listed:
        maker = maker_of(house)
        kind = request.headers.get("content-type", "")
        most = body_limit(kind, limits)
        with room.taken():
            body = await in_time(request, most, limits.upload_s)
            asked = await asyncio.to_thread(read, kind, body, limits)
            del body  # as large as the recording, which is there once more
            recording = await asyncio.to_thread(read_reference, asked.file, limits)
            return await maker.make(asked.name, asked.text, recording, asked.consent)

    async def make(request: Request) -> Response:
        made = await made_of(request, read_new_voice)
        return JSONResponse(described(made), 201, {"location": f"{PATH}/{made.name}"})

    async def add(request: Request) -> Response:
        try:
            made = await made_of(request, new_voice.read_new_voice)
        except StreamServerError as error:
            if error.field == FIELD:
                error.field = new_voice.FILE
            raise
        return JSONResponse(new_voice.added(made.name))

    async def rename(request: Request) -> Response:
        maker = maker_of(house)
        new = read_change(await body_of(request, limits.message_bytes))
        return JSONResponse(described(await maker.rename(request.path_params["voice"], new)))

    async def delete(request: Request) -> Response:
        await maker_of(house).delete(request.path_params["voice"])
        return Response(status_code=204)

    async def delete_theirs(request: Request) -> Response:
        await delete(request)
        return JSONResponse(new_voice.DELETED)

    ours, theirs = guarded(delete, house, error), guarded(delete_theirs, house, elevenlabs.error)

    async def either(request: Request) -> Response:
        return await (theirs if elevenlabs.KEY in request.headers else ours)(request)

    return [
        http_route(PATH, make, house, error, ["POST"]),
        http_route(ADD, add, house, elevenlabs.error, ["POST"]),
        http_route(ONE, rename, house, error, ["PATCH"]),
        Route(ONE, either, methods=["DELETE"]),
    ]


def maker_of(house: House) -> VoiceMaker:
    """Raises `CannotClone`."""
    if house.maker is None:
        raise CannotClone("this model has voices of its own alone: none can be made, renamed or deleted", field="model")
    return house.maker


class Room:
    """For so many recordings at a time: each is held in memory, and decoded by a process of its own."""

    def __init__(self, limits: Limits) -> None:
        self.most, self.inside = limits.uploads, 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        if self.inside >= self.most:
            raise Overloaded(
                "too many voices are being made", field="uploads", limit=self.most, retry_after=RETRY_AFTER_S
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


async def in_time(request: Request, most: int, seconds: float) -> bytes:
    """Raises `MessageTooLarge`, or `IdleTimeout` where the body is too long on its way."""
    try:
        async with asyncio.timeout(seconds):
            return await body_of(request, most)
    except TimeoutError:
        raise IdleTimeout("the recording did not come in time", field="upload_s", limit=seconds) from None


OPERATIONS = (
    Operation(
        "POST",
        PATH,
        "Make a voice of a recording and what is said in it",
        NewVoiceBody,
        {"name": "anna", "text": "What is said in it.", "file": "UklGRg==", "consent": "hers, 1 May"},
        form=form_of(("name", "text", "consent"), ("file",), optional=("consent",)),
        status=201,
        when="when it can be spoken in",
    ),
    Operation(
        "POST",
        ADD,
        "ElevenLabs: make a voice of a recording and, not theirs, what is said in it",
        form=form_of(("name", "text", "consent"), (new_voice.FILE,), optional=("consent",)),
        when="when it can be spoken in",
    ),
    Operation("PATCH", ONE, "Rename a voice", ChangeBody, {"name": "bea"}, when="when it is done"),
    Operation("DELETE", ONE, "Delete a voice (with an xi-api-key: ElevenLabs')", answers={}, status=204),
)
