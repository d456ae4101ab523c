"""Where speech goes: a file, a loudspeaker, or nowhere at the pace of a loudspeaker.

Each sink takes int16 mono samples and says how many of them have been heard.  None knows contexts or the wire.
"""

import importlib
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from stream_client.errors import DeviceMissing
from stream_client.gaps import CUSHION_S
from stream_client.jitter import JitterBuffer, Pcm


class Sink(Protocol):
    def open(self, rate: int) -> None: ...

    def write(self, pcm: Pcm) -> None: ...

    def finish(self) -> None:
        """No more comes; what is there is still to be heard."""

    def clear(self) -> None:
        """Barge-in: drop what has not been heard."""

    def close(self) -> None: ...

    @property
    def heard(self) -> int:
        """Samples heard so far, as written."""

    @property
    def drained(self) -> bool:
        """Whether all there will be has been heard."""


class WavSink:
    """A WAV file, 16-bit mono; its header is right once it is closed.  What is written counts as heard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard = 0
        self.drained = True
        self._file: wave.Wave_write | None = None

    def open(self, rate: int) -> None:
        self._raw = self.path.open("wb")
        self._file = wave.Wave_write(self._raw)
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(rate)

    def write(self, pcm: Pcm) -> None:
        assert self._file is not None, "open comes first"
        self._file.writeframesraw(pcm.astype("<i2", copy=False).tobytes())
        self.heard += len(pcm)

    def finish(self) -> None:
        pass

    def clear(self) -> None:
        pass

    def close(self) -> None:
        if self._file is not None:
            self._file.close()  # writes the sizes; the file itself is ours
            self._raw.close()
            self._file = None


class NullSink:
    """A loudspeaker without sound: consumes at real time, by the clock it is given."""

    def __init__(self, cushion_s: float = CUSHION_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._cushion_s = cushion_s
        self._clock = clock
        self._buffer = JitterBuffer(0)
        self._rate = 0
        self._opened = 0.0
        self._pulled = 0

    def open(self, rate: int) -> None:
        self._buffer = JitterBuffer(round(self._cushion_s * rate))
        self._rate = rate
        self._opened = self._clock()
        self._pulled = 0

    def write(self, pcm: Pcm) -> None:
        self._catch_up()
        self._buffer.push(pcm)

    def finish(self) -> None:
        self._catch_up()
        self._buffer.complete()

    def clear(self) -> None:
        self._catch_up()
        self._buffer.clear()

    def close(self) -> None:
        self.clear()

    @property
    def heard(self) -> int:
        self._catch_up()
        return self._buffer.played

    @property
    def drained(self) -> bool:
        self._catch_up()
        return self._buffer.drained

    def _catch_up(self) -> None:
        """Pull what time has passed for; between two calls nothing else could have happened to the buffer."""
        due = round((self._clock() - self._opened) * self._rate)
        if due > self._pulled:
            self._buffer.pull(due - self._pulled)
            self._pulled = due


class DeviceSink:
    """The default loudspeaker, through sounddevice."""

    def __init__(self, cushion_s: float = CUSHION_S) -> None:
        self._sound = _sounddevice()
        self._cushion_s = cushion_s
        self._buffer = JitterBuffer(0)
        self._lock = threading.Lock()  # the device pulls from a thread of its own
        self._stream: Any = None

    def open(self, rate: int) -> None:
        self._buffer = JitterBuffer(round(self._cushion_s * rate))
        self._latency = 0
        try:
            self._stream = self._sound.RawOutputStream(
                samplerate=rate, channels=1, dtype="int16", latency="low", callback=self._fill
            )
            self._stream.start()
        except self._sound.PortAudioError as error:
            raise DeviceMissing(f"the audio device cannot play {rate} Hz: {error}") from error
        self._latency = round(self._stream.latency * rate)

    def write(self, pcm: Pcm) -> None:
        with self._lock:
            self._buffer.push(pcm)

    def finish(self) -> None:
        with self._lock:
            self._buffer.complete()

    def clear(self) -> None:
        with self._lock:
            self._buffer.clear()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.stop()  # which waits for what the device has already
            self._stream.close()
            self._stream = None

    @property
    def heard(self) -> int:
        """What the device took, less what is still on its way to the ear."""
        return self._buffer.played if self._buffer.drained else max(0, self._buffer.played - self._latency)

    @property
    def drained(self) -> bool:
        return self._buffer.drained

    def _fill(self, out: Any, frames: int, _time: object, _status: object) -> None:
        with self._lock:
            out[:] = self._buffer.pull(frames).tobytes()


class Tee:
    """The same speech into several sinks; heard is what all of them have let be heard."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def open(self, rate: int) -> None:
        for sink in self._sinks:
            sink.open(rate)

    def write(self, pcm: Pcm) -> None:
        for sink in self._sinks:
            sink.write(pcm)

    def finish(self) -> None:
        for sink in self._sinks:
            sink.finish()

    def clear(self) -> None:
        for sink in self._sinks:
            sink.clear()

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    @property
    def heard(self) -> int:
        return min(sink.heard for sink in self._sinks)

    @property
    def drained(self) -> bool:
        return all(sink.drained for sink in self._sinks)


def device_available() -> bool:
    try:
        _sounddevice()
    except DeviceMissing:
        return False
    return True


def _sounddevice() -> Any:
    """sounddevice, where it is installed, finds PortAudio, and PortAudio finds a device."""
    try:
        sound = importlib.import_module("sounddevice")
        sound.query_devices(kind="output")
    except ImportError as error:
        raise DeviceMissing("playing needs sounddevice: `pip install sounddevice`, or write a file") from error
    except Exception as error:  # OSError without PortAudio, its own error without a device
        raise DeviceMissing(f"nothing here can play sound ({error}); write a file instead") from error
    return sound
