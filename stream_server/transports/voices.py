"""Where voices are made, renamed and deleted: `/v1/voices`.  Listing them is another surface's."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from stream_server.audio.reference import read_reference
from stream_server.errors import CannotClone, IdleTimeout, Overloaded
from stream_server.limits import Limits
from stream_server.protocols.voices_api import (
    ChangeBody,
    NewVoiceBody,
    body_limit,
    described,
    read_change,
    read_new_voice,
)
from stream_server.transports.house import House
from stream_server.transports.native import error
from stream_server.transports.openapi import Operation, form_of
from stream_server.transports.surface import body_of, http_route
from stream_server.voices.maker import VoiceMaker

PATH = "/v1/voices"
ONE = PATH + "/{voice}"
RETRY_AFTER_S = 2.0


def routes(house: House) -> list[BaseRoute]:
    limits = house.limits
    room = Room(limits)

    async def make(request: Request) -> Response:
        maker = maker_of(house)
        kind = request.headers.get("content-type", "")
        most = body_limit(kind, limits)
        with room.taken():
            body = await in_time(request, most, limits.upload_s)
            asked = await asyncio.to_thread(read_new_voice, kind, body, limits)
            del body  # as large as the recording, which is there once more
            recording = await asyncio.to_thread(read_reference, asked.file, limits)
            made = await maker.make(asked.name, asked.text, recording, asked.consent)
        return JSONResponse(described(made), 201, {"location": f"{PATH}/{made.name}"})

    async def rename(request: Request) -> Response:
        maker = maker_of(house)
        new = read_change(await body_of(request, limits.message_bytes))
        return JSONResponse(described(await maker.rename(request.path_params["voice"], new)))

    async def delete(request: Request) -> Response:
        await maker_of(house).delete(request.path_params["voice"])
        return Response(status_code=204)

    return [
        http_route(PATH, make, house, error, ["POST"]),
        http_route(ONE, rename, house, error, ["PATCH"]),
        http_route(ONE, delete, house, error, ["DELETE"]),
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
    Operation("PATCH", ONE, "Rename a voice", ChangeBody, {"name": "bea"}, when="when it is done"),
    Operation("DELETE", ONE, "Delete a voice", answers={}, status=204),
)
