"""What can go wrong on the listener's side of the wire.

StreamError
├── ServerError          the server said no: code, message, field, limit, retryable
├── ConnectionFailed     the socket is dead, and every context on it with it
│   └── Unreachable      there was never a socket
├── WireError            the server said something that the protocol does not allow
├── QueueOverflow        the program did not take a context's events
├── OpusMissing          no libopus on this machine
└── DeviceMissing        nothing here can play sound

Knows the messages people read; does not know where they are caught.
"""


class StreamError(Exception):
    """Anything this package raises on purpose."""


class ServerError(StreamError):
    """The server's own error.  `code` is stable, the message is for people; `limit` is the bound that was met."""

    def __init__(
        self,
        code: str,
        message: str,
        field: str | None = None,
        limit: float | str | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.field = field
        self.limit = limit
        self.retryable = retryable
        self.retry_after = retry_after  # s, where the server could tell


class ConnectionFailed(StreamError):
    """The connection ended before the context did."""


class Unreachable(ConnectionFailed):
    """No connection could be made at all."""


class WireError(StreamError):
    """The server broke the protocol."""


class QueueOverflow(StreamError):
    """A context's events were not taken, and there is no room for more."""


class OpusMissing(StreamError):
    """No libopus could be loaded."""


class DeviceMissing(StreamError):
    """No audio device can be opened."""
