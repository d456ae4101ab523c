"""Recordings that strangers bring: read where they are sound, refused at once where they are not."""

import io
import resource
import struct
import time
import wave

import av
import numpy as np
import pytest

from stream_server.audio.reference import read_recording
from stream_server.errors import InvalidSetting, MessageTooLarge


def tone(seconds: float, rate: int = 16_000, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(np.arange(int(seconds * rate)) * 0.05)).astype(np.float32)


def wav(pcm: np.ndarray, rate: int = 16_000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes((np.clip(pcm, -1, 1) * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()


def encoded(pcm: np.ndarray, container: str, codec: str, rate: int = 48_000) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((pcm[None] * 32_767).astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            stream.format.name, "mono", rate, frame_size=stream.codec_context.frame_size or 1024
        )
        for piece in resampler.resample(frame) + resampler.resample(None):
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return buffer.getvalue()


def test_a_wav_is_itself() -> None:
    recording = read_recording(wav(tone(4.0)))
    assert recording.rate == 16_000 and recording.seconds == pytest.approx(4.0)
    np.testing.assert_allclose(recording.pcm, tone(4.0), atol=1e-4)


@pytest.mark.parametrize(
    ("container", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("mp4", "aac")]
)
def test_any_common_format_is_read(container: str, codec: str) -> None:
    recording = read_recording(encoded(tone(4.0, 48_000), container, codec))
    assert recording.rate == 48_000 and recording.seconds == pytest.approx(4.0, abs=0.1)
    assert float(np.sqrt(np.mean(recording.pcm**2))) == pytest.approx(0.3 / 2**0.5, rel=0.1)


def test_channels_are_mixed_and_the_first_is_kept() -> None:
    both = np.stack([tone(4.0), np.zeros(64_000, np.float32)], axis=1).reshape(-1)
    recording = read_recording(wav(both, channels=2))
    np.testing.assert_allclose(recording.pcm * 2, recording.first, atol=1e-4)


def lying_wav() -> bytes:
    """Says that ten hours follow; four seconds do."""
    data = wav(tone(4.0))
    return data[:40] + struct.pack("<I", 10 * 3600 * 32_000) + data[44:]


HOSTILE = {
    "nothing": b"",
    "no sound": b"this is a text",
    "cut off": wav(tone(4.0))[:30],
    "half an mp3's header": encoded(tone(4.0, 48_000), "mp3", "libmp3lame")[:10],
    "zeros": bytes(100_000),
    "too short": wav(tone(1.0)),
    "too long": wav(tone(31.0)),
    "an hour": wav(np.zeros(3600 * 2_000, np.float32), 8_000),
    "silence": wav(np.zeros(64_000, np.float32)),
    "overdriven": wav(np.sign(tone(4.0))),
    "a rate of a million": wav(tone(4.0), 1_000_000),
    "a playlist": b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:1/x.mp3\n",
    "a list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_good_recording_is_refused_at_once_and_costs_little(name: str) -> None:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(InvalidSetting) as refused:
        read_recording(HOSTILE[name])
    assert refused.value.field == "audio"
    assert time.monotonic() - began < 1.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_header_that_lies_is_not_believed() -> None:
    assert read_recording(lying_wav()).seconds == pytest.approx(4.0)


def test_numbers_that_are_none_are_refused() -> None:
    pcm = tone(4.0)
    pcm[1_000] = np.nan
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32, b"data", 256_000
    )
    with pytest.raises(InvalidSetting, match="no numbers"):
        read_recording(head + pcm.tobytes())


def test_a_file_that_is_too_large_is_not_looked_at() -> None:
    with pytest.raises(MessageTooLarge) as refused:
        read_recording(wav(tone(4.0)), max_bytes=1_000)
    assert refused.value.limit == 1_000
