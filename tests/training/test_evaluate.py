import io
import json
from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

from stream_server.training import evaluate  # noqa: E402
from stream_server.training.systems import system  # noqa: E402

SENTENCES = ["One two three four five.", "So he struck a match."]


class Listener:
    """Hears by loudness which sentence it is, with one word wrong in the second; counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, audio: np.ndarray, sample_rate: int) -> str:
        self.asked += 1
        return "one two three four five" if abs(audio).max() < 0.4 else "so he struck the match"


def speak(text: str) -> tuple[np.ndarray, int]:
    level = 0.25 if text == SENTENCES[0] else 1.0
    return level * np.sin(np.arange(8000, dtype=np.float32)), 24_000


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    listener = Listener()
    monkeypatch.setattr(evaluate, "recognise", listener)
    return listener


def test_score(listener: Listener) -> None:
    progress = io.StringIO()
    errors, words = evaluate.score(SENTENCES, evaluate.hearings(speak, SENTENCES, None), progress)
    assert (errors, words) == ([0, 1], [5, 5])
    assert progress.getvalue().splitlines()[-1].startswith("2/2  WER 10.0%  0.0 min left")
    found = evaluate.summary(errors, words)
    assert found | {"wer_low": 0.0, "wer_high": 0.2} == found
    assert (found["sentences"], found["words"], found["errors"], found["wer"]) == (2, 10, 1, 0.1)


def test_a_sound_once_heard_is_not_heard_again(listener: Listener, tmp_path: Path) -> None:
    first = list(evaluate.hearings(speak, SENTENCES, tmp_path))
    copied = system(f"folder:{tmp_path}", SENTENCES, seed=0)
    assert list(evaluate.hearings(copied, SENTENCES, tmp_path)) == first
    assert listener.asked == 2
    assert len((tmp_path / "heard.jsonl").read_text().splitlines()) == 2


def test_another_sound_for_the_same_sentence_is_heard_anew(listener: Listener, tmp_path: Path) -> None:
    list(evaluate.hearings(speak, SENTENCES, tmp_path))
    list(evaluate.hearings(lambda text: (speak(text)[0] * 0.9, 24_000), SENTENCES, tmp_path))
    assert listener.asked == 4


def test_the_command_prints_json_alone(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("\n".join(SENTENCES) + "\n")
    for index, text in enumerate(SENTENCES):
        soundfile.write(tmp_path / f"{index:03d}.wav", *speak(text))
    command = ["evaluate", f"folder:{tmp_path}", "--sentences", str(sentences), "--count", "1", "--json"]
    monkeypatch.setattr("sys.argv", command)
    evaluate.main()
    found = json.loads(capsys.readouterr().out)
    assert (found["system"], found["sentences"], found["wer"]) == (f"folder:{tmp_path}", 1, 0.0)


@pytest.mark.parametrize("name", ["espeak", "folder:", "voice"])
def test_an_unknown_system_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="festival, folder:PATH or voice:NAME"):
        system(name, SENTENCES, seed=0)
