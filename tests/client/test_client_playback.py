"""The jitter buffer, the sinks, and how a player knows what was heard."""

import asyncio
import sys
import wave
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from stream_client import Audio, Client, DeviceSink, NullSink, Started, WavSink
from stream_client.jitter import JitterBuffer
from stream_client.playback import Player
from stream_client.sinks import Tee

from tests.client.fake_server import fake_server


def ramp(start: int, end: int) -> np.ndarray:
    return np.arange(start, end, dtype=np.int16)


def test_the_buffer_begins_with_a_full_cushion_and_loses_nothing() -> None:
    buffer = JitterBuffer(cushion=5)
    buffer.push(ramp(1, 4))
    assert buffer.pull(4).tolist() == [0, 0, 0, 0]
    buffer.push(ramp(4, 8))
    assert buffer.pull(4).tolist() == [1, 2, 3, 4]
    assert buffer.pull(4).tolist() == [5, 6, 7, 0]
    assert (buffer.played, buffer.underruns) == (7, 1)
    assert buffer.pull(4).tolist() == [0, 0, 0, 0]
    assert buffer.underruns == 1
    buffer.push(ramp(8, 10))
    buffer.complete()
    assert not buffer.drained
    assert buffer.pull(4).tolist() == [8, 9, 0, 0]
    assert (buffer.played, buffer.underruns, buffer.drained) == (9, 1, True)


def test_a_text_shorter_than_the_cushion_is_still_played() -> None:
    buffer = JitterBuffer(cushion=100)
    buffer.push(ramp(1, 3))
    buffer.complete()
    assert buffer.pull(3).tolist() == [1, 2, 0]


def test_the_null_sink_hears_at_the_pace_of_its_clock() -> None:
    now = 10.0
    sink = NullSink(cushion_s=0.1, clock=lambda: now)
    sink.open(1000)
    sink.write(ramp(0, 50))
    now = 10.2
    assert sink.heard == 0  # half a cushion
    sink.write(ramp(50, 150))
    now = 10.3
    assert sink.heard == 100
    sink.finish()
    assert not sink.drained
    now = 10.4
    assert (sink.heard, sink.drained) == (150, True)


def test_a_cleared_sink_stays_where_it_was() -> None:
    now = 0.0
    sink = NullSink(cushion_s=0.0, clock=lambda: now)
    sink.open(1000)
    sink.write(ramp(0, 500))
    now = 0.2
    sink.clear()
    now = 9.0
    assert (sink.heard, sink.drained) == (200, True)


def test_a_wav_file_has_its_sizes_once_closed(tmp_path: Path) -> None:
    sink = WavSink(tmp_path / "a.wav")
    other = WavSink(tmp_path / "b.wav")
    both = Tee(sink, other)
    both.open(24000)
    both.write(ramp(0, 100))
    both.write(ramp(100, 111))
    both.close()
    assert both.heard == 111
    for path in (sink.path, other.path):
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
            assert np.frombuffer(file.readframes(999), "<i2").tolist() == list(range(111))


class FakeSound(ModuleType):
    """sounddevice with a device whose time passes when told."""

    class PortAudioError(Exception):
        pass

    class RawOutputStream:
        latency = 0.01

        def __init__(self, *, callback: Callable[..., None], **asked: object) -> None:
            FakeSound.stream, self.callback, self.asked, self.closed = self, callback, asked, False

        def start(self) -> None:
            self.play(10)

        def play(self, frames: int) -> list[int]:
            out = bytearray(2 * frames)
            self.callback(memoryview(out), frames, None, None)
            return np.frombuffer(out, "<i2").tolist()

        def stop(self) -> None:
            self.closed = True

        close = stop

    stream: ClassVar[RawOutputStream]

    def query_devices(self, kind: str) -> None:
        pass


def test_a_device_pulls_and_what_is_in_the_air_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound("sounddevice"))
    sink = DeviceSink(cushion_s=0.02)
    sink.open(1000)
    device = FakeSound.stream
    assert device.asked == {"samplerate": 1000, "channels": 1, "dtype": "int16", "latency": "low"}
    sink.write(ramp(1, 51))
    assert device.play(30) == list(range(1, 31))
    assert sink.heard == 20  # 10 samples are the device's latency
    sink.finish()
    assert device.play(30) == [*range(31, 51), *[0] * 10]
    assert (sink.heard, sink.drained) == (50, True)
    sink.close()
    assert device.closed


@pytest.mark.asyncio
async def test_barge_in_says_what_the_player_knows() -> None:
    async with fake_server(packet_delay_s=0.002) as server, Client(server.url) as client:
        now = 0.0
        context = await client.start(sample_rate=32000)
        player = Player(context, NullSink(cushion_s=0.0, clock=lambda: now))
        await context.send("one two three four " * 20)
        pieces = 0
        async for event in context:
            if isinstance(event, Started):
                player.start(event)
            elif isinstance(event, Audio):
                await player.play(event)
                pieces += 1
                if pieces == 10:
                    now = 0.1  # 4 800 samples as decoded, at 48 kHz
                    break
        assert player.position == 3200
        cancelled = await asyncio.wait_for(player.interrupt(), 1)
        assert cancelled.played == 3200
        assert server.said("cancel")[0]["played"] == 3200
        assert [event async for event in context][-1:] == [cancelled]
        await asyncio.wait_for(player.finish(), 1)


@pytest.mark.asyncio
async def test_the_server_is_told_what_was_heard() -> None:
    async with fake_server() as server, Client(server.url) as client:
        now = 0.0
        context = await client.start()
        player = Player(context, NullSink(cushion_s=0.0, clock=lambda: now))
        await context.send("word " * 30)  # and no end: the context stays open
        async for event in context:
            if isinstance(event, Started):
                player.start(event)
            elif isinstance(event, Audio):
                now += 0.020
                await player.play(event)
                if event.pts > 30000:
                    break
        await asyncio.sleep(0.05)
        told = [message["played"] for message in server.said("played")]
        assert told
        assert told[0] >= 6000
        assert all(later - earlier >= 6000 for earlier, later in pairwise(told))
