"""A voice of this family: what its networks make of one recording and of what is said in it.

Four things, which depend on nothing else and so are computed once: the transcript's token ids, the recording's speech
codes, its mel, and the vector of who speaks.  Codes are of the first channel and the rest of the mean of all, as the
release has it.  Knows no place where voices are kept.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_server.audio.reference import FIELD, Reference
from stream_server.errors import BrokenVoice, ConfigError, InvalidAudio, InvalidSetting
from stream_server.models.glm_tts.features import KALDI, MelSettings, kaldi_fbank, log_mel
from stream_server.models.glm_tts.files import size_of
from stream_server.models.glm_tts.marks import USUAL, pace
from stream_server.models.glm_tts.speaker import SpeakerEncoder
from stream_server.models.glm_tts.speech_tokenizer import SpeechTokenizer
from stream_server.voices.stored import About, StoredVoice, check_name

FAMILY = "glm_tts"
MAX_TEXT_IDS, MAX_CODES, MAX_FRAMES = 1 << 13, 1 << 13, 1 << 14
SAMPLED_PLACES, SAMPLED_BYTES = 64, 1 << 16  # of each file, for a fingerprint
Encode = Callable[[str], Sequence[int]]  # a transcript → its token ids as a prompt


@dataclass(frozen=True)
class Voice:
    text_ids: Tensor  # int64 [N]
    codes: Tensor  # int64 [M]; rounded up, where frames are rounded down
    mel: Tensor  # float32 [T, bins]
    speaker: Tensor  # float32 [channels], not normalised
    pace: float = USUAL  # codes a syllable of the recording


@dataclass(frozen=True)
class VoiceShape:
    """What a checkpoint wants of its voices."""

    vocabulary: int  # of text ids
    codes: int
    speaker: int  # channels
    mel: MelSettings
    fingerprint: str

    def check(self, stored: StoredVoice) -> Voice:
        """Raises `BrokenVoice`: made by another family or checkpoint, or not what one consists of."""
        about, arrays = stored.about, stored.arrays
        if about.family != FAMILY or about.fingerprint != self.fingerprint:
            raise BrokenVoice(
                f"voice {stored.name} was made with another checkpoint: make it again",
                field="voice",
                limit=about.family,
            )
        wanted = {
            "text_ids": whole_numbers(arrays.get("text_ids"), self.vocabulary, MAX_TEXT_IDS),
            "codes": whole_numbers(arrays.get("codes"), self.codes, MAX_CODES),
            "mel": finite(arrays.get("mel"), (MAX_FRAMES, self.mel.bins)),
            "speaker": finite(arrays.get("speaker"), (self.speaker,)),
        }
        wrong = [name for name, well in wanted.items() if not well] + sorted(arrays.keys() - wanted.keys())
        if wrong:
            raise BrokenVoice(f"voice {stored.name} is not what a voice consists of: {wrong[0]}", field="voice")
        tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in wanted}
        return Voice(**tensors, pace=pace(stored.about.transcript, len(tensors["codes"])))


def whole_numbers(array: NDArray[np.generic] | None, below: int, most: int) -> bool:
    """Between 1 and `most` numbers from 0 to below that."""
    if array is None or array.dtype != np.int64 or array.ndim != 1 or not 1 <= len(array) <= most:
        return False
    return bool(array.min() >= 0 and array.max() < below)


def finite(array: NDArray[np.generic] | None, most: tuple[int, ...]) -> bool:
    """Of so many axes; the first may be shorter where there are two."""
    if array is None or array.dtype != np.float32 or array.ndim != len(most) or array.shape[-1] != most[-1]:
        return False
    return bool(1 <= len(array) <= most[0] and np.isfinite(array).all())


class Maker:
    """Makes voices; holds the networks that only this needs."""

    def __init__(self, shape: VoiceShape, encode: Encode, tokenizer: SpeechTokenizer, speaker: SpeakerEncoder) -> None:
        """ConfigError: these networks make other voices than the checkpoint wants."""
        for what, made, wanted in (
            ("speaker vectors of", speaker.channels, shape.speaker),
            ("codes of", tokenizer.config.codes, shape.codes),
        ):
            if made != wanted:
                raise ConfigError(f"the checkpoint wants {what} {wanted}, and here are {what} {made}", field="voice")
        self.shape, self.encode, self.tokenizer, self.speaker = shape, encode, tokenizer, speaker
        self.fbank = replace(KALDI, bins=speaker.bins)

    @torch.inference_mode()
    def make(self, name: str, text: str, audio: Reference, consent: str, now: datetime) -> StoredVoice:
        """text: what is said in the recording.  Raises `InvalidSetting` or `InvalidAudio`."""
        check_name(name)
        text_ids = np.asarray(self.encode(text), np.int64)
        if not 1 <= len(text_ids) <= MAX_TEXT_IDS:
            raise InvalidSetting("text: nothing in it can be said, or too much", field="text", limit=MAX_TEXT_IDS)
        heard = audio.at(self.fbank.rate)
        arrays = {
            "text_ids": text_ids,
            "codes": self.tokenizer.codes(torch.from_numpy(heard.first)).numpy(),
            "mel": log_mel(torch.from_numpy(audio.at(self.shape.mel.rate).pcm), self.shape.mel).contiguous().numpy(),
            "speaker": self.speaker(kaldi_fbank(torch.from_numpy(heard.pcm), self.fbank).numpy()),
        }
        if not all(np.isfinite(each).all() for each in arrays.values()):
            raise InvalidAudio("no voice comes out of this recording", field=FIELD)
        created = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = About(text, consent, created, round(audio.seconds, 3), FAMILY, self.shape.fingerprint)
        return StoredVoice(name, about, arrays)


def fingerprint(files: Iterable[Path], mel: MelSettings) -> str:
    """Of the files that a voice is made with, in this order, and its mel's settings; where they lie does not matter.

    Large files are looked at in many places, not read through: it is to tell checkpoints apart, not to stop a forger.
    """
    found = hashlib.sha256(repr(mel).encode())
    for path in files:
        size = size_of(path)
        found.update(f"\n{size}\n".encode())
        step = max(SAMPLED_BYTES, size // SAMPLED_PLACES)
        with path.open("rb") as file:
            for at in (*range(0, size, step), max(0, size - SAMPLED_BYTES)):
                file.seek(at)
                found.update(file.read(SAMPLED_BYTES))
    return found.hexdigest()[:32]
