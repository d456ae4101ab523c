"""The `elevenlabs` package as it is installed, against a real server with the shipped voice.

Its realtime client dials `wss` whatever it is told, so it is served with TLS here.
"""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError

pytestmark = pytest.mark.clients
TEXT = "The first sentence is short. The second one is a little longer."


@pytest.fixture
def client(server: str) -> ElevenLabs:
    return ElevenLabs(api_key="any", base_url=f"http://{server}")


@pytest.fixture
def secure(secure_server: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> ElevenLabs:
    monkeypatch.setitem(os.environ, "SSL_CERT_FILE", str(certificate[0]))
    return ElevenLabs(api_key="sesame", base_url=f"https://{secure_server}")


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / 24_000


def test_convert_and_stream(client: ElevenLabs) -> None:
    whole = b"".join(client.text_to_speech.convert("slt", text=TEXT, output_format="pcm_24000", seed=1))
    streamed = b"".join(client.text_to_speech.stream("slt", text=TEXT, output_format="pcm_24000", seed=1))
    assert 2 < seconds(whole) < 8
    assert whole == streamed


@pytest.mark.parametrize(
    ("output_format", "beginning"),
    [
        ("mp3_44100_128", b"\xff\xfb"),
        ("mp3_22050_32", b"\xff\xf3"),
        ("opus_48000_32", b"OggS"),
        ("ulaw_8000", None),
    ],
)
def test_formats(client: ElevenLabs, output_format: Any, beginning: bytes | None) -> None:
    sound = b"".join(client.text_to_speech.convert("slt", text=TEXT, output_format=output_format))
    assert len(sound) > 5_000
    assert beginning is None or sound.startswith((beginning, b"ID3"))


def test_timestamps(client: ElevenLabs) -> None:
    chunks = list(client.text_to_speech.stream_with_timestamps("slt", text=TEXT, output_format="pcm_24000", seed=1))
    told = [chunk.alignment for chunk in chunks if chunk.alignment is not None]
    assert "".join("".join(alignment.characters) for alignment in told) == TEXT
    ends = [end for alignment in told for end in alignment.character_end_times_seconds]
    pcm = b"".join(base64.b64decode(chunk.audio_base_64) for chunk in chunks)
    assert ends == sorted(ends) and 1 < ends[-1] <= seconds(pcm) + 0.01
    whole = client.text_to_speech.convert_with_timestamps("slt", text=TEXT, output_format="pcm_24000", seed=1)
    assert base64.b64decode(whole.audio_base_64) == pcm
    assert whole.alignment is not None and "".join(whole.alignment.characters) == TEXT


def test_voices(client: ElevenLabs) -> None:
    assert [voice.voice_id for voice in client.voices.get_all().voices] == ["kathleen", "slt"]
    found = client.voices.search()
    assert (found.total_count, found.has_more) == (2, False)
    assert client.voices.get("slt").name == "slt"


def test_models(client: ElevenLabs) -> None:
    [model] = client.models.list()
    assert model.can_do_text_to_speech and model.languages and model.languages[0].language_id == "en"


def test_errors(client: ElevenLabs) -> None:
    with pytest.raises(ApiError) as refused:
        list(client.text_to_speech.convert("nobody-at-all", text=TEXT))
    assert (refused.value.status_code, refused.value.body["detail"]["status"]) == (404, "voice_not_found")


def words() -> Iterator[str]:
    yield from ("The first ", "sentence is short. ", "The second ", "one is a little ", "longer.")


def test_realtime(secure: ElevenLabs) -> None:
    settings = VoiceSettings(stability=0.5, speed=1.0)
    pieces = list(
        secure.text_to_speech.convert_realtime(
            "slt", text=words(), model_id="eleven_flash_v2_5", output_format="pcm_24000", voice_settings=settings
        )
    )
    assert 2 < seconds(b"".join(pieces)) < 8
    assert len(pieces) > 10


def test_realtime_with_its_own_format(secure: ElevenLabs) -> None:
    sound = b"".join(secure.text_to_speech.convert_realtime("slt", text=words()))
    assert sound.startswith((b"\xff\xfb", b"ID3")) and len(sound) > 20_000


def test_realtime_errors(secure: ElevenLabs, secure_server: str) -> None:
    with pytest.raises(ApiError) as refused:
        list(secure.text_to_speech.convert_realtime("nobody-at-all", text=words()))
    assert refused.value.status_code == 1008 and "voice" in str(refused.value.body)
    stranger = ElevenLabs(api_key="wrong", base_url=f"https://{secure_server}")
    with pytest.raises(ApiError) as unknown:
        list(stranger.text_to_speech.convert_realtime("slt", text=words()))
    assert unknown.value.status_code == 1008 and "key" in str(unknown.value.body)
    with pytest.raises(ApiError) as rejected:
        list(stranger.text_to_speech.convert("slt", text=TEXT))
    assert rejected.value.status_code == 401
