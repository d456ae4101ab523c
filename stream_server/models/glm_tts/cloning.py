"""From a recording and what is said in it to a voice: everything that needs the recording, done once.

The recording's first channel is read for codes, the mean of all for who speaks and how, as the release does; it is
resampled by soxr, where the release's own sinc differs by rounding.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from safetensors.torch import save_file

from stream_server.audio.reference import Recording
from stream_server.errors import ConfigError, InvalidSetting
from stream_server.models.glm_tts.features import LISTENING_RATE, log_mel
from stream_server.models.glm_tts.speaker import SpeakerEncoder, find_speaker_encoder
from stream_server.models.glm_tts.speech_tokenizer import SpeechTokenizer, load_speech_tokenizer
from stream_server.models.glm_tts.text import written
from stream_server.models.glm_tts.tokenizer import TextTokenizer, read_tokenizer
from stream_server.models.glm_tts.voice import NAME, Voice
from stream_server.text.plain import PlainReader

MEL_RATE = 24_000
MAX_TEXT = 1_000  # characters of a transcript
TOKENIZER, SPEECH_TOKENIZER, VOICES = "vq32k-phoneme-tokenizer", "speech_tokenizer", "voices"


@dataclass(frozen=True)
class Cloner:
    text: TextTokenizer
    speech: SpeechTokenizer
    speaker: SpeakerEncoder

    @torch.inference_mode()
    def voice(self, name: str, recording: Recording, text: str, consent: str = "") -> Voice:
        """Raises `InvalidSetting` for a name or a transcript that cannot be."""
        check_name(name)
        if not text.strip() or len(text) > MAX_TEXT:
            raise InvalidSetting("text: say what is said in the recording", field="text", limit=MAX_TEXT)
        mono = torch.from_numpy(resampled(recording.pcm, recording.rate, LISTENING_RATE))
        first = torch.from_numpy(resampled(recording.first, recording.rate, LISTENING_RATE))
        mel = log_mel(torch.from_numpy(resampled(recording.pcm, recording.rate, MEL_RATE)), MEL_RATE)
        about = {
            "transcript": text,
            "consent": consent,
            "seconds": f"{recording.seconds:.2f}",
            "made": str(int(time.time())),
        }
        ids = tuple(self.text.encode(transcript(text) + " "))
        return Voice(name, ids, tuple(self.speech.read(first)), mel, self.speaker(mono), about)


def transcript(text: str) -> str:
    """As a text to be spoken is written, in one piece."""
    reader = PlainReader()
    return written(reader.push(text) + reader.flush())


def resampled(pcm: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    return pcm if rate == wanted else soxr.resample(pcm, rate, wanted, quality="HQ").astype(np.float32)


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidSetting("name: lower-case letters, digits, - and _ alone", field="name", limit=64)


def load_cloner(folder: Path) -> Cloner:
    """Of the release's directory; ConfigError names the file and what is wrong with it."""
    return Cloner(
        read_tokenizer(folder / TOKENIZER),
        load_speech_tokenizer(folder / SPEECH_TOKENIZER),
        SpeakerEncoder(find_speaker_encoder(folder)),
    )


def save_voice(folder: Path, voice: Voice) -> Path:
    """Whole or not at all: written beside its place and moved there.  ConfigError where the name is taken."""
    place = folder / f"{voice.name}.safetensors"
    if place.exists():
        raise ConfigError(f"{place}: there is a voice of that name", field="name")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "text": torch.tensor(voice.text, dtype=torch.int64),
        "codes": torch.tensor(voice.codes, dtype=torch.int64),
        "mel": voice.mel.contiguous(),
        "speaker": voice.speaker.contiguous(),
    }
    handle, temporary = tempfile.mkstemp(prefix=f".{voice.name}.", dir=folder)
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata=voice.about)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return place
