"""The `elevenlabs` package as it is installed, against a real server with the shipped voice.

Its realtime client dials `wss` whatever it is told, so it is served with TLS here.  Voices are made for a small random
checkpoint.
"""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError

from tests.audio.recordings import speechlike, wav
from tests.clients.conftest import ROOT, serving

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


@pytest.fixture(scope="module")
def cloning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElevenLabs]:
    """Served with a checkpoint that can be given voices."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    python = os.environ.get("STREAM_SERVER_PYTHON", sys.executable)
    make = [python, "-m", "tests.models.glm_tts.make_checkpoint", str(folder), "--safetensors", "--width", "32"]
    subprocess.run(make, cwd=ROOT, check=True, capture_output=True)
    with serving("--model", str(folder)) as address:
        yield ElevenLabs(api_key="any", base_url=f"http://{address}")


@pytest.mark.timeout(300)  # two processes load torch first
def test_a_voice_is_made_spoken_in_and_deleted(cloning: ElevenLabs) -> None:
    recording = ("ann.wav", wav(speechlike(4)), "audio/wav")
    said = {"text": "What is said in it.", "accent": "none"}
    made = cloning.voices.ivc.create(name="Ann Lee", files=[recording], description="A voice.", labels=said)
    assert (made.voice_id, made.requires_verification) == ("ann-lee", False)
    found = cloning.voices.get("ann-lee")
    assert (found.name, found.category) == ("ann-lee", "cloned")
    assert "ann-lee" in [voice.voice_id for voice in cloning.voices.get_all().voices]
    sound = b"".join(cloning.text_to_speech.convert("ann-lee", text="a.", output_format="pcm_24000", seed=1))
    assert seconds(sound) > 0
    assert cloning.voices.delete("ann-lee").status == "ok"
    with pytest.raises(ApiError) as gone:
        cloning.voices.delete("ann-lee")
    assert (gone.value.status_code, gone.value.body["detail"]["status"]) == (404, "voice_not_found")


def test_a_voice_without_its_transcript_is_refused_and_told_where_it_goes(cloning: ElevenLabs) -> None:
    recording = ("ann.wav", wav(speechlike(4)), "audio/wav")
    with pytest.raises(ApiError) as refused:
        cloning.voices.ivc.create(name="ann", files=[recording], description="What is said in it.")
    assert refused.value.status_code == 422 and "labels" in refused.value.body["detail"]["message"]
    more = {"additional_body_parameters": {"text": "What is said in it."}}
    assert cloning.voices.ivc.create(name="bob", files=[recording], request_options=more).voice_id == "bob"
    assert cloning.voices.delete("bob").status == "ok"


def test_a_model_with_voices_of_its_own_makes_none(client: ElevenLabs) -> None:
    with pytest.raises(ApiError) as refused:
        client.voices.ivc.create(name="ann", files=[("ann.wav", b"RIFF")], labels={"text": "It."})
    assert (refused.value.status_code, refused.value.body["detail"]["status"]) == (422, "cannot_clone")


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
