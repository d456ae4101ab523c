"""Cartesia's speech protocol: messages on a websocket, each with its context, and the bodies of its two POST forms.

Pure: no I/O, no clock, no session.  A context ends with the message that does not say `continue`, or with a cancel;
after that its id is free.  Whatever is wrong is told in a message, and the socket stays open.
"""

import json
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

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
    Settings,
    Start,
    Started,
)
from stream_server.limits import Limits
from stream_server.protocols.dialect import Act, Close, Reply
from stream_server.protocols.schema import Foreign, Seed, Speed, refusal
from stream_server.protocols.voices import VoiceBook

FAILED_IDS = 64  # contexts that an error ended, and whose text may still be coming
CHUNK_S = 0.1  # of speech in a message, after a short first one
IDLE_S = 330.0  # LiveKit keeps its sockets for five minutes and does not look whether they are still open
SPEEDS = {"slowest": -1.0, "slow": -0.5, "normal": 0.0, "fast": 0.5, "fastest": 1.0}  # of the older models
FASTEST = 1.5  # what 1 is on their scale, and its inverse is -1
Pace = Annotated[float, Field(ge=-1, le=1), BeforeValidator(lambda sent: SPEEDS.get(str(sent), sent))]
CODECS = {"pcm_s16le": "pcm_s16le", "pcm_f32le": "pcm_f32le", "pcm_mulaw": "mulaw", "pcm_alaw": "alaw"}


class OutputFormat(Foreign):
    """What the SDK asks for where its user asks for nothing."""

    container: Literal["raw", "wav", "mp3"] = "raw"
    encoding: Literal["pcm_s16le", "pcm_f32le", "pcm_mulaw", "pcm_alaw"] = "pcm_f32le"
    sample_rate: int = 44_100
    bit_rate: int | None = None

    def ours(self, chunk_s: float) -> AudioFormat:
        """Raises `UnsupportedFormat` or `InvalidSetting`."""
        if self.container == "raw":
            return AudioFormat(CODECS[self.encoding], self.sample_rate, chunk_s=chunk_s)
        return AudioFormat(self.container, self.sample_rate, self.bit_rate, chunk_s)


class GenerationConfig(Foreign):
    speed: Speed | None = None


class Controls(Foreign):
    speed: Pace = 0.0


class Voice(Foreign):
    """`{"mode": "id", "id": name}`, or the name alone; a voice of another mode has no name here."""

    id: str = ""
    mode: str = "id"
    controls: Controls = Field(Controls(), alias="__experimental_controls")

    @model_validator(mode="before")
    @classmethod
    def named(cls, voice: Any) -> Any:
        return {"id": voice} if isinstance(voice, str) else voice

    @property
    def name(self) -> str:
        return self.id or ("" if self.mode == "id" else self.mode)


class Addressed(Foreign):
    """As much of a message as tells whose it is."""

    context_id: str | None = None


class Request(Addressed):
    """A message, or the body of a POST."""

    transcript: str = ""
    voice: Voice = Voice()
    output_format: OutputFormat = OutputFormat()
    goes_on: bool = Field(False, alias="continue")
    flush: bool = False
    cancel: bool = False
    add_timestamps: bool = False
    generation_config: GenerationConfig = GenerationConfig()
    speed: Pace = 0.0
    seed: Seed | None = None

    def settings(self, voices: VoiceBook, spec: ModelSpec, paced: bool, chunk_s: float = CHUNK_S) -> Settings:
        """Raises a `ClientError`."""
        voice, format = voices.find(self.voice.name, spec), self.output_format.ours(chunk_s)
        speed = self.generation_config.speed or FASTEST ** (self.voice.controls.speed or self.speed)
        return Settings(voice, format, speed=speed, seed=self.seed, paced=paced)


def read_request(body: str | bytes) -> Request:
    """Raises a `ClientError`."""
    try:
        return Request.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None


def context_of(message: str | bytes) -> str | None:
    """Whose a message is that may be wrong otherwise."""
    try:
        return Addressed.model_validate_json(message).context_id
    except ValidationError:
        return None


class Timestamps:
    """Marks → words with a beginning and an end, each told when the next one begins."""

    def __init__(self) -> None:
        self._rate = 1
        self._word: Mark | None = None

    def hear(self, event: Event) -> dict[str, Any] | None:
        if isinstance(event, Started):
            self._rate = event.sample_rate
        elif isinstance(event, Mark):
            told, self._word = self._until(event.pts), event
            return told
        elif isinstance(event, Done):
            return self._until(event.samples)
        return None

    def _until(self, end: int) -> dict[str, Any] | None:
        word = self._word
        if word is None:
            return None
        return {"words": [word.word], "start": [self._seconds(word.pts)], "end": [self._seconds(end)]}

    def _seconds(self, pts: int) -> float:
        return round(pts / self._rate, 3)


@dataclass
class Speech:
    """One context: the client's id, ours, and how far it has come."""

    id: str
    name: str
    timestamps: Timestamps | None
    flushes: int = 0  # asked for
    flushed: int = 0  # told of
    ended: bool = False

    def obey(self, request: Request) -> Iterator[Command]:
        if request.transcript.strip():
            yield PushText(self.name, request.transcript)
        if not request.goes_on:
            self.ended = True
            yield End(self.name)
        elif request.flush:
            self.flushes += 1
            yield Flush(self.name)

    def tell(self, event: Event) -> Iterator[str]:
        if self.timestamps is not None and (words := self.timestamps.hear(event)) is not None:
            yield self._message("timestamps", word_timestamps=words)
        match event:
            case Audio() if event.data:
                flush = {"flush_id": self.flushed + 1} if self.flushes else {}
                yield self._message("chunk", data=b64encode(event.data).decode(), step_time=0.0, **flush)
            case Flushed():
                self.flushed += 1
                yield self._message("flush_done", flush_done=True, flush_id=self.flushed)
            case Done():
                yield self._message("done", done=True, status_code=200)
            case Failed():
                yield fault(event, self.id)

    def _message(self, kind: str, **fields: Any) -> str:
        return _json({"type": kind, "context_id": self.id, "done": False, "status_code": 206, **fields})


class Cartesia:
    """The dialect of `/tts/websocket`.  An error is its context's end: nothing of it follows."""

    def __init__(self, voices: VoiceBook, spec: Callable[[], ModelSpec], limits: Limits) -> None:
        """spec: as it is now, for voices come and go."""
        self.idle_timeout_s: float | None = max(IDLE_S, limits.idle_timeout_s)
        self._voices, self._spec, self._limits = voices, spec, limits
        self._names = map(str, count(1))
        self._speeches: dict[str, Speech] = {}  # by the client's id
        self._by_name: dict[str, Speech] = {}
        self._failed: deque[str] = deque(maxlen=FAILED_IDS)

    def greet(self) -> list[Act]:
        return []

    def receive(self, message: str | bytes) -> list[Act]:
        id = None
        try:
            self._check(message)
            id = context_of(message)
            return [*self._obey(read_request(message))]
        except StreamServerError as error:
            speech = self._speeches.get(id or "")
            return [fault(Failed.of(error, None), id) if speech is None else Refuse(speech.name, error)]

    def tell(self, event: Event) -> list[Act]:
        speech = self._by_name.get(event.context or "")
        if speech is None:
            return []
        if isinstance(event, Done | Cancelled | Failed):
            del self._by_name[speech.name]
            if self._speeches.get(speech.id) is speech:
                del self._speeches[speech.id]
                if isinstance(event, Failed) and not speech.ended:
                    self._failed.append(speech.id)
        return [*speech.tell(event)]

    def fail(self, error: StreamServerError) -> list[Reply]:
        return [fault(Failed.of(error, None), None), Close(error.ws_code, error.code)]

    def _check(self, message: str | bytes) -> None:
        size = len(message if isinstance(message, bytes) else message.encode(errors="replace"))
        if size > self._limits.message_bytes:
            raise MessageTooLarge("the message is too large", limit=self._limits.message_bytes)

    def _obey(self, request: Request) -> Iterator[Command]:
        id = request.context_id or ""
        speech = self._speeches.get(id)
        if request.cancel:
            if speech is not None:  # else it crossed the end of its context on the wire
                del self._speeches[speech.id]
                del self._by_name[speech.name]  # nothing of it is told any more
                yield Cancel(speech.name)
            elif id in self._failed:
                self._failed.remove(id)
        elif id in self._failed:  # the rest of a text that has been refused
            if not request.goes_on:
                self._failed.remove(id)
        elif speech is None:
            yield from self._open(request)
        elif not speech.ended:
            yield from speech.obey(request)
        elif request.transcript.strip():
            raise ProtocolError("this context has been ended: its text is complete", field="context_id")

    def _open(self, request: Request) -> Iterator[Command]:
        name = next(self._names)
        id = request.context_id or name
        if len(id) > self._limits.context_name_chars:
            raise InvalidSetting("the id is too long", field="context_id", limit=self._limits.context_name_chars)
        settings = request.settings(self._voices, self._spec(), paced=True)
        speech = Speech(id, name, Timestamps() if request.add_timestamps else None)
        self._speeches[id] = self._by_name[name] = speech
        yield Start(name, settings)
        yield from speech.obey(request)


class Lines:
    """The answer of `POST /tts/sse`: the messages of a socket as events."""

    def __init__(self, request: Request) -> None:
        self._speech = Speech(request.context_id or "1", "", Timestamps() if request.add_timestamps else None)

    def __call__(self, event: Event) -> bytes:
        return b"".join(_event(told) for told in self._speech.tell(event))


def sound(event: Event) -> bytes:
    """The answer of `POST /tts/bytes`."""
    return event.data if isinstance(event, Audio) else b""


def error_fields(failed: Failed, id: str | None) -> dict[str, Any]:
    limit = "" if failed.limit is None else f" ({failed.limit})"
    status = {"unknown_voice": 404, "unauthorized": 401, "forbidden_origin": 403, "overloaded": 503}.get(
        failed.code, 400
    )
    return {
        "type": "error",
        "context_id": id,
        "done": True,
        "status_code": 500 if failed.code in ("sequence_failed", "internal") else status,
        "error_code": failed.code,
        "title": failed.code.replace("_", " ").capitalize(),
        "message": failed.message + limit,
        "request_id": id,
    }


def fault(failed: Failed, id: str | None) -> str:
    return _json(error_fields(failed, id))


def _event(message: str) -> bytes:
    return f"event: {json.loads(message)['type']}\ndata: {message}\n\n".encode()


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
