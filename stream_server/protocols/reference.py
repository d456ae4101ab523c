"""A recording that comes with what is to be spoken: base64 within a JSON message, which may be longer by that alone."""

import base64

from stream_server.errors import MessageTooLarge, ProtocolError
from stream_server.events import Recording
from stream_server.limits import Limits
from stream_server.protocols.schema import Message

STRETCH = 1 << 18  # characters of base64, a multiple of four: well under a millisecond


class Reference(Message):
    """A file of somebody speaking, in base64, and what is said in it, word for word."""

    audio: str
    text: str

    def recording(self) -> Recording:
        """Raises `ProtocolError`."""
        try:
            return Recording(unpacked(self.audio), self.text)
        except ValueError:
            raise ProtocolError("audio: not base64", field="audio") from None


def unpacked(text: str) -> bytes:
    """base64 → bytes, a stretch at a time, so that other threads are not kept waiting.  Raises ValueError."""
    if 0 <= text.find("=") < len(text) - 2:  # within each stretch it would pass for an end
        raise ValueError
    stretches = (text[at : at + STRETCH] for at in range(0, len(text), STRETCH))
    return b"".join(base64.b64decode(stretch, validate=True) for stretch in stretches)


def largest(rest: int, limits: Limits) -> int:
    """Bytes of a message that has a recording and may have `rest` beside it; some writers escape every slash."""
    return limits.inline_reference_bytes * 4 // 3 * 17 // 16 + rest


def check_size(size: int, reference: Reference | None, rest: int, limits: Limits, field: str | None = None) -> None:
    """Of a message in bytes, and of what it has beside its recording.  Raises `MessageTooLarge`."""
    if reference is not None:
        size -= len(reference.audio) + reference.audio.count("/")
        if len(reference.audio) * 3 // 4 > limits.inline_reference_bytes + 2:
            most = limits.inline_reference_bytes
            raise MessageTooLarge("the recording's file is too large", field="reference", limit=most)
    if size > rest:
        raise MessageTooLarge("the message is too large", field=field, limit=rest)
