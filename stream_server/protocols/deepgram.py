"""Deepgram's speech protocol, version 1: `/v1/speak` as a websocket and as a POST.

Pure: no I/O, no clock, no session.  There are no contexts on the wire, order is everything: a turn is the text up to a
`Flush`, and becomes a context of ours, so that all of its sound is out when `Flushed` is said.  Text of the next turn
waits until then.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import Field, TypeAdapter, ValidationError

from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import (
    ClientError,
    InvalidSetting,
    MessageTooLarge,
    ProtocolError,
    StreamServerError,
    TextTooLong,
    error_of,
)
from stream_server.events import Audio, Cancel, Done, End, Event, Failed, PushText, Settings, Start
from stream_server.limits import Limits
from stream_server.protocols.dialect import Act, Close, Reply
from stream_server.protocols.schema import Foreign, Speed, check_settings, refusal
from stream_server.protocols.voices import VoiceBook

CHUNK_S = 0.04  # of speech in a binary message
IDLE_S = 3_630.0  # LiveKit keeps its sockets for an hour and does not look whether they are still open
RAW = {"linear16": "pcm_s16le", "mulaw": "mulaw", "alaw": "alaw"}
FILES = {"mp3": "mp3", "opus": "ogg_opus", "flac": "flac", "aac": "aac"}
RATES = {"linear16": 24_000, "mulaw": 8_000, "alaw": 8_000}  # where none is asked for
CONTAINERS = {"linear16": ("wav", "none"), "opus": ("ogg",)}  # the default first; of others, none


class Query(Foreign):
    model: str = ""
    encoding: Literal["linear16", "mulaw", "alaw", "mp3", "opus", "flac", "aac"] | None = None
    container: Literal["none", "wav", "ogg"] | None = None
    sample_rate: int | None = None
    bit_rate: int | None = None
    speed: Speed = Settings.speed

    def spoken(self, voices: VoiceBook, spec: ModelSpec) -> Settings:
        """On a socket: raw sound, as it is played.  Raises a `ClientError`."""
        encoding = self.encoding or "linear16"
        if encoding not in RAW:
            raise InvalidSetting("encoding: not one for sockets", field="encoding", limit=", ".join(RAW))
        format = AudioFormat(RAW[encoding], self.sample_rate or RATES[encoding], chunk_s=CHUNK_S)
        settings = Settings(voices.find(self.model, spec), format, speed=self.speed)
        check_settings(settings, spec)  # now, and not with every turn
        return settings

    def posted(self, voices: VoiceBook, spec: ModelSpec) -> Settings:
        """As the answer to a POST: a file where nothing else is asked for, as fast as it is taken."""
        encoding = self.encoding or "mp3"
        containers = CONTAINERS.get(encoding, ("none",))
        container = self.container or containers[0]
        if container not in containers:
            raise InvalidSetting("container: not one of this encoding", field="container", limit=", ".join(containers))
        codec = "wav" if container == "wav" else FILES.get(encoding) or RAW[encoding]
        format = AudioFormat(codec, self.sample_rate or RATES.get(encoding), self.bit_rate)
        return Settings(voices.find(self.model, spec), format, speed=self.speed, paced=False)


def read_query(query: Mapping[str, str]) -> Query:
    """Raises a `ClientError`."""
    try:
        return Query.model_validate(dict(query))
    except ValidationError as error:
        raise refusal(error) from None


class Body(Foreign):
    text: str


def read_body(body: bytes) -> str:
    """The text of a POST; raises a `ClientError`."""
    try:
        return Body.model_validate_json(body).text
    except ValidationError as error:
        raise refusal(error) from None


class _Speak(Foreign):
    type: Literal["Speak"]
    text: str


class _Plain(Foreign):
    type: Literal["Flush", "Clear", "Close"]


_MESSAGES: TypeAdapter[_Speak | _Plain] = TypeAdapter(Annotated[_Speak | _Plain, Field(discriminator="type")])


@dataclass
class Turn:
    name: str
    texts: list[str] = field(default_factory=list)  # that wait for the turn before
    length: int = 0  # of all its text, in characters
    flushed: bool = False
    begun: bool = False
    lost: bool = False  # its text could not be spoken; the rest of it is passed over


class Deepgram:
    """The dialect.  The first turn of `_turns` is being spoken, the others wait."""

    def __init__(self, settings: Settings, model: str, limits: Limits) -> None:
        self.idle_timeout_s: float | None = max(IDLE_S, limits.idle_timeout_s)
        self._settings, self._model, self._limits = settings, model, limits
        self._names = map(str, count(1))
        self._sequence = count()
        self._turns: deque[Turn] = deque()
        self._closing = False

    def greet(self) -> list[Act]:
        version = {"model_name": self._model, "model_version": "1", "model_uuid": self._model}
        return [_json("Metadata", request_id=uuid4().hex, **version)]

    def receive(self, message: str | bytes) -> list[Act]:
        if self._closing:
            return []
        try:
            return [*self._obey(self._read(message))]
        except StreamServerError as error:
            return [warning(Failed.of(error, None))]

    def tell(self, event: Event) -> list[Act]:
        if not self._turns or event.context != self._turns[0].name:
            return []  # of a turn that was cleared
        match event:
            case Audio() if event.data:
                return [event.data]
            case Done():
                return self._end_turn()
            case Failed():
                return self._lose_turn(event)
        return []

    def fail(self, error: StreamServerError) -> list[Reply]:
        return [fault(Failed.of(error, None)), Close(error.ws_code, error.code)]

    def _read(self, message: str | bytes) -> _Speak | _Plain:
        if isinstance(message, bytes):
            raise ProtocolError("messages to the server are text, not binary")
        if len(message.encode(errors="replace")) > self._limits.message_bytes:
            raise MessageTooLarge("the message is too large", limit=self._limits.message_bytes)
        try:
            return _MESSAGES.validate_json(message)
        except ValidationError as error:
            raise refusal(error) from None

    def _obey(self, message: _Speak | _Plain) -> Iterator[Act]:
        match message.type:
            case "Speak":
                assert isinstance(message, _Speak)
                yield from self._say(message.text)
            case "Flush":
                yield from self._flush()
            case "Clear":
                yield from self._clear()
            case "Close":
                self._closing = True
                yield from self._flush() if self._turns and not self._turns[-1].flushed else self._last()

    def _say(self, text: str) -> Iterator[Act]:
        if not self._turns or self._turns[-1].flushed:
            yield from self._open()
        turn = self._turns[-1]
        if sum(turn.length for turn in self._turns) + len(text) > self._limits.text_chars_per_context:
            limit = self._limits.text_chars_per_context
            raise TextTooLong("text: too much is not yet spoken", field="text", limit=limit)
        turn.length += len(text)
        if turn.begun and not turn.lost:
            yield PushText(turn.name, text)
        elif not turn.begun:
            turn.texts.append(text)

    def _flush(self) -> Iterator[Act]:
        if not self._turns or self._turns[-1].flushed:
            yield from self._open()  # of nothing: it is answered in its turn like any other
        turn = self._turns[-1]
        turn.flushed = True
        if turn.lost:
            yield from self._end_turn()
        elif turn.begun:
            yield End(turn.name)

    def _open(self) -> Iterator[Act]:
        if len(self._turns) > self._limits.pending_flushes:
            raise ProtocolError("too many flushes at once", field="type", limit=self._limits.pending_flushes)
        self._turns.append(Turn(next(self._names)))
        yield from self._next()

    def _clear(self) -> Iterator[Act]:
        speaking = self._turns[0].name if self._turns else None
        self._turns.clear()
        if speaking is not None:
            yield Cancel(speaking)
        yield _json("Cleared", sequence_id=next(self._sequence))

    def _end_turn(self) -> list[Act]:
        """Commands come first: what is received while a reply is sent must find them carried out."""
        self._turns.popleft()
        return [*self._next(), _json("Flushed", sequence_id=next(self._sequence)), *self._last()]

    def _lose_turn(self, failed: Failed) -> list[Act]:
        """Text that cannot be spoken costs its turn.  For what is not its fault there is no word but the end."""
        error = error_of(failed.code, failed.message)
        if not isinstance(error, ClientError):
            return [fault(failed), Close(error.ws_code, failed.code)]
        turn = self._turns[0]
        turn.lost = True
        return [warning(failed), *(self._end_turn() if turn.flushed else [])]

    def _next(self) -> Iterator[Act]:
        """The turn that waited goes on."""
        if self._turns and not self._turns[0].begun:
            turn = self._turns[0]
            turn.begun = True
            yield Start(turn.name, self._settings)
            for text in turn.texts:
                yield PushText(turn.name, text)
            turn.texts.clear()
            if turn.flushed:
                yield End(turn.name)

    def _last(self) -> list[Act]:
        """After the last turn of a closing connection, its end."""
        return [Close()] if self._closing and not self._turns else []


def warning(failed: Failed) -> str:
    return _json("Warning", description=described(failed), code=failed.code.upper())


def fault(failed: Failed) -> str:
    return _json("Error", description=described(failed), code=failed.code.upper())


def error_body(error: StreamServerError) -> dict[str, Any]:
    failed = Failed.of(error, None)
    return {"err_code": error.code.upper(), "err_msg": described(failed), "request_id": uuid4().hex}


def described(failed: Failed) -> str:
    return failed.message + ("" if failed.limit is None else f" ({failed.limit})")


def sound(event: Event) -> bytes:
    return event.data if isinstance(event, Audio) else b""


def _json(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
