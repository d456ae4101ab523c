"""A recording somebody brought → the sound in it, checked before anything is made of it.

Any format FFmpeg reads.  It is a stranger's file: how much is decoded is bounded by what is asked for and not by what
the file says of itself, and nothing is kept beyond the bound.  What would make a bad voice is refused with its reason;
nothing is levelled, trimmed or repaired.
"""

import io
from dataclasses import dataclass

import numpy as np

from stream_server.audio.pcm import Float
from stream_server.errors import InvalidSetting, MessageTooLarge

MAX_BYTES = 20 << 20
SHORTEST_S, LONGEST_S = 3.0, 30.0
MAX_PACKETS = 100_000  # read of a file before it is given up
RATES = (8_000, 192_000)
QUIET_DB = -45.0  # of full scale, mean: below it there is nobody
CLIPPED = 0.01  # share of samples at full scale
FULL_SCALE = 0.999
FIELD = "audio"


@dataclass(frozen=True)
class Recording:
    pcm: Float  # float32 [n], mono: all channels' mean
    first: Float  # float32 [n]: the first channel
    rate: int  # Hz

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.rate


def read_recording(data: bytes, max_bytes: int = MAX_BYTES, longest_s: float = LONGEST_S) -> Recording:
    """Raises `MessageTooLarge`, or `InvalidSetting` whose field is "audio" and whose limit is the bound that was met.

    longest_s: seconds.
    """
    if len(data) > max_bytes:
        raise MessageTooLarge("audio: the file is too large", field=FIELD, limit=max_bytes)
    channels, rate = decode(data, longest_s)
    recording = Recording(channels.mean(axis=0), channels[0], rate)
    check(recording, longest_s)
    return recording


def decode(data: bytes, longest_s: float) -> tuple[Float, int]:
    """→ float32 [channels, n], its rate; stops as soon as there is more than `longest_s` of it."""
    import av

    try:
        with av.open(io.BytesIO(data), "r", options={"protocol_whitelist": "pipe"}) as container:
            if not container.streams.audio:
                raise refused("there is no sound in it")
            stream = container.streams.audio[0]
            pieces: list[Float] = []
            samples, rate, channels = 0, 0, 0
            for number, packet in enumerate(container.demux(stream)):
                if number > MAX_PACKETS:
                    raise refused("too many pieces for what it holds", MAX_PACKETS)
                for frame in packet.decode():
                    piece, found = floats(frame), (int(frame.sample_rate), frame.layout.nb_channels)
                    rate, channels = (rate, channels) if pieces else found
                    if found != (rate, channels):
                        raise refused("its rate or its channels change within it")
                    if not RATES[0] <= rate <= RATES[1]:
                        raise refused("its sample rate is out of range", f"{RATES[0]} to {RATES[1]}")
                    pieces.append(piece)
                    samples += piece.shape[1]
                    if samples > longest_s * rate:
                        raise refused("too long", longest_s)
    except av.FFmpegError as error:
        raise refused(f"not a recording that can be read ({type(error).__name__})") from None
    if not pieces:
        raise refused("there is no sound in it")
    return np.concatenate(pieces, axis=1), rate


def floats(frame: "av.AudioFrame") -> Float:  # type: ignore[name-defined]  # noqa: F821  # loaded where it is used
    """→ float32 [channels, n]."""
    array, count = frame.to_ndarray(), frame.layout.nb_channels
    planes = array if frame.format.is_planar else array.reshape(-1, count).T
    if planes.dtype == np.uint8:
        return ((planes.astype(np.float32) - 128) / 128).astype(np.float32)
    scale = 1.0 if planes.dtype.kind == "f" else float(np.iinfo(planes.dtype).max) + 1
    return (planes / scale).astype(np.float32)


def check(recording: Recording, longest_s: float) -> None:
    pcm = recording.pcm
    if not np.isfinite(pcm).all():
        raise refused("it holds samples that are no numbers")
    if recording.seconds < SHORTEST_S:
        raise refused("too short", SHORTEST_S)
    if recording.seconds > longest_s:
        raise refused("too long", longest_s)
    loudness = 10 * np.log10(max(float(np.mean(np.square(pcm, dtype=np.float64))), 1e-12))
    if loudness < QUIET_DB:
        raise refused("hardly anything is to be heard in it (dB of full scale)", QUIET_DB)
    if float(np.mean(np.abs(recording.first) >= FULL_SCALE)) > CLIPPED:
        raise refused("it is overdriven: too many samples at full scale", CLIPPED)


def refused(why: str, limit: float | str | None = None) -> InvalidSetting:
    return InvalidSetting(f"audio: {why}", field=FIELD, limit=limit)
