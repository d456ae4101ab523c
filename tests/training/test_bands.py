import numpy as np
import pytest

pytest.importorskip("soundfile")
pytest.importorskip("soxr")

from stream_server.training.bands import compare, lines, voiced
from stream_server.training.spectrogram import SAMPLE_RATE, spectrogram

SECONDS = 8


def speech(seed: int = 0) -> np.ndarray:
    """Syllables of gliding harmonics, breath between some of them, and pauses in a faint room."""
    rng = np.random.default_rng(seed)
    time = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    pitch = 170 + 25 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    harmonics = sum(np.sin(k * phase) / k * (k * pitch < 11_800) for k in range(1, 75))
    syllables = np.clip(3 * np.sin(2 * np.pi * 2 * time), 0, 1) * (np.sin(2 * np.pi * 0.4 * time) > -0.7)
    breath = np.clip(3 * np.sin(2 * np.pi * 2 * time + np.pi), 0, 1) * (np.sin(2 * np.pi * 0.4 * time) > 0)
    noise = rng.standard_normal(len(time))
    return 0.1 * harmonics * syllables + noise * (0.01 * breath + 3e-5)


def power(audio: np.ndarray) -> np.ndarray:
    return spectrogram(audio, SAMPLE_RATE)


def without(audio: np.ndarray, low: float, high: float) -> np.ndarray:
    spectrum = np.fft.rfft(audio)
    hertz = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
    spectrum[(hertz >= low) & (hertz < high)] *= 0.05
    return np.fft.irfft(spectrum, len(audio))


def test_speech_has_voiced_frames_and_neither_fault_whatever_its_level() -> None:
    found = compare(power(0.3 * speech(1)), power(speech()))
    assert 0.2 < voiced(power(speech())).mean() < 0.7
    assert found.dead == found.lines == []
    assert np.abs(found.bands).max() < 1


@pytest.mark.parametrize("band", [1, 4, 7, 10])
def test_a_planted_dead_band_is_found_and_no_other(band: int) -> None:
    found = compare(power(without(speech(), band * 1000, band * 1000 + 1000)), power(speech()))
    assert found.dead == [band]
    assert found.bands[band] < -15  # 26 dB were taken out; neighbours leak into what is left


def test_sound_at_16_khz_is_dead_above_8_khz() -> None:
    import soxr

    found = compare(spectrogram(soxr.resample(speech(), SAMPLE_RATE, 16_000), 16_000), power(speech()))
    assert found.dead == [8, 9, 10]


@pytest.mark.parametrize("hertz", [100, 200, 450, 1000, 3333, 8000])
def test_a_planted_line_is_found_once(hertz: float) -> None:
    tone = 0.002 * np.sin(2 * np.pi * hertz * np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE)
    found = compare(power(speech() + tone), power(speech()))
    assert found.lines == [pytest.approx(hertz, abs=SAMPLE_RATE / 1024)]


def test_a_tone_that_stops_is_no_line() -> None:
    time = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    assert lines(power(speech() + 0.01 * np.sin(2 * np.pi * 3333 * time) * (time < SECONDS * 0.6))) == []


def test_the_spectrogram_knows_a_full_scale_sine() -> None:
    sine = np.sin(2 * np.pi * 3000 * np.arange(32_000) / 32_000)
    levels = spectrogram(sine, 32_000)[10:-10]
    assert (levels.argmax(1) == 128).all()
    assert levels.max() == pytest.approx(1, abs=0.02)
