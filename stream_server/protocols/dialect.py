"""What every websocket protocol is to the transport: messages in, acts out; events in, acts out.

A dialect lives as long as its connection and keeps what the protocol itself needs remembered (whose context is whose,
what was flushed).  It does no I/O and has no clock.  Names of contexts are its own: the transport knows them as they
stand in its commands, one at a time each.
"""

from dataclasses import dataclass
from typing import Protocol

from stream_server.errors import StreamServerError
from stream_server.events import Command, Event


@dataclass(frozen=True)
class Close:
    """The connection ends, in good order or with an error's code; said last."""

    code: int = 1000
    reason: str = ""


Reply = str | bytes | Close
Act = Command | Reply  # commands are carried out, replies are sent, both in their order


class Dialect(Protocol):
    idle_timeout_s: float | None  # silence of both sides after which the connection is closed; None: the server's limit

    def greet(self) -> list[Act]:
        """What is said before the client has said anything."""
        ...

    def receive(self, message: str | bytes) -> list[Act]:
        """Raises a `StreamServerError` where the message ends the whole connection."""
        ...

    def tell(self, event: Event) -> list[Act]:
        """What an event is in this protocol; commands it leads to may concern other contexts."""
        ...

    def fail(self, error: StreamServerError) -> list[Reply]:
        """The last words of a connection that an error ends; a `Close` stands last."""
        ...
