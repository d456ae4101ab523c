import numpy as np
import pytest

pytest.importorskip("soxr")

from stream_server.training.recognise import prepared, recognise


def test_prepared_is_levelled_and_padded() -> None:
    quiet = 0.01 * np.sin(np.arange(24_000, dtype=np.float32) * 0.1)
    sound = prepared(quiet, 24_000)
    assert len(sound) == 16_000 + 2 * 4800
    assert np.abs(sound).max() / 32767 == pytest.approx(0.6, abs=0.01)
    assert 0 < np.abs(sound[:4800]).max() < 30


def test_silence_and_nothing_are_heard_as_little() -> None:
    pytest.importorskip("pocketsphinx")
    assert recognise(np.zeros(0, np.float32), 24_000) == recognise(np.zeros(0, np.float32), 24_000)
    assert len(recognise(np.zeros(8000, np.float32), 24_000).split()) <= 1
