"""The wire `stream-server.v1` as plain values: `parse` reads what a server says, `command` writes what a client says.

Knows the messages, their fields and types, and the binary header.  Does no I/O, keeps no state, and does not know
which message may follow which.

Fields that it does not know are left aside, so that a newer server may say more; a message or a type that it does
not know is an error.
"""

import dataclasses
import json
import struct
import types
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Union, get_args, get_origin, get_type_hints

from stream_client.errors import WireError

SUBPROTOCOL = "stream-server.v1"
AUDIO_KIND = 1
HEADER = struct.Struct(">BBHIQI")  # kind, reserved, context number, sequence, pts, duration


class Settings(TypedDict, total=False):
    """How a context is to sound; what is left out is the server's choice."""

    voice: str
    format: str  # one of hello's; this client decodes opus, pcm_s16le and wav
    sample_rate: int
    speed: float
    seed: int
    temperature: float
    top_k: int
    use_cache: bool
    carry_over: bool
    paced: bool  # spoken as it is played (the default), or as fast as it is taken
    pronunciations: dict[str, str]  # what is written → how it is said


@dataclass(frozen=True)
class Hello:
    """What the server can do; its first message."""

    protocol: str
    model: str
    voices: tuple[str, ...]
    formats: tuple[str, ...]
    sample_rates: tuple[int, ...]
    limits: dict[str, Any]


@dataclass(frozen=True)
class Started:
    """What a context got, with every default filled in.  `pre_skip` counts samples as decoded."""

    context: str
    number: int  # what audio messages call the context
    voice: str
    format: str
    sample_rate: int  # that `pts`, `duration` and `played` are counted in
    seed: int
    pre_skip: int = 0


@dataclass(frozen=True)
class Packet:
    """One audio message.  `pts` and `duration` count samples of speech at the context's sample rate."""

    number: int
    sequence: int
    pts: int
    duration: int
    data: bytes


@dataclass(frozen=True)
class Mark:
    """A word begins at `pts`; `start` and `end` say where it stands in the context's text, in characters."""

    context: str
    word: str
    start: int
    end: int
    pts: int


@dataclass(frozen=True)
class Flushed:
    """All that was sent before a `flush` has been spoken; it ends at `pts`."""

    context: str
    pts: int


@dataclass(frozen=True)
class Done:
    """All was spoken.  `timing` is the server's split of the time to first audio, in seconds."""

    context: str
    samples: int
    tokens: int
    words: int
    seed: int
    reason: str
    underruns: int = 0  # by the server's reckoning
    timing: dict[str, float] = dataclasses.field(default_factory=dict)
    wall: float = 0.0


@dataclass(frozen=True)
class Cancelled:
    """The context was interrupted, and nothing of it follows; `heard` and `unheard` share out its text."""

    context: str
    sent: int
    played: int | None = None
    heard: str | None = None
    unheard: str | None = None


@dataclass(frozen=True)
class Failed:
    """An error; without a context it is about the whole connection."""

    code: str
    message: str
    context: str | None = None
    field: str | None = None
    limit: float | str | None = None
    retryable: bool = False
    retry_after: float | None = None  # s


ServerMessage = Hello | Started | Packet | Mark | Flushed | Done | Cancelled | Failed
Message = TypeVar("Message")

MESSAGES: dict[str, type[Hello | Started | Mark | Flushed | Done | Cancelled | Failed]] = {
    "hello": Hello,
    "started": Started,
    "mark": Mark,
    "flushed": Flushed,
    "done": Done,
    "cancelled": Cancelled,
    "error": Failed,
}


def command(kind: str, context: str, **fields: object) -> str:
    """One client message; a field that is None is left out."""
    said = {name: value for name, value in fields.items() if value is not None}
    return json.dumps({"type": kind, "context": context, **said}, ensure_ascii=False, separators=(",", ":"))


def parse(message: str | bytes) -> ServerMessage:
    return _parse_audio(message) if isinstance(message, bytes) else _parse_json(message)


def _parse_audio(message: bytes) -> Packet:
    if len(message) <= HEADER.size:
        raise WireError(f"an audio message of {len(message)} bytes: the header takes {HEADER.size}, audio must follow")
    kind, reserved, number, sequence, pts, duration = HEADER.unpack_from(message)
    if kind != AUDIO_KIND or reserved != 0:
        raise WireError(f"a binary message of unknown kind {kind}/{reserved}")
    return Packet(number, sequence, pts, duration, message[HEADER.size :])


def _parse_json(message: str) -> ServerMessage:
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a message that is not JSON: {message[:80]!r}") from error
    kind = fields.get("type") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in MESSAGES:
        raise WireError(f"a message of unknown type: {message[:80]!r}")
    parsed = _build(MESSAGES[kind], kind, fields)
    if isinstance(parsed, Started) and parsed.sample_rate == 0:
        raise WireError("started: sample_rate is 0")
    return parsed


def _build(into: type[Message], kind: str, fields: dict[str, Any]) -> Message:
    hints = get_type_hints(into)
    values = {name: value for name, value in fields.items() if name in hints}
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise WireError(f"{kind}: {name} cannot be {value!r}")
        if isinstance(value, list):
            values[name] = tuple(value)
    try:
        return into(**values)
    except TypeError as error:
        missing = ", ".join(name for name in hints if name not in values)
        raise WireError(f"{kind}: fields are missing (of {missing})") from error


def _fits(value: object, hint: Any) -> bool:
    """Whether a JSON value is of a field's type.  No integer of this protocol is negative, and none is a bool."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, choice) for choice in inner)
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint and not (isinstance(value, int) and value < 0)
