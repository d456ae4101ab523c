"""OpenAI's speech API: a request's body → settings and text; events → sound or lines of SSE; errors → their JSON.

Pure functions: no I/O, no clock, no session.  What `instructions` asks for, and which model is named, means nothing
here.
"""

import json
from base64 import b64encode
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError, WithJsonSchema, field_validator

from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import StreamServerError, TextTooLong, UnknownModel
from stream_server.events import Audio, Done, Event, Settings
from stream_server.limits import Limits
from stream_server.protocols.reference import Reference, check_size
from stream_server.protocols.schema import Foreign, Seed, Speed, refusal
from stream_server.protocols.voices import VoiceBook

ResponseFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
CODECS = {"mp3": "mp3", "opus": "ogg_opus", "aac": "aac", "flac": "flac", "wav": "wav", "pcm": "pcm_s16le"}
PCM_RATE = 24_000  # Hz; raw PCM cannot say its rate, so it is the one that clients take for granted
CHUNK_S = {"audio": 0.04, "sse": 0.1}  # a line of SSE costs its reader more than a piece of a body
MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")  # names that clients have built in; all are the one model there is

# The type of an error by its status; where there is none, it is the request's fault.
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
STATUSES = {"unknown_voice": 400, "text_too_long": 400}  # an error's code → its status, where theirs is not ours
PARAMS = {"text": "input", "format": "response_format"}  # our name of a field → theirs
VOICE = {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"id": {"type": "string"}}}]}


class Speech(Foreign):
    """The body of `POST /v1/audio/speech`."""

    input: Annotated[str, StringConstraints(min_length=1), Field(description="What to say.")]
    model: str = Field("", description="Any name: there is one model.")
    voice: Annotated[str, WithJsonSchema(VOICE)] = Field(
        "", description="A voice of this server, or OpenAI's name of one."
    )
    response_format: ResponseFormat = Field("mp3", description="opus is Ogg Opus; pcm is 24 kHz, 16 bits, mono.")
    speed: Speed = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    seed: Seed | None = Field(None, description="Same text, settings and seed: same speech. Not in OpenAI's API.")
    reference: Reference | None = Field(None, description="Whose voice, instead of `voice`. Not in OpenAI's API.")
    instructions: Any = Field(None, description="Accepted, and without effect.")

    @field_validator("voice", mode="before")
    @classmethod
    def voice_id(cls, voice: Any) -> Any:
        return voice.get("id") or "" if isinstance(voice, dict) else voice

    def settings(self, voices: VoiceBook, spec: ModelSpec) -> Settings:
        """Raises `UnknownVoice`, or `ProtocolError` for a reference that is not base64."""
        rate = PCM_RATE if self.response_format == "pcm" else None
        return Settings(
            voice=voices.find(self.voice, spec) if self.reference is None else None,
            format=AudioFormat(CODECS[self.response_format], rate, chunk_s=CHUNK_S[self.stream_format]),
            speed=self.speed,
            seed=self.seed,
            paced=False,
            reference=None if self.reference is None else self.reference.recording(),
        )

    @property
    def media_type(self) -> str:
        return (
            "text/event-stream" if self.stream_format == "sse" else AudioFormat(CODECS[self.response_format]).media_type
        )


def read_speech(body: bytes, limits: Limits) -> Speech:
    """Raises a `ClientError`."""
    try:
        speech = Speech.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None
    check_size(len(body), speech.reference, limits.body_bytes, limits, "body")
    if len(speech.input) > limits.text_chars_per_context:
        raise TextTooLong("input: the text is too long", field="input", limit=limits.text_chars_per_context)
    return speech


def sound(event: Event) -> bytes:
    """What an event adds to a body of sound."""
    return event.data if isinstance(event, Audio) else b""


def lines(event: Event) -> bytes:
    """What an event adds to a body of SSE.  Its tokens are words of the input and decoded speech codes."""
    if isinstance(event, Audio):
        return _line({"type": "speech.audio.delta", "audio": b64encode(event.data).decode()})
    if isinstance(event, Done):
        usage = {
            "input_tokens": event.words,
            "output_tokens": event.tokens,
            "total_tokens": event.words + event.tokens,
        }
        return _line({"type": "speech.audio.done", "usage": usage})
    return b""


def _line(told: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(told, separators=(",", ":")).encode() + b"\n\n"


# Lists of what there is.


def models(spec: ModelSpec) -> dict[str, Any]:
    return {"object": "list", "data": [model(name, spec) for name in (spec.name, *MODELS)]}


def model(name: str, spec: ModelSpec) -> dict[str, Any]:
    """Raises `UnknownModel`."""
    names = (spec.name, *MODELS)
    if name not in names:
        raise UnknownModel("no such model here", field="model", limit=", ".join(names))
    return {"id": name, "object": "model", "created": 0, "owned_by": "stream-server"}


def speech_models(spec: ModelSpec) -> dict[str, Any]:
    return {"models": _named(spec.name, *MODELS)}


def voices(spec: ModelSpec, book: VoiceBook) -> dict[str, Any]:
    return {"voices": _named(*dict.fromkeys((*spec.voices, *book.aliases)))}


def _named(*names: str) -> list[dict[str, str]]:
    return [{"id": name, "name": name} for name in names]


# What is wrong.


class Fault(BaseModel):
    message: str
    type: str = Field(examples=["invalid_request_error", "authentication_error", "server_error"])
    param: str | None = Field(description="The field that is wrong.")
    code: str = Field(examples=["invalid_setting", "unknown_voice", "overloaded"])


class Refusal(BaseModel):
    """Any answer with a status of 400 or more."""

    error: Fault


def status(error: StreamServerError) -> int:
    """A value that cannot be is a bad request there, and nothing else."""
    return STATUSES.get(error.code, 400 if error.http_status == 422 else error.http_status)


def refuse(error: StreamServerError) -> Refusal:
    code = status(error)
    kind = "server_error" if code >= 500 else TYPES.get(code, "invalid_request_error")
    limit = f"{error.limit:g}" if isinstance(error.limit, float) else str(error.limit or "")
    message = error.message if limit in error.message else f"{error.message} (limit: {limit})"
    param = None if error.field is None else PARAMS.get(error.field, error.field)
    return Refusal(error=Fault(message=message, type=kind, param=param, code=error.code))
