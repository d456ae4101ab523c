"""From a recording to a voice and back, through small networks in the release's layout."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_server.audio.reference import Reference
from stream_server.errors import BrokenVoice, ConfigError, InvalidSetting
from stream_server.models.glm_tts.features import MELS, kaldi_fbank, log_mel
from stream_server.models.glm_tts.speaker import SpeakerEncoder
from stream_server.models.glm_tts.speech_tokenizer import load_speech_tokenizer
from stream_server.models.glm_tts.voice import Maker, VoiceShape, fingerprint
from stream_server.voices.store import VoiceStore
from stream_server.voices.stored import StoredVoice
from tests.audio.recordings import speechlike
from tests.models.glm_tts.make_speaker import make_speaker
from tests.models.glm_tts.make_speech_tokenizer import make_speech_tokenizer

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
SPOKEN = speechlike(5.469, 44_100)
RECORDING = Reference(SPOKEN, SPOKEN, 44_100)
TEXT = "so it is said"


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text if letter != "-"]


def maker(folder: Path, rate: int = 24_000) -> Maker:
    pytest.importorskip("onnxruntime")
    make_speech_tokenizer(folder / "speech_tokenizer")
    make_speaker(folder / "campplus.onnx")
    files = [folder / "speech_tokenizer/model.safetensors", folder / "campplus.onnx"]
    shape = VoiceShape(256, 64, 192, MELS[rate], fingerprint(files, MELS[rate]))
    return Maker(shape, encode, load_speech_tokenizer(files[0].parent), SpeakerEncoder(files[1]))


@pytest.mark.parametrize("rate", MELS)
def test_a_recording_becomes_a_voice_that_comes_back(rate: int, tmp_path: Path) -> None:
    made_by = maker(tmp_path, rate)
    made = made_by.make("ann", TEXT, RECORDING, "hers", NOW)
    assert (made.about.created, made.about.source_s) == ("2026-05-01T10:00:00Z", 5.469)
    store = VoiceStore(tmp_path / "voices")
    store.save(made)
    voice = made_by.shape.check(store.get("ann"))
    assert voice.text_ids.tolist() == encode(TEXT)
    assert (voice.codes.shape, voice.mel.shape, voice.speaker.shape) == ((137,), (273, 80), (192,))
    heard = torch.from_numpy(RECORDING.at(16_000).pcm)
    assert torch.equal(voice.codes, made_by.tokenizer.codes(heard))
    assert torch.equal(voice.mel, log_mel(torch.from_numpy(RECORDING.at(rate).pcm), MELS[rate]))
    np.testing.assert_array_equal(voice.speaker.numpy(), made_by.speaker(kaldi_fbank(heard).numpy()))
    assert voice.codes.dtype == voice.text_ids.dtype == torch.int64


def test_codes_are_of_the_first_channel_and_the_rest_of_the_mean(tmp_path: Path) -> None:
    made_by = maker(tmp_path)
    both = made_by.make("ann", TEXT, replace(RECORDING, first=SPOKEN[::-1].copy()), "", NOW).arrays
    mean = made_by.make("ann", TEXT, RECORDING, "", NOW).arrays
    assert (both["codes"] != mean["codes"]).any()
    assert all((both[name] == mean[name]).all() for name in ("mel", "speaker", "text_ids"))


def test_the_same_recording_is_the_same_voice(tmp_path: Path) -> None:
    made_by = maker(tmp_path)
    one, two = (made_by.make("ann", TEXT, RECORDING, "", datetime.now(UTC)) for _ in range(2))
    for key, each in one.arrays.items():
        np.testing.assert_array_equal(each, two.arrays[key])


@pytest.mark.parametrize(("name", "text", "field"), [("../ann", TEXT, "name"), ("ann", "---", "text")])
def test_what_no_voice_comes_of(name: str, text: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting) as refused:
        maker(tmp_path).make(name, text, RECORDING, "", NOW)
    assert refused.value.field == field


@pytest.mark.parametrize("other", [{"speaker": 191}, {"codes": 65}])
def test_networks_that_make_other_voices(other: dict, tmp_path: Path) -> None:
    one = maker(tmp_path)
    with pytest.raises(ConfigError, match="wants"):
        Maker(replace(one.shape, **other), encode, one.tokenizer, one.speaker)


def changed(voice: StoredVoice, **arrays: np.ndarray | None) -> StoredVoice:
    kept = {key: each for key, each in {**voice.arrays, **arrays}.items() if each is not None}
    return replace(voice, arrays=kept)


def test_what_is_no_voice_of_this_checkpoint(tmp_path: Path) -> None:
    made_by = maker(tmp_path)
    good = made_by.make("ann", TEXT, RECORDING, "", NOW)
    mel, speaker, codes = (good.arrays[name] for name in ("mel", "speaker", "codes"))
    for name, array in {
        "mel": [None, mel[:, :79], mel[:0], mel.astype(np.float64), np.where(mel > 0, np.nan, mel), mel[0]],
        "speaker": [None, speaker[:191], np.full_like(speaker, np.inf), speaker[None]],
        "codes": [None, codes[:0], codes + 64, codes - 64, codes.astype(np.float32), np.tile(codes, 100)],
        "text_ids": [None, np.array([256]), np.array([-1])],
        "more": [codes],
    }.items():
        for each in array:
            with pytest.raises(BrokenVoice, match=f"ann .*: {name}") as refused:
                made_by.shape.check(changed(good, **{name: each}))
            assert TEXT not in refused.value.message
    for about in (replace(good.about, family="other"), replace(good.about, fingerprint="other")):
        with pytest.raises(BrokenVoice, match="make it again"):
            made_by.shape.check(replace(good, about=about))
    made_by.shape.check(good)


def test_a_fingerprint_tells_checkpoints_apart_wherever_they_lie(tmp_path: Path) -> None:
    files = []
    for place in ("a", "b"):
        make_speech_tokenizer(tmp_path / place)
        files.append(tmp_path / place / "model.safetensors")
    mel = MELS[24_000]
    first = fingerprint(files[:1], mel)
    assert fingerprint(files[1:], mel) == first
    assert fingerprint(files[:1], MELS[32_000]) != first and fingerprint(files, mel) != first
    data = bytearray(files[1].read_bytes())
    data[-1] ^= 1
    files[1].write_bytes(data)
    assert fingerprint(files[1:], mel) != first
    make_speech_tokenizer(tmp_path / "b", seed=1)
    assert fingerprint(files[1:], mel) != first
