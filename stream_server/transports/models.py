"""`GET /v1/models`, a path that several protocols list their models at: who asks decides the list it gets."""

from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from stream_server.transports import elevenlabs, openai
from stream_server.transports.house import House
from stream_server.transports.surface import http_route

Lister = Callable[[House], Response]
LISTS: Mapping[str, Lister] = {
    "xi-api-key": elevenlabs.models
}  # a header that only one protocol's clients send → that protocol's list


def routes(house: House) -> list[BaseRoute]:
    async def models(request: Request) -> Response:
        lists = (lister for header, lister in LISTS.items() if header in request.headers)
        return next(lists, openai.models)(house)

    return [http_route("/v1/models", models, house, openai.error, public=True)]
