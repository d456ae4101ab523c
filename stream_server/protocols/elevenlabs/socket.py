"""What both websockets share: who may speak, what a message is, how a connection ends."""

from collections.abc import Callable

from stream_server.errors import StreamServerError, Unauthorized
from stream_server.events import Event, Failed
from stream_server.limits import Limits
from stream_server.protocols.dialect import Act, Reply
from stream_server.protocols.elevenlabs.messages import Incoming, Options, last_words, read_message


class Socket:
    def __init__(self, options: Options, limits: Limits, opens: Callable[..., bool], keyed: bool) -> None:
        """opens: whether one of some keys opens this server; keyed: whether one came with the handshake, and did."""
        self.idle_timeout_s: float | None = options.idle_timeout_s
        self._options = options
        self._limits = limits
        self._opens = opens
        self._keyed = keyed

    def greet(self) -> list[Act]:
        return []

    def fail(self, error: StreamServerError) -> list[Reply]:
        return last_words(Failed.of(error, None))

    def _read(self, message: str | bytes) -> Incoming:
        """Raises a `ClientError`; the key may be in the first message."""
        incoming = read_message(message, self._limits)
        self._keyed = self._keyed or self._opens(*incoming.presented)
        if not self._keyed:
            raise Unauthorized("a key is needed here, and none that fits was given", field="xi-api-key")
        return incoming


class Refused:
    """A socket asked for in a way that cannot be: clients read an error from a message, not from a handshake."""

    idle_timeout_s: float | None = None

    def __init__(self, error: StreamServerError) -> None:
        self._error = error

    def greet(self) -> list[Act]:
        raise self._error

    def receive(self, message: str | bytes) -> list[Act]:
        return []

    def tell(self, event: Event) -> list[Act]:
        return []

    def fail(self, error: StreamServerError) -> list[Reply]:
        return last_words(Failed.of(error, None))
