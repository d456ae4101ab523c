"""The vocabulary of the front: what a listener can ask (commands) and what it is told (events).

Protocols translate these to and from the wire; the session makes and takes them.  Positions (`pts`) are samples
since the context's first sample, at the context's sample rate.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_server.audio.format import AudioFormat
from stream_server.errors import StreamServerError


@dataclass(frozen=True)
class Recording:
    """Somebody who speaks, as it came: a file of sound, and what is said in it."""

    file: bytes = field(repr=False)
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256(hashlib.sha256(self.file).digest() + self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Settings:
    """How a context is to sound, as asked; None takes the server's default."""

    voice: str | None = None
    format: AudioFormat = AudioFormat("opus")
    sample_rate: int | None = None
    speed: float = 1.0
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    use_cache: bool = True
    carry_over: bool | None = None
    paced: bool = True  # spoken as it is played; else as fast as it is taken
    reference: Recording | None = None  # whose voice it is to have, in the place of `voice`
    pronunciations: Mapping[str, str] = field(default_factory=dict)  # what is written → how it is said


# Commands.  Every one belongs to a context, named by the listener.


@dataclass(frozen=True)
class Start:
    context: str
    settings: Settings


@dataclass(frozen=True)
class PushText:
    context: str
    text: str


@dataclass(frozen=True)
class Flush:
    """Speak what is there; more text may follow."""

    context: str


@dataclass(frozen=True)
class End:
    """No more text: speak the rest and finish."""

    context: str


@dataclass(frozen=True)
class Cancel:
    """Barge-in.  `played` is how many samples the listener has heard, where its player knows."""

    context: str
    played: int | None = None


@dataclass(frozen=True)
class ReportPlayed:
    context: str
    played: int


@dataclass(frozen=True)
class SetSpeed:
    context: str
    speed: float


@dataclass(frozen=True)
class Refuse:
    """What came for this context was wrong: it ends with the error."""

    context: str
    error: StreamServerError


Command = Start | PushText | Flush | End | Cancel | ReportPlayed | SetSpeed | Refuse


# Events.


@dataclass(frozen=True)
class Started:
    context: str
    number: int  # what audio messages call this context
    voice: str
    format: str  # the codec's name
    sample_rate: int  # the model's
    seed: int
    pre_skip: int  # samples to drop at the beginning, at the rate of the encoded sound (Opus at 32 kHz: 48 000)


@dataclass(frozen=True)
class Audio:
    """A piece of encoded sound.  `pts` and `duration` count samples of speech: what the codec adds is not in them.

    A first piece may be lead-in alone, of duration 0.
    """

    context: str
    number: int
    sequence: int  # 0, 1, 2 … within the context
    pts: int
    duration: int
    data: bytes


@dataclass(frozen=True)
class Mark:
    """A word begins at `pts`; `start` and `end` are where it stands in the context's text, in characters."""

    context: str
    word: str
    start: int
    end: int
    pts: int


@dataclass(frozen=True)
class Flushed:
    """All that was typed before a flush has been spoken: the sample at which it ends.

    An encoder may still hold the last of it, less than a packet.
    """

    context: str
    pts: int


@dataclass(frozen=True)
class Timing:
    """Where the time to first audio went, seconds; the parts add up to `ttfa`."""

    text_wait: float = 0.0  # for enough text to begin
    queue: float = 0.0  # for a slot
    prefill: float = 0.0
    first_token: float = 0.0
    vocoder: float = 0.0
    encode: float = 0.0
    send: float = 0.0

    @property
    def ttfa(self) -> float:
        return sum((self.text_wait, self.queue, self.prefill, self.first_token, self.vocoder, self.encode, self.send))


@dataclass(frozen=True)
class Done:
    context: str
    samples: int  # of speech, in all
    tokens: int
    words: int
    seed: int
    reason: str  # done or truncated
    underruns: int = 0  # times the listener had nothing left to play though the text was there
    timing: Timing = field(default_factory=Timing)
    wall: float = 0.0  # seconds from the first text to the last packet


@dataclass(frozen=True)
class Cancelled:
    """The last a listener hears of a context it interrupted: nothing of it follows."""

    context: str
    sent: int  # samples handed to the transport
    played: int | None  # as reported, never more than sent
    heard: str | None  # text that was heard, by `played` (a word counts once it has begun)
    unheard: str | None


@dataclass(frozen=True)
class Failed:
    """An error; without a context it is about the whole connection."""

    context: str | None
    code: str
    message: str
    field: str | None = None
    limit: float | str | None = None
    retryable: bool = False
    retry_after: float | None = None  # s

    @classmethod
    def of(cls, error: StreamServerError, context: str | None) -> "Failed":
        return cls(context, error.code, error.message, error.field, error.limit, error.retryable, error.retry_after)


Event = Started | Audio | Mark | Flushed | Done | Cancelled | Failed
