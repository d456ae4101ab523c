import importlib.machinery
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from stream_server.audio import opus
from stream_server.audio.opus import RATES, OpusDecoder, OpusEncoder
from stream_server.errors import OpusMissing, StreamServerError


def tone(samples: int, rate: int) -> np.ndarray:
    return (8_000 * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)).astype(np.int16)


@pytest.mark.parametrize("rate", RATES)
def test_what_goes_in_comes_out_later_by_the_lookahead(rate: int) -> None:
    encoder, decoder = OpusEncoder(rate), OpusDecoder(rate)
    pcm = tone(10 * encoder.frame, rate)
    packets = [encoder.encode(frame) for frame in np.split(pcm, 10)]
    decoded = np.concatenate([decoder.decode(packet) for packet in packets])
    late, on_time = decoded[2 * encoder.frame + encoder.lookahead :], pcm[2 * encoder.frame : -encoder.lookahead]
    assert len(decoded) == len(pcm)
    assert np.corrcoef(late, on_time)[0, 1] > 0.98


def test_lookahead_and_frame_at_24_khz() -> None:
    encoder = OpusEncoder()
    assert (encoder.lookahead, encoder.frame) == (156, 480)


def test_bitrate_is_heard_of() -> None:
    noise = np.random.default_rng(0).integers(-8_000, 8_000, 480).astype(np.int16)
    assert len(OpusEncoder(bitrate=12_000).encode(noise)) < len(OpusEncoder(bitrate=64_000).encode(noise))


@pytest.mark.parametrize(
    "pcm", [np.zeros(479, np.int16), np.zeros(481, np.int16), np.zeros((1, 480), np.int16), np.zeros(480, np.float32)]
)
def test_a_frame_of_the_wrong_size_never_reaches_libopus(pcm: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int16 \\[480\\]"):
        OpusEncoder().encode(pcm)


@pytest.mark.parametrize("make", [OpusEncoder, OpusDecoder])
def test_rates_opus_does_not_know(make: type[OpusEncoder] | type[OpusDecoder]) -> None:
    with pytest.raises(ValueError, match="not 32000"):
        make(32_000)


def test_a_packet_that_is_none_is_our_error() -> None:
    with pytest.raises(StreamServerError, match="libopus refused: -4"):
        OpusDecoder().decode(b"\xff\xff\xff")


def test_a_setting_that_is_none_is_our_error() -> None:
    with pytest.raises(StreamServerError, match="libopus refused: -1"):
        OpusEncoder(complexity=99)


def test_opuslib_s_encode_error_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OpusEncoder()
    encoder.frame = 481  # past our check, so that libopus itself says no
    with pytest.raises(StreamServerError, match=r"libopus refused: .*-1"):
        encoder.encode(np.zeros(481, np.int16))


# Where libopus is found.


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without a libopus."""
    monkeypatch.delenv(opus.VARIABLE, raising=False)
    monkeypatch.setattr(opus, "find_library", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    return monkeypatch


def pyav_at(site: Path, *libraries: str) -> importlib.machinery.ModuleSpec:
    (site / "av.libs").mkdir()
    for name in libraries:
        (site / "av.libs" / name).touch()
    return importlib.machinery.ModuleSpec("av", None, origin=str(site / "av" / "__init__.py"))


def test_no_libopus_names_both_cures(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(OpusMissing, match=r"apt-get install libopus0.*pip install av"):
        opus.library()


def test_the_order_of_places(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = pyav_at(tmp_path, "libopusenc-1.so", "libopus-0fc8.so.0.11.1")
    bare.setattr(importlib.util, "find_spec", lambda name: spec)
    assert opus.library() == str(tmp_path / "av.libs" / "libopus-0fc8.so.0.11.1")
    bare.setattr(opus, "find_library", lambda name: f"lib{name}.so.0")
    assert opus.library() == "libopus.so.0"
    bare.setenv(opus.VARIABLE, "/elsewhere/libopus.so")
    assert opus.library() == "/elsewhere/libopus.so"


def test_pyav_without_a_libopus_is_no_libopus(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = pyav_at(tmp_path)
    bare.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(OpusMissing):
        opus.library()


def python(code: str, **environment: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_the_module_loads_nothing() -> None:
    code = (
        "import sys, stream_server.audio.encoders; print([m for m in ('opuslib', 'av', 'lameenc') if m in sys.modules])"
    )
    assert python(code) == "[]"


def test_an_encoder_may_outlive_the_interpreter() -> None:
    code = "from stream_server.audio.opus import *; e, d = OpusEncoder(), OpusDecoder()"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr == b""


def test_encoders_leave_no_memory_behind() -> None:
    freed: list[object] = []
    encoder = OpusEncoder()
    weakref.finalize(encoder, freed.append, True)
    del encoder
    assert freed


def test_a_library_that_is_none_is_opus_missing(tmp_path: Path) -> None:
    wrong = tmp_path / "libopus.so"
    wrong.write_bytes(b"not an ELF file")
    code = (
        "import ctypes.util; from stream_server.audio.opus import OpusEncoder; from stream_server.errors import *\n"
        "before = ctypes.util.find_library\n"
        "try: OpusEncoder()\n"
        "except OpusMissing as error: print(error, ctypes.util.find_library is before)"
    )
    answer = python(code, STREAM_SERVER_LIBOPUS=str(wrong))
    assert answer.startswith(str(wrong))
    assert "pip install av" in answer
    assert answer.endswith("True")


def test_a_library_given_by_path_is_the_one_that_loads() -> None:
    loaded = "import ctypes; print([line.split()[-1] for line in open('/proc/self/maps') if 'libopus' in line][0])"
    use = "from stream_server.audio.opus import OpusEncoder; OpusEncoder()\n"
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    path = python(use + loaded)
    assert python(use + loaded, STREAM_SERVER_LIBOPUS=path) == path
