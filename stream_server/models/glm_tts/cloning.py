"""What a checkpoint's directory needs for making voices and for taking them: the parts put together."""

from datetime import UTC, datetime
from pathlib import Path

from stream_server.audio.reference import Reference
from stream_server.errors import ConfigError
from stream_server.models.glm_tts.dit import shape_of
from stream_server.models.glm_tts.features import MelSettings
from stream_server.models.glm_tts.files import refusal
from stream_server.models.glm_tts.flow import SPEAKER
from stream_server.models.glm_tts.flow_config import read_flow_config
from stream_server.models.glm_tts.hift_config import HiFTConfig, read_hift_config
from stream_server.models.glm_tts.names import size_at
from stream_server.models.glm_tts.speaker import SpeakerEncoder
from stream_server.models.glm_tts.speech_tokenizer import PREFIX, load_speech_tokenizer
from stream_server.models.glm_tts.text import written
from stream_server.models.glm_tts.tokenizer import MODEL, TextTokenizer, read_tokenizer
from stream_server.models.glm_tts.voice import Maker, VoiceShape, fingerprint
from stream_server.models.glm_tts.weights import Checkpoint, find
from stream_server.text.plain import PlainReader
from stream_server.voices.add import Make
from stream_server.voices.store import FOLDER, VoiceStore
from stream_server.voices.stored import StoredVoice

TOKENIZER, SPEECH_TOKENIZER = "vq32k-phoneme-tokenizer", "speech_tokenizer"
SPEECH_FILES = ("model.safetensors", "model.safetensors.index.json")
SPEAKER_ENCODERS = ("frontend/campplus.onnx", "campplus.onnx")  # it comes with the release's code
FLOW, FLOW_FILES, HIFT = "flow", ("model.safetensors", "flow.pt"), "hift"
SPEAKER_CHANNELS = 192  # CAM++'s, of which a flow that hears no speaker has no opinion
HIGHEST_HZ = 8000.0  # of the mel
WINDOW_HOPS = 4
CODEBOOK = "codebook.weight"


def store_of(folder: Path, most: int = 1_000) -> VoiceStore:
    return VoiceStore(folder / FOLDER, most)


def voice_shape(folder: Path, tokenizer: TextTokenizer) -> VoiceShape:
    """What the checkpoint wants of its voices.  ConfigError names a file that is not there."""
    speech = find(folder / SPEECH_TOKENIZER, SPEECH_FILES)
    codes = size_at(Checkpoint(speech, PREFIX).shapes, CODEBOOK, 0)
    shapes = Checkpoint(find(folder / FLOW, FLOW_FILES)).shapes
    flow = shape_of(shapes)
    mel = mel_settings(folder, flow.mel)
    speaker = flow.speaker or (size_at(shapes, SPEAKER, 1) if flow.concat else SPEAKER_CHANNELS)
    made_with = fingerprint([folder / TOKENIZER / MODEL, speech], mel)
    return VoiceShape(tokenizer.size, codes, speaker, mel, made_with)


def mel_settings(folder: Path, bins: int) -> MelSettings:
    """Of a recording's mel, as the flow and the vocoder count: for the release's 24 kHz, windows of 1920 every 480."""
    rate = hift_settings(folder / HIFT).sampling_rate
    frames = read_flow_config(folder / FLOW / "config.yaml").mel_rate
    if rate % frames:
        raise ConfigError(f"mel_framerate {frames:g} does not divide the vocoder's {rate} Hz", field="mel_framerate")
    hop = int(rate / frames)
    return MelSettings(rate, WINDOW_HOPS * hop, hop, bins, high=min(HIGHEST_HZ, rate / 2))


def hift_settings(folder: Path) -> HiFTConfig:
    """The release's vocoder has no file of settings, and is known without."""
    return read_hift_config(folder / "config.json") if (folder / "config.json").is_file() else HiFTConfig()


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
