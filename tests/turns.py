"""A listener's turns on a socket whose sound is all of a binary message, as Deepgram's is."""

import json
from typing import Any

from websockets.asyncio.client import ClientConnection


async def turn_of(socket: ClientConnection, kind: str = "Flushed") -> tuple[bytes, dict[str, Any]]:
    """Sound until a message of that kind, and the message."""
    sound = b""
    while True:
        message = await socket.recv()
        if isinstance(message, bytes):
            sound += message
        elif json.loads(message)["type"] == kind:
            return sound, json.loads(message)
