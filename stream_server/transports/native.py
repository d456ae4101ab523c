"""Where the native protocol is spoken: `/v1/stream`."""

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.websockets import WebSocket

from stream_server.audio.format import FORMATS
from stream_server.errors import ProtocolError, StreamServerError
from stream_server.protocols.native import NAME, Native
from stream_server.transports.house import House
from stream_server.transports.surface import retry_header, socket_route


def routes(house: House) -> list[BaseRoute]:
    def dialect(socket: WebSocket) -> Native:
        if NAME not in socket.scope.get("subprotocols", []):
            raise ProtocolError(f"this server speaks the subprotocol {NAME}", field="subprotocol")
        return Native(house.engine.spec, house.limits, FORMATS)

    return [socket_route("/v1/stream", dialect, house, error, NAME)]


def error(error: StreamServerError) -> Response:
    told = {"code": error.code, "message": error.message, "field": error.field}
    return JSONResponse({"error": told}, error.http_status, retry_header(error))
