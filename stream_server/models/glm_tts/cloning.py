"""What a checkpoint's directory needs for making voices and for taking them: the parts put together."""

from datetime import UTC, datetime
from pathlib import Path

from stream_server.audio.reference import Reference
from stream_server.models.glm_tts.features import MELS
from stream_server.models.glm_tts.files import refusal
from stream_server.models.glm_tts.names import shape_at
from stream_server.models.glm_tts.speaker import SpeakerEncoder
from stream_server.models.glm_tts.speech_tokenizer import load_speech_tokenizer
from stream_server.models.glm_tts.text import written
from stream_server.models.glm_tts.tokenizer import MODEL, TextTokenizer, read_tokenizer
from stream_server.models.glm_tts.voice import Maker, VoiceShape, fingerprint
from stream_server.models.glm_tts.weights import Checkpoint, find
from stream_server.text.plain import PlainReader
from stream_server.voices.add import Make
from stream_server.voices.store import FOLDER, VoiceStore
from stream_server.voices.stored import StoredVoice

RATE = 24_000  # of the recording's mel
TOKENIZER, SPEECH_TOKENIZER = "vq32k-phoneme-tokenizer", "speech_tokenizer"
SPEECH_FILES = ("model.safetensors", "model.safetensors.index.json")
SPEAKER_ENCODERS = ("frontend/campplus.onnx", "campplus.onnx")  # it comes with the release's code
SPEAKER_CHANNELS = 192
CODEBOOK = "model.encoder.codebook.weight"


def store_of(folder: Path, most: int = 1_000) -> VoiceStore:
    return VoiceStore(folder / FOLDER, most)


def voice_shape(folder: Path, tokenizer: TextTokenizer) -> VoiceShape:
    """What the checkpoint wants of its voices.  ConfigError names a file that is not there."""
    speech = find(folder / SPEECH_TOKENIZER, SPEECH_FILES)
    codes = shape_at(Checkpoint(speech).shapes, CODEBOOK)[0]
    made_with = fingerprint([folder / TOKENIZER / MODEL, speech], MELS[RATE])
    return VoiceShape(tokenizer.size, codes, SPEAKER_CHANNELS, MELS[RATE], made_with)


def load_maker(folder: Path) -> Make:
    """Loads what only the making of voices needs.  ConfigError names the file and what is wrong with it."""
    tokenizer = read_tokenizer(folder / TOKENIZER)
    maker = Maker(
        voice_shape(folder, tokenizer),
        lambda text: tokenizer.encode(transcript(text)),
        load_speech_tokenizer(folder / SPEECH_TOKENIZER),
        SpeakerEncoder(speaker_file(folder)),
    )

    def make(name: str, text: str, recording: Reference, consent: str) -> StoredVoice:
        return maker.make(name, text, recording, consent, datetime.now(UTC))

    return make


def speaker_file(folder: Path) -> Path:
    for place in SPEAKER_ENCODERS:
        if (folder / place).is_file():
            return folder / place
    where = " or ".join(SPEAKER_ENCODERS)
    raise refusal(folder / SPEAKER_ENCODERS[0], "no such file: it comes with the release's code", where)


def transcript(text: str) -> str:
    """Written as a text to be spoken is, in one piece, and the space that stands behind a prompt."""
    reader = PlainReader()
    text = written(reader.push(text) + reader.flush())
    return f"{text} " if text else ""
