"""Recordings as people send them, and as somebody sends them who means harm."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stream_server.audio.format import AudioFormat
from stream_server.audio.reference import Reference, read_reference
from stream_server.errors import InvalidAudio, MessageTooLarge
from stream_server.limits import Limits
from tests.audio.hostile import HOSTILE
from tests.audio.recordings import RATE, encoded, speechlike, wav
from tests.audio.sound import encoded as spoken
from tests.audio.sound import lag, snr_db, together

MB = 1 << 20
LIMITS = Limits()
SPOKEN = speechlike(4)
FILES = {
    "wav": lambda: wav(SPOKEN),
    "wav of floats": lambda: wav(SPOKEN, kind=3),
    "wav of open length": lambda: wav(SPOKEN, data_bytes=0xFFFF_FFFF),
    "wav in stereo": lambda: wav(np.stack([SPOKEN, SPOKEN], 1), channels=2),
    "flac": lambda: encoded(SPOKEN, "flac", "flac"),
    "mp3": lambda: encoded(SPOKEN, "mp3", "libmp3lame"),
    "ogg": lambda: encoded(SPOKEN, "ogg", "libopus"),
    "webm": lambda: encoded(SPOKEN, "webm", "libopus"),
    "m4a": lambda: encoded(SPOKEN, "ipod", "aac"),
    "aac": lambda: encoded(SPOKEN, "adts", "aac"),
    "aiff": lambda: encoded(SPOKEN, "aiff", "pcm_s16be"),
}
SAYS = {
    "wav cut short": "cut short",
    "mp3 cut short": "cut short",
    "ogg cut short": "cut short",
    "webm cut short": "cut short",
    "flac that says ten hours": "36000 s: too long",
    "ten minutes of silence in little": "too long",
    "wav that is no numbers": "no numbers",
    "wav that is infinite": "no numbers",
    "wav at 1 Hz": "sample rate",
    "a film": "video",
    "two rates": "changes its rate",
}


def refused(data: bytes, limits: Limits = LIMITS) -> InvalidAudio:
    with pytest.raises(InvalidAudio) as error:
        read_reference(data, limits)
    assert error.value.field == "file"
    return error.value


@pytest.mark.parametrize("kind", FILES)
def test_what_people_record_with(kind: str) -> None:
    found = read_reference(FILES[kind](), LIMITS)
    heard = found.at(RATE).pcm
    assert abs(len(heard) - len(SPOKEN)) <= 0.1 * RATE and heard.dtype == np.float32
    late = lag(heard, SPOKEN, 1100)
    assert snr_db(heard[max(0, late) :], SPOKEN[max(0, -late) :]) > 15
    assert float(np.abs(heard).max()) == pytest.approx(float(np.abs(SPOKEN).max()), rel=0.1)


@pytest.mark.parametrize(
    "bits", ["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_mulaw"]
)
def test_full_scale_is_the_same_in_every_kind_of_number(bits: str) -> None:
    found = read_reference(encoded(SPOKEN, "wav", bits), LIMITS)
    np.testing.assert_allclose(found.pcm, SPOKEN, atol=0.02)


@pytest.mark.parametrize("rate", [16_000, 24_000, 32_000])
def test_at_any_rate_it_is_the_same_sound(rate: int) -> None:
    sound = speechlike(4, 44_100)
    found = Reference(sound, sound, 44_100).at(rate)
    assert abs(len(found.pcm) - 4 * rate) <= 1 and found.rate == rate and found.first is found.pcm
    assert snr_db(found.pcm, speechlike(4, rate)) > 60
    other = Reference(sound, -sound, 44_100).at(rate)
    np.testing.assert_allclose(other.first, -found.pcm, atol=1e-6)


@pytest.mark.parametrize("codec", ["ogg_opus", "webm", "wav", "mp3", "flac", "aac"])
def test_what_this_server_itself_streamed(codec: str) -> None:
    """Made as it was spoken, so that no header knows the length."""
    sound = together(spoken(SPOKEN, AudioFormat(codec), RATE))
    assert read_reference(sound, LIMITS).seconds == pytest.approx(4.0, abs=0.2)


def test_an_mp3_cut_behind_a_long_tag() -> None:
    sound = encoded(SPOKEN, "mp3", "libmp3lame")
    sound = sound[10 + sound[9] :] if sound[:3] == b"ID3" else sound
    tagged = b"ID3\x04\0\0\0\x01\x1c\x20" + bytes(0x1C * 128 + 0x20 + (1 << 14)) + sound
    assert read_reference(tagged, LIMITS).seconds == pytest.approx(4.0, abs=0.1)
    assert "cut short" in refused(tagged[:-5000]).message


def test_channels_are_mixed_and_the_first_is_kept() -> None:
    found = read_reference(wav(np.stack([SPOKEN, SPOKEN / 2], 1), channels=2), LIMITS)
    np.testing.assert_allclose(found.pcm, SPOKEN * 0.75, atol=1e-3)
    np.testing.assert_allclose(found.first, SPOKEN, atol=1e-3)


@pytest.mark.parametrize(
    ("pcm", "says", "limit"),
    [
        (speechlike(2.9), "2.9 s: too short", 3.0),
        (speechlike(30.5), "too long|longer than 30 s", 30.0),
        (np.zeros(5 * RATE, np.float32), "silent", "-60 dB"),
        (speechlike(5, level=0.005), "too quiet: -5", "-45 dB"),
        (np.clip(speechlike(5, level=4), -1, 1), "clipped: .*%", "1%"),
        (np.stack([SPOKEN, -SPOKEN], 1), "silent", "-60 dB"),
        (np.stack([0 * SPOKEN, SPOKEN], 1), "first channel, is silent", "-60 dB"),
    ],
    ids=["short", "long", "silent", "quiet", "clipped", "channels that cancel out", "first channel empty"],
)
def test_what_no_voice_can_be_made_of(pcm: np.ndarray, says: str, limit: object) -> None:
    error = refused(wav(pcm, channels=pcm.ndim))
    assert error.limit == limit
    with pytest.raises(InvalidAudio, match=says):
        raise error


def test_the_bounds_are_the_operator_s() -> None:
    assert read_reference(wav(speechlike(1)), Limits(reference_min_s=0.5)).seconds == 1.0
    assert refused(wav(speechlike(2)), Limits(reference_min_s=0.5, reference_max_s=1.5)).limit == 1.5
    with pytest.raises(MessageTooLarge) as error:
        read_reference(bytes(1001), Limits(reference_bytes=1000))
    assert (error.value.field, error.value.limit) == ("file", 1000)
    assert "too long to decode" in refused(wav(SPOKEN), Limits(reference_decode_s=0.01)).message


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_and_cost_little(kind: str) -> None:
    """Beside the file itself this process grows by nothing to speak of; the child's own bounds are tested below."""
    data = HOSTILE[kind]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refused(data)
    assert SAYS.get(kind, "") in error.message and len(error.message) < 200
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 16 * MB


def test_a_cover_or_words_beside_the_sound_do_not_matter(tmp_path: Path) -> None:
    import io

    import av

    file = io.BytesIO()
    with av.open(file, "w", format="flac") as out:
        sound = out.add_stream("flac", rate=RATE, layout="mono")
        cover = out.add_stream("png", width=16, height=16, pix_fmt="rgb24")
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        frame = av.AudioFrame.from_ndarray(np.rint(SPOKEN * 32_767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        out.mux([*cover.encode(picture), *cover.encode(None), *sound.encode(frame), *sound.encode(None)])
    assert read_reference(file.getvalue(), LIMITS).seconds == 4.0


def test_what_decodes_can_open_nothing_and_grow_no_further() -> None:
    code = """
import socket
from stream_server.audio import apart
apart.rehearse()
apart.confine(5)
for attempt in (lambda: open('/etc/hostname'), lambda: open('/tmp/x', 'w'), socket.socket):
    try:
        attempt()
    except OSError:
        print('no')
try:
    bytes(2 * apart.MEMORY_BYTES)
except MemoryError:
    print('no')
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["no"] * 4, done.stderr


def test_the_child_is_told_nothing_of_the_parent_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    real = subprocess.run

    def watched(*arguments: object, **named: object) -> object:
        seen.update(named["env"])  # type: ignore[call-overload]
        return real(*arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setenv("STREAM_SERVER_KEYS", "secret")
    monkeypatch.setattr(subprocess, "run", watched)
    read_reference(wav(SPOKEN), LIMITS)
    assert set(seen) == {"PYTHONPATH", "OPENBLAS_NUM_THREADS"}
