"""Wyoming, the protocol of Home Assistant and Rhasspy: its events ↔ commands and events.

No I/O, no clock, no session.  An event is a line of JSON, then as many bytes of JSON data and of payload as the line
says.  Wyoming names no contexts: one utterance follows the other, so they are counted here.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event as WireEvent
from wyoming.event import write_event
from wyoming.info import Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart, SynthesizeStop, SynthesizeStopped

from stream_server import __version__
from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import MessageTooLarge, ProtocolError
from stream_server.events import Audio, Command, Done, End, Event, Failed, Mark, PushText, Settings, Start, Started
from stream_server.limits import Limits
from stream_server.protocols.schema import Message, refusal
from stream_server.protocols.voices import VoiceBook

T = TypeVar("T")

#: Raw PCM, as fast as it is taken: what Home Assistant hands it on to may collect the whole before it plays a sample.
SPEECH = Settings(format=AudioFormat("pcm_s16le"), paced=False)
WIDTH, CHANNELS = 2, 1  # of a sample, in bytes; of the sound
LANGUAGES = ["en"]  # what `text/` reads
MAKER = Attribution(name="stream-server", url="")


class _Lenient(Message):
    """Peers of other versions say more than we know of."""

    model_config = ConfigDict(extra="ignore")


_Length = Annotated[int, Field(ge=0)] | None


class _Header(_Lenient):
    type: str
    data: dict[str, Any] | None = None
    data_length: _Length = None
    payload_length: _Length = None

    @property
    def rest(self) -> int:
        """Bytes that follow the line."""
        return (self.data_length or 0) + (self.payload_length or 0)


class _Voice(_Lenient):
    name: str | None = None  # without it, a language alone: any voice will do


class _Start(_Lenient):
    voice: _Voice | None = None
    text_format: Literal["text"] | None = None

    def settings(self, voices: VoiceBook, spec: ModelSpec) -> Settings:
        return replace(SPEECH, voice=voices.find(self.voice.name if self.voice else None, spec))


class _Chunk(_Lenient):
    text: str


class _Synthesize(_Start, _Chunk):
    pass


_HEADER = TypeAdapter(_Header)
_DATA: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
_SYNTHESIZE, _START, _CHUNK = TypeAdapter(_Synthesize), TypeAdapter(_Start), TypeAdapter(_Chunk)


class Inbox:
    """Bytes as they come → whole events.  Holds one event at most, and what came behind it in the same piece."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.message_bytes  # of line, data and payload together
        self._bytes = bytearray()
        self._searched = 0  # bytes known to hold no end of line
        self._header: _Header | None = None

    def push(self, data: bytes) -> Iterator[WireEvent]:
        """Raises `ProtocolError`, `InvalidSetting` or `MessageTooLarge`: then what follows makes no sense either."""
        self._bytes += data
        while (event := self._take()) is not None:
            yield event

    def _take(self) -> WireEvent | None:
        if self._header is None:
            self._header = self._take_header()
        header = self._header
        if header is None or len(self._bytes) < header.rest:
            return None
        block = bytes(self._bytes[: header.data_length or 0])
        del self._bytes[: header.rest]
        self._header = None
        return WireEvent(header.type, (header.data or {}) | (_checked(_DATA, block) if block else {}))

    def _take_header(self) -> _Header | None:
        end = self._bytes.find(b"\n", self._searched)
        self._searched = len(self._bytes) if end < 0 else 0
        self._bound(self._searched if end < 0 else end)
        if end < 0:
            return None
        header = _checked(_HEADER, bytes(self._bytes[:end]))
        del self._bytes[: end + 1]
        self._bound(end + header.rest)
        return header

    def _bound(self, length: int) -> None:
        if length > self._limit:
            raise MessageTooLarge("the event is too large", limit=self._limit)


class Conversation:
    """One connection: which utterance its next event is about, and how far the one being answered has come."""

    def __init__(self, spec: Callable[[], ModelSpec], voices: VoiceBook) -> None:
        """spec: as it is now, for voices come and go."""
        self._spec = spec
        self._voices = voices
        self._names = map(str, count(1))
        self._open: str | None = None  # the context whose text is coming in pieces
        self._streamed: set[str] = set()  # contexts that are to end with `synthesize-stopped`
        self._rate = 0
        self._begun = False  # `audio-start` was said and `audio-stop` was not

    # What the peer says.

    def reply(self, event: WireEvent) -> bytes:
        """What is answered at once, whoever is speaking; to most nothing."""
        if Describe.is_type(event.type):
            return encode(info(self._spec()).event())
        if Ping.is_type(event.type):
            return encode(Pong(event.data.get("text")).event())
        return b""

    def commands(self, event: WireEvent) -> tuple[Command, ...]:
        """Events that are not known ask for nothing.  Raises `ProtocolError` or `InvalidSetting`."""
        if Synthesize.is_type(event.type):
            return () if self._open else self._whole(event)  # in a stream: its text again, for those who cannot stream
        if SynthesizeStart.is_type(event.type):
            return self._start(event)
        if SynthesizeChunk.is_type(event.type):
            return (PushText(self._stream(), _checked(_CHUNK, event.data).text),)
        if SynthesizeStop.is_type(event.type):
            context, self._open = self._stream(), None
            return (End(context),)
        return ()

    def _whole(self, event: WireEvent) -> tuple[Command, ...]:
        asked, context = _checked(_SYNTHESIZE, event.data), next(self._names)
        return Start(context, asked.settings(self._voices, self._spec())), PushText(context, asked.text), End(context)

    def _start(self, event: WireEvent) -> tuple[Command, ...]:
        if self._open:
            raise ProtocolError("the stream before is still open: send synthesize-stop first")
        asked = _checked(_START, event.data)
        self._open = next(self._names)
        self._streamed.add(self._open)
        return (Start(self._open, asked.settings(self._voices, self._spec())),)

    def _stream(self) -> str:
        if self._open is None:
            raise ProtocolError("no stream is open: send synthesize-start first")
        return self._open

    # What it is told.

    def serialize(self, events: Sequence[Event]) -> bytes:
        """Neighbouring pieces of sound go out as one; b"" where there is nothing a peer would be told."""
        return b"".join(encode(wire) for event in joined(events) for wire in self._told(event))

    def _told(self, event: Event) -> Iterator[WireEvent]:
        match event:
            case Started():
                self._rate = event.sample_rate
            case Audio():
                yield from self._begin()
                at = event.pts * 1000 // self._rate
                yield AudioChunk(self._rate, WIDTH, CHANNELS, event.data, timestamp=at).event()
            case Done():
                yield from self._begin()  # not one sample was said: still a whole answer
                self._begun = False
                yield AudioStop().event()
                if event.context in self._streamed:
                    self._streamed.remove(event.context)
                    yield SynthesizeStopped().event()
            case Failed():
                yield Error(reason(event), event.code).event()

    def _begin(self) -> Iterator[WireEvent]:
        if not self._begun:
            self._begun = True
            yield AudioStart(self._rate, WIDTH, CHANNELS).event()


def info(spec: ModelSpec) -> Info:
    """All that a client may choose from."""
    voices = [TtsVoice(name, MAKER, True, None, __version__, LANGUAGES) for name in spec.voices]
    about = f"Real-time speech synthesis ({spec.name})"
    return Info(tts=[TtsProgram("stream-server", MAKER, True, about, __version__, voices, True)])


def reason(failed: Failed) -> str:
    """One line for people, with the field and the limit in it: an error event has no place of their own for them."""
    named = failed.field is None or failed.message.startswith(failed.field)
    text = failed.message if named else f"{failed.field}: {failed.message}"
    text += "" if failed.limit is None else f" ({failed.limit})"
    return text if failed.retry_after is None else f"{text}; try again in {failed.retry_after:g} s"


def encode(event: WireEvent) -> bytes:
    """The package's own writing of it."""
    out = io.BytesIO()
    write_event(event, out)
    return out.getvalue()


def joined(events: Sequence[Event]) -> list[Event]:
    """Without marks, which Wyoming has no event for, and sound that follows sound put together."""
    told: list[Event] = []
    for event in events:
        last = told[-1] if told else None
        if isinstance(event, Audio) and isinstance(last, Audio):
            told[-1] = replace(last, duration=last.duration + event.duration, data=last.data + event.data)
        elif not isinstance(event, Mark):
            told.append(event)
    return told


def _checked(schema: TypeAdapter[T], found: bytes | dict[str, Any]) -> T:
    try:
        return schema.validate_json(found) if isinstance(found, bytes) else schema.validate_python(found)
    except ValidationError as error:
        raise refusal(error) from None
