"""A voice from a file on this machine."""

from pathlib import Path

import pytest

from stream_server.errors import (
    InvalidAudio,
    InvalidSetting,
    MessageTooLarge,
    StreamServerError,
    TextTooLong,
    VoiceExists,
)
from stream_server.limits import Limits
from stream_server.voices.add import Make, add_voice
from stream_server.voices.store import VoiceStore
from tests.audio.recordings import speechlike, wav
from tests.voices.fakes import made_of


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    (tmp_path / "ann.wav").write_bytes(wav(speechlike(4)))
    return tmp_path / "ann.wav"


def never() -> Make:
    raise AssertionError("networks are loaded for nothing")


def test_a_voice_is_made_and_kept(recording: Path, tmp_path: Path) -> None:
    store = VoiceStore(tmp_path / "voices")
    made = add_voice("ann", recording, "so it is said", "hers", Limits(), store, lambda: made_of)
    found = store.get("ann")
    assert found.about == made.about and (found.about.source_s, found.about.consent) == (4.0, "hers")
    assert float(found.arrays["heard"][0]) > 0.01
    with pytest.raises(VoiceExists):
        add_voice("ann", recording, "so it is said", "", Limits(), store, never)


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"name": "../ann"}, InvalidSetting, "name"),
        ({"text": " \n"}, InvalidSetting, "text"),
        ({"text": "a" * 1001}, TextTooLong, "text"),
        ({"consent": "a" * 1001}, TextTooLong, "consent"),
        ({"path": Path("nowhere.wav")}, InvalidAudio, "file"),
        ({"path": Path(__file__)}, InvalidAudio, "file"),
        ({"path": Path("/dev/zero")}, MessageTooLarge, "file"),
    ],
)
def test_what_is_wrong_is_known_before_anything_is_loaded(
    change: dict, error: type[StreamServerError], field: str, recording: Path, tmp_path: Path
) -> None:
    asked = {"name": "ann", "path": recording, "text": "so it is said", "consent": "", **change}
    store = VoiceStore(tmp_path / "voices")
    with pytest.raises(error) as refused:
        add_voice(**asked, limits=Limits(reference_bytes=1_000_000), store=store, load=never)
    assert refused.value.field == field and not store.names()
