"""The pictures written plainly, frame by frame in float64."""

import numpy as np


def slaney(hz: float) -> float:
    return 3 * hz / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)


def slaney_inverse(mel: float) -> float:
    return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def bank(rate: int, fft: int, bins: int, low: float, high: float) -> np.ndarray:
    edges = [slaney_inverse(mel) for mel in np.linspace(slaney(low), slaney(high), bins + 2)]
    found = np.zeros((bins, fft // 2 + 1))
    for index, (left, middle, right) in enumerate(zip(edges, edges[1:], edges[2:])):
        for at in range(fft // 2 + 1):
            hz = at * rate / fft
            height = (hz - left) / (middle - left) if hz <= middle else (right - hz) / (right - middle)
            found[index, at] = max(0, height) * 2 / (right - left)
    return found


def log_mel(pcm: np.ndarray, rate: int, window: int, hop: int, bins: int, low: float, high: float) -> np.ndarray:
    padded = np.pad(pcm.astype(np.float64), (window - hop) // 2, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    filters, rows = bank(rate, window, bins, low, high), []
    for start in range(0, len(padded) - window + 1, hop):
        spectrum = np.fft.rfft(padded[start : start + window] * hann)
        rows.append(np.log(np.maximum(filters @ np.sqrt(np.abs(spectrum) ** 2 + 1e-9), 1e-5)))
    return np.array(rows)


def whisper_mel(pcm: np.ndarray, bins: int) -> np.ndarray:
    padded = np.pad(pcm.astype(np.float64), 200, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.array([padded[160 * i : 160 * i + 400] * hann for i in range(len(pcm) // 160)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    tens = np.log10(np.maximum(power @ bank(16_000, 400, bins, 0, 8000).T, 1e-10))
    return (np.maximum(tens, tens.max() - 8) + 4) / 4


def kaldi_fbank(pcm: np.ndarray) -> np.ndarray:
    """As Kaldi's documentation has it: 25 ms every 10 ms, only whole frames."""
    pcm = pcm.astype(np.float64)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    mels = 1127 * np.log(1 + np.arange(257) * 31.25 / 700)
    edges = np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 82)
    rows = []
    for start in range(0, len(pcm) - 399, 160):
        frame = pcm[start : start + 400] - pcm[start : start + 400].mean()
        sharp = frame.copy()
        for at in range(399, 0, -1):
            sharp[at] -= 0.97 * frame[at - 1]
        sharp[0] -= 0.97 * frame[0]
        power = np.abs(np.fft.rfft(sharp * window, 512)) ** 2
        row = []
        for left, middle, right in zip(edges, edges[1:], edges[2:]):
            energy = 0.0
            for at in range(256):
                if left < mels[at] < right:
                    up, down = (mels[at] - left) / (middle - left), (right - mels[at]) / (right - middle)
                    energy += min(up, down) * power[at]
            row.append(np.log(max(energy, np.finfo(np.float32).eps)))
        rows.append(row)
    return np.array(rows) - np.mean(rows, axis=0)
