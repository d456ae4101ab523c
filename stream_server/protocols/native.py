"""`stream-server.v1`, the websocket protocol of docs/protocol.md: its messages ↔ commands and events.

Pure functions: no I/O, no clock, no session.  Whether a context exists, and what its text comes to, is not known here.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, ValidationError

from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import InvalidSetting, MessageTooLarge, ProtocolError, StreamServerError
from stream_server.events import (
    Audio,
    Cancel,
    Cancelled,
    Command,
    Done,
    End,
    Event,
    Failed,
    Flush,
    Flushed,
    Mark,
    PushText,
    Refuse,
    ReportPlayed,
    SetSpeed,
    Settings,
    Start,
    Started,
)
from stream_server.limits import Limits
from stream_server.protocols.dialect import Act, Close, Reply
from stream_server.protocols.reference import Reference, check_size, largest
from stream_server.protocols.schema import Manner, Message, Samples, Speed, refusal

NAME = "stream-server.v1"

AUDIO_KIND = 1
AUDIO_HEADER = struct.Struct(">BBHIQI")  # kind, reserved, context number, sequence, pts, duration

_DEFAULTS = Limits()
_LIMITS_TOLD = (
    "message_bytes",
    "text_chars_per_context",
    "context_name_chars",
    "contexts_per_connection",
    "pending_flushes",
    "idle_timeout_s",
    "slow_reader_s",
    "lead_s",
    "unsent_s",
    "inline_reference_bytes",
)
_EVENT_TYPES = {
    Started: "started",
    Mark: "mark",
    Flushed: "flushed",
    Done: "done",
    Cancelled: "cancelled",
    Failed: "error",
}


class _Named(Message):
    context: Annotated[str, StringConstraints(min_length=1)]


class _Start(Manner, _Named):
    type: Literal["start"]
    format: str = Settings.format.codec
    output_rate: int | None = None
    bit_rate: int | None = None
    paced: bool = Settings.paced
    reference: Reference | None = None

    def command(self) -> Command:
        plain = self.model_dump(exclude={"type", "context", "format", "output_rate", "bit_rate", "reference"})
        reference = None if self.reference is None else self.reference.recording()
        return Start(self.context, Settings(format=self._audio_format(), reference=reference, **plain))

    def _audio_format(self) -> AudioFormat:
        """Its rate is called `output_rate` here: `sample_rate` is the model's."""
        try:
            return AudioFormat(self.format, self.output_rate, self.bit_rate)
        except InvalidSetting as error:
            field = "output_rate" if error.field == "sample_rate" else error.field
            raise InvalidSetting(error.message, field=field, limit=error.limit) from None


class _Text(_Named):
    type: Literal["text"]
    text: str

    def command(self) -> Command:
        return PushText(self.context, self.text)


class _Flush(_Named):
    type: Literal["flush"]

    def command(self) -> Command:
        return Flush(self.context)


class _End(_Named):
    type: Literal["end"]

    def command(self) -> Command:
        return End(self.context)


class _Cancel(_Named):
    type: Literal["cancel"]
    played: Samples | None = None

    def command(self) -> Command:
        return Cancel(self.context, self.played)


class _Played(_Named):
    type: Literal["played"]
    played: Samples

    def command(self) -> Command:
        return ReportPlayed(self.context, self.played)


class _Speed(_Named):
    type: Literal["speed"]
    speed: Speed

    def command(self) -> Command:
        return SetSpeed(self.context, self.speed)


_Incoming = _Start | _Text | _Flush | _End | _Cancel | _Played | _Speed
_MESSAGES: TypeAdapter[_Incoming] = TypeAdapter(Annotated[_Incoming, Field(discriminator="type")])


class _Addressed(BaseModel):
    context: str


class Native:
    """The dialect: names of contexts are the client's own."""

    idle_timeout_s: float | None = None

    def __init__(self, spec: ModelSpec, limits: Limits, formats: Sequence[str]) -> None:
        self._limits = limits
        self._hello = hello(spec, limits, formats)

    def greet(self) -> list[Act]:
        return [self._hello]

    def receive(self, message: str | bytes) -> list[Act]:
        """What is wrong with a message ends its context; what belongs to none is raised."""
        try:
            return [parse(message, self._limits)]
        except StreamServerError as error:
            context = None if isinstance(error, MessageTooLarge) else context_of(message, self._limits)
            if context is None:
                raise
            return [Refuse(context, error)]

    def tell(self, event: Event) -> list[Act]:
        return [serialize(event)]

    def fail(self, error: StreamServerError) -> list[Reply]:
        return [serialize(Failed.of(error, None)), Close(error.ws_code, error.code)]


def hello(spec: ModelSpec, limits: Limits, formats: Sequence[str]) -> str:
    """What the server says first: all that a client may choose from."""
    told = asdict(limits)
    return _json(
        "hello",
        {
            "protocol": NAME,
            "model": spec.name,
            "voices": spec.voices,
            "formats": formats,
            "sample_rates": spec.sample_rates,
            "cloning": spec.cloning,
            "limits": {name: told[name] for name in _LIMITS_TOLD},
        },
    )


def parse(message: str | bytes, limits: Limits = _DEFAULTS) -> Command:
    """One message of a client, or a ClientError; `context_of` tells whom that concerns."""
    if isinstance(message, bytes):
        raise ProtocolError("messages to the server are text, not binary")
    encoded = _utf8(message)
    if len(encoded) > largest(limits.message_bytes, limits):
        raise MessageTooLarge("the message is too large", limit=limits.message_bytes)
    try:
        incoming = _MESSAGES.validate_json(encoded)
    except ValidationError as error:
        if len(encoded) > limits.message_bytes and not concerns_start(error):
            raise MessageTooLarge("the message is too large", limit=limits.message_bytes) from None
        raise refusal(error) from None
    reference = incoming.reference if isinstance(incoming, _Start) else None
    check_size(len(encoded), reference, limits.message_bytes, limits)
    command = incoming.command()
    if len(command.context) > limits.context_name_chars:
        raise InvalidSetting("context: the name is too long", field="context", limit=limits.context_name_chars)
    return command


def concerns_start(error: ValidationError) -> bool:
    return error.errors(include_url=False, include_input=False)[0]["loc"][:1] == ("start",)


def context_of(message: str | bytes, limits: Limits = _DEFAULTS) -> str | None:
    """The context that a message refused by `parse` was about, where that can be told; else the whole connection."""
    if isinstance(message, bytes) or len(message) > largest(limits.message_bytes, limits):
        return None
    try:
        name = _Addressed.model_validate_json(_utf8(message), strict=True).context
    except (ValidationError, ProtocolError):
        return None
    return name if 0 < len(name) <= limits.context_name_chars else None


def serialize(event: Event) -> str | bytes:
    """Audio is binary, everything else JSON with every field, null where there is nothing to say."""
    if isinstance(event, Audio):
        header = AUDIO_HEADER.pack(AUDIO_KIND, 0, event.number, event.sequence, event.pts, event.duration)
        return header + event.data
    fields = asdict(event)
    if isinstance(event, Done):
        fields["timing"]["ttfa"] = event.timing.ttfa
        fields["timing"] = {name: round(seconds, 6) for name, seconds in fields["timing"].items()}
        fields["wall"] = round(event.wall, 6)
    return _json(_EVENT_TYPES[type(event)], fields)


def _json(kind: str, fields: dict[str, Any]) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _utf8(message: str) -> bytes:
    try:
        return message.encode()
    except UnicodeEncodeError:
        raise ProtocolError("not UTF-8: half a surrogate pair is no character") from None
