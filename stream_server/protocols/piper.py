"""The request of Piper's HTTP server, which Pipecat and others know: a JSON body, a WAV that streams back."""

from pydantic import ValidationError

from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.events import Settings
from stream_server.protocols.schema import Foreign, refusal
from stream_server.protocols.voices import VoiceBook


class Body(Foreign):
    text: str
    voice: str = ""


def read_request(body: bytes, voices: VoiceBook, spec: ModelSpec) -> tuple[Settings, str]:
    """→ how and what to speak.  Raises a `ClientError`."""
    try:
        asked = Body.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None
    return Settings(voices.find(asked.voice, spec), AudioFormat("wav"), paced=False), asked.text
