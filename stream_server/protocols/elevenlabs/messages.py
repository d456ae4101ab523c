"""What crosses ElevenLabs' websockets: a client's messages, a socket's query, and ours, which are JSON text."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AliasChoices, Field, ValidationError

from stream_server.audio.format import AudioFormat
from stream_server.errors import MessageTooLarge, ProtocolError, StreamServerError
from stream_server.events import Failed
from stream_server.limits import Limits
from stream_server.protocols.dialect import Close, Reply
from stream_server.protocols.elevenlabs.alignment import Piece, Span
from stream_server.protocols.elevenlabs.formats import DEFAULT, find_format
from stream_server.protocols.schema import Foreign, Seed, refusal

SLOWEST, FASTEST = 0.7, 1.2  # of theirs; what is beyond is taken for the nearer
IDLE_S = 20.0  # where a client names no other
POLICY = 1008  # the code they close with for all that is a client's doing
REASON_BYTES = 123  # of a close frame

# Their names for our codes; others keep ours.
ERRORS = {
    "unauthorized": "invalid_api_key",
    "unknown_voice": "voice_not_found",
    "idle_timeout": "input_timeout_exceeded",
    "overloaded": "max_active_conversations",
    "too_many_contexts": "max_active_conversations",
    "unsupported_format": "invalid_output_format",
    "protocol_error": "invalid_input_message",
    "invalid_setting": "invalid_input_message",
    "invalid_pronunciation": "invalid_input_message",
}


class VoiceSettings(Foreign):
    """Stability, similarity, style and boost are of their models: ours have none."""

    speed: float | None = None

    def our_speed(self) -> float | None:
        return None if self.speed is None else min(max(self.speed, SLOWEST), FASTEST)


class GenerationConfig(Foreign):
    """Their schedule of lengths is not asked: speech begins as soon as there is a word."""

    seed: Seed | None = None


class Incoming(Foreign):
    """Any message of either socket."""

    text: str | None = None
    context_id: Annotated[str, Field(min_length=1)] | None = None
    flush: bool = False
    close_context: bool = False
    close_socket: bool = False
    voice_settings: VoiceSettings = VoiceSettings()
    generation_config: GenerationConfig = GenerationConfig()
    seed: Seed | None = None
    api_key: str | None = Field(None, validation_alias=AliasChoices("xi_api_key", "xi-api-key"))
    authorization: str | None = None

    @property
    def presented(self) -> list[str]:
        bearer = (self.authorization or "").removeprefix("Bearer ")
        return [key for key in (self.api_key, bearer) if key]


class _Query(Foreign):
    output_format: str = DEFAULT
    enable_ssml_parsing: bool = False
    inactivity_timeout: Annotated[float, Field(gt=0)] = IDLE_S
    seed: Seed | None = None


@dataclass(frozen=True)
class Options:
    """How a socket's texts are to be spoken."""

    voice: str
    format: AudioFormat
    idle_timeout_s: float = IDLE_S
    markup: bool = False
    seed: int | None = None


def read_query(query: Mapping[str, str], voice: str, limits: Limits) -> Options:
    """Raises a `ClientError`."""
    try:
        asked = _Query.model_validate({name: value for name, value in query.items() if value})
    except ValidationError as error:
        raise refusal(error) from None
    idle_s = min(asked.inactivity_timeout, limits.idle_timeout_s)
    return Options(voice, find_format(asked.output_format), idle_s, asked.enable_ssml_parsing, asked.seed)


def read_message(message: str | bytes, limits: Limits) -> Incoming:
    """Raises a `ClientError`, which ends the connection."""
    if isinstance(message, bytes):
        raise ProtocolError("messages to the server are text, not binary")
    if len(message) > limits.message_bytes or len(encoded := _utf8(message)) > limits.message_bytes:
        raise MessageTooLarge("the message is too large", field="message", limit=limits.message_bytes)
    try:
        return Incoming.model_validate_json(encoded)
    except ValidationError as error:
        raise refusal(error) from None


def sound(piece: Piece, sample_rate: int, context: str | None = None) -> str:
    """Both alignments are the one with the text as it was sent: words are told by that, however they are read out."""
    told = None if piece.span is None else alignment(piece.span, sample_rate)
    fields = {"isFinal": None, "alignment": told, "normalizedAlignment": told}
    return _json({"audio": base64.b64encode(piece.data).decode() if piece.data else None, **fields, **_of(context)})


def final(context: str | None = None) -> str:
    return _json({"audio": None, "isFinal": True, **_of(context)})


def failure(failed: Failed, context: str | None = None) -> str:
    told = {"message": words_of(failed), "error": ERRORS.get(failed.code, failed.code), "code": POLICY}
    return _json({**told, **_of(context)})


def last_words(failed: Failed) -> list[Reply]:
    """Of a connection that an error ends.  The SDK, which was sending, may see no more than the close frame."""
    reason = words_of(failed).encode()[:REASON_BYTES].decode(errors="ignore")
    return [failure(failed), Close(POLICY, reason)]


def words_of(error: Failed | StreamServerError) -> str:
    """With the field and its limit, for there is no other place for them."""
    about = f"{error.field}: " if error.field and not error.message.startswith(f"{error.field}:") else ""
    limit = "" if error.limit is None else f" (limit: {error.limit})"
    return f"{about}{error.message}{limit}"


def alignment(span: Span, sample_rate: int) -> dict[str, list[Any]]:
    """Milliseconds from where the span begins."""
    begin = _ms(span.begin, sample_rate)
    starts = [_ms(start, sample_rate) - begin for start in span.starts]
    ends = [*starts[1:], _ms(span.end, sample_rate) - begin]
    durations = [end - start for start, end in zip(starts, ends)]
    return {"chars": list(span.text), "charStartTimesMs": starts, "charDurationsMs": durations}


def _ms(samples: int, sample_rate: int) -> int:
    return 1000 * samples // sample_rate


def _of(context: str | None) -> dict[str, str]:
    return {} if context is None else {"contextId": context}


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _utf8(message: str) -> bytes:
    try:
        return message.encode()
    except UnicodeEncodeError:
        raise ProtocolError("not UTF-8: half a surrogate pair is no character") from None
