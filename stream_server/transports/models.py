"""`/v1/models`: the list, in the form of the protocol that asks, and `/v1/models/release`, which empties the memory."""

from collections.abc import Callable, Mapping

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from stream_server.errors import InvalidSetting
from stream_server.transports import elevenlabs, native, openai
from stream_server.transports.house import House
from stream_server.transports.openapi import Operation
from stream_server.transports.surface import body_of, http_route

PATH = "/v1/models"
Lister = Callable[[House], Response]
LISTS: Mapping[str, Lister] = {
    elevenlabs.KEY: elevenlabs.models
}  # a header that only one protocol's clients send → that protocol's list


class Release(BaseModel):
    model_config = ConfigDict(extra="forbid")

    force: StrictBool = False  # end what is being spoken


OPERATIONS = (
    Operation(
        "POST",
        f"{PATH}/release",
        "Let go of the model and its memory, until somebody speaks",
        Release,
        {"force": False},
        when="when it is gone",
    ),
)


def routes(house: House) -> list[BaseRoute]:
    async def models(request: Request) -> Response:
        lists = (lister for header, lister in LISTS.items() if header in request.headers)
        return next(lists, openai.models)(house)

    async def release(request: Request) -> Response:
        """Answers when the memory is free."""
        asked = read_release(await body_of(request, house.limits.body_bytes))
        await house.engine.release(asked.force)
        return JSONResponse({"released": True})

    return [
        http_route(PATH, models, house, openai.error, public=True),
        http_route(f"{PATH}/release", release, house, native.error, methods=("POST",)),
    ]


def read_release(body: bytes) -> Release:
    """Raises `InvalidSetting`; no body asks for the defaults."""
    try:
        return Release.model_validate_json(body or b"{}")
    except ValidationError:
        raise InvalidSetting('the body may be {"force": true} or {"force": false}', field="force") from None
