"""ElevenLabs' HTTP answers: what a request asks, timestamps beside the sound, what there is to choose from, errors."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from stream_server.engine.messages import ModelSpec
from stream_server.errors import StreamServerError
from stream_server.events import Done, Event, Settings, Started
from stream_server.protocols.elevenlabs.alignment import Aligner, Span
from stream_server.protocols.elevenlabs.formats import DEFAULT, find_format
from stream_server.protocols.elevenlabs.messages import VoiceSettings, words_of
from stream_server.protocols.elevenlabs.tags import Tags
from stream_server.protocols.schema import Foreign, Seed, refusal

# Their names for our codes; others keep ours.
STATUSES = {
    "unauthorized": "invalid_api_key",
    "unknown_voice": "voice_not_found",
    "overloaded": "system_busy",
    "unsupported_format": "invalid_output_format",
}
LANGUAGE = {"language_id": "en", "name": "English"}


class Body(Foreign):
    text: str
    voice_settings: VoiceSettings = VoiceSettings()
    seed: Seed | None = None


def read_request(body: bytes, query: Mapping[str, str], voice: str) -> tuple[Settings, str]:
    """→ how and what to speak, as fast as it is taken.  Raises a `ClientError`."""
    try:
        asked = Body.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None
    format = find_format(query.get("output_format") or DEFAULT)
    speed = asked.voice_settings.our_speed() or Settings.speed
    return Settings(voice, format, speed=speed, seed=asked.seed, paced=False), asked.text


def speakable(text: str) -> str:
    """Without the breaks in it, position for position."""
    tags = Tags(markup=False)
    return tags.push(text) + tags.flush()


class TimedLines:
    """One JSON object a line: a piece of sound and the characters that begin in it.  Times run on."""

    def __init__(self, text: str) -> None:
        self._aligner = Aligner(text)

    def __call__(self, event: Event) -> bytes:
        piece = self._aligner.hear(event)
        if piece is None:
            return b""
        told = None if piece.span is None else characters([piece.span], self._aligner.sample_rate)
        data = base64.b64encode(piece.data).decode()
        return _json({"audio_base64": data, "alignment": told, "normalized_alignment": told}) + b"\n"


class TimedWhole:
    """One JSON object, written as it comes: but for the characters, no more is kept than base64 leaves over."""

    def __init__(self, text: str) -> None:
        self._aligner = Aligner(text)
        self._spans: list[Span] = []
        self._left = b""

    def __call__(self, event: Event) -> bytes:
        written = b'{"audio_base64":"' if isinstance(event, Started) else b""
        if (piece := self._aligner.hear(event)) is not None:
            self._spans += [] if piece.span is None else [piece.span]
            data = self._left + piece.data
            whole = len(data) - len(data) % 3
            self._left = data[whole:]
            written += base64.b64encode(data[:whole])
        return written + self._end() if isinstance(event, Done) else written

    def _end(self) -> bytes:
        told = characters(self._spans, self._aligner.sample_rate)
        rest = _json({"alignment": told, "normalized_alignment": told})
        return base64.b64encode(self._left) + b'",' + rest.removeprefix(b"{")


def characters(spans: Iterable[Span], sample_rate: int) -> dict[str, list[Any]]:
    """In seconds since the answer began."""
    texts: list[str] = []
    starts: list[float] = []
    ends: list[float] = []
    for span in spans:
        begins = [round(start / sample_rate, 3) for start in span.starts]
        texts += span.text
        starts += begins
        ends += [*begins[1:], round(span.end / sample_rate, 3)]
    return {"characters": texts, "character_start_times_seconds": starts, "character_end_times_seconds": ends}


def voices(spec: ModelSpec) -> dict[str, Any]:
    return {"voices": [voice(name, spec) for name in spec.voices]}


def voices_page(spec: ModelSpec) -> dict[str, Any]:
    """The second version's answer: all there are, on one page."""
    return {**voices(spec), "has_more": False, "total_count": len(spec.voices), "next_page_token": None}


def voice(name: str, spec: ModelSpec) -> dict[str, Any]:
    category = "cloned" if spec.cloning else "premade"
    return {"voice_id": name, "name": name, "category": category, "labels": {}, "preview_url": None, "settings": None}


def models(spec: ModelSpec) -> list[dict[str, Any]]:
    """The answer to `GET /v1/models` where an `xi-api-key` asks: their clients expect a bare list."""
    return [
        {
            "model_id": spec.name,
            "name": spec.name,
            "can_do_text_to_speech": True,
            "can_do_voice_conversion": False,
            "languages": [LANGUAGE],
        }
    ]


def error_body(error: StreamServerError) -> dict[str, Any]:
    return {"detail": {"status": STATUSES.get(error.code, error.code), "message": words_of(error)}}


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
