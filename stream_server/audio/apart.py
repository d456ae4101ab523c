"""Somebody's audio file to samples, in a process of its own that can hurt nobody.

A file of a few kilobytes can make a decoder take gigabytes, or minutes, before the first question about it can be
asked (an MP4's index of a thousand million samples, say).  So what looks at it is a child with bounds on its memory and
its time, without the parent's environment, and unable to open anything or to write a file.  In there only common sound
formats are read, by decoders that are named, one stream of them, as far as is wanted.

Run as a module it takes from its standard input one line of JSON, then the file; it gives one line of JSON, then
float32 samples.  Knows no bound on what the sound is like.
"""

import io
import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stream_server.audio.pcm import Float

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

FORMATS = ("wav", "aiff", "flac", "ogg", "mp3", "aac", "mov", "matroska")
PCM = ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le", "f64be", "alaw", "mulaw")
CODECS = (*(f"pcm_{kind}" for kind in PCM), "flac", "vorbis", "opus", "libopus", "mp3float", "mp3", "aac")
MIN_RATE, MAX_RATE, MAX_CHANNELS = 8_000, 192_000, 8
MAX_STREAMS, MAX_PACKETS = 8, 100_000
PROBED_BYTES = 1_000_000
MEMORY_BYTES = 256 << 20  # beyond what the child has when it begins
CLIPPED = 0.999  # of full scale
SLACK_S, SLACK = 0.2, 0.02  # a header may promise so much more than there is
TAG_WITHIN = 4096  # bytes of an mp3's first frame


class Refused(Exception):
    def __init__(self, why: str, limit: float | str | None = None) -> None:
        super().__init__(why)
        self.why, self.limit = why, limit


@dataclass(frozen=True)
class Decoded:
    pcm: Float  # [1 or 2, n]: the mean of its channels, and the first of them where there are more
    rate: int
    clipped: float  # share of samples, in any channel


def decode_apart(data: bytes, longest_s: float, seconds: float) -> Decoded:
    """longest_s: of sound, beyond which nothing is decoded; seconds: of waiting.  Raises `Refused`."""
    asked = json.dumps({"longest_s": longest_s, "seconds": seconds}).encode() + b"\n"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=asked + data,
            capture_output=True,
            timeout=seconds,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        raise Refused("the file takes too long to decode", seconds) from None
    head, _, samples = done.stdout.partition(b"\n")
    if done.returncode != 0 or not head:
        raise Refused("the file cannot be decoded safely: it breaks the decoder")
    told: dict[str, Any] = json.loads(head)
    if "why" in told:
        raise Refused(told["why"], told["limit"])
    pcm = np.frombuffer(samples, np.float32).reshape(told["rows"], -1).copy()
    return Decoded(pcm, told["rate"], told["clipped"])


def main() -> None:
    asked = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    rehearse()
    confine(asked["seconds"])
    try:
        decoded = decode(data, asked["longest_s"])
    except Refused as refused:
        answer({"why": refused.why, "limit": refused.limit})
    except MemoryError:
        answer({"why": "the file takes too much memory to decode", "limit": MEMORY_BYTES})
    else:
        told = {"rate": decoded.rate, "clipped": decoded.clipped, "rows": len(decoded.pcm)}
        answer(told, decoded.pcm.tobytes())


def answer(told: dict[str, Any], samples: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + samples)
    sys.stdout.buffer.flush()
    os._exit(0)  # what is left of a hostile file need not be put away


def rehearse() -> None:
    """Have everything loaded that reading a file needs: afterwards nothing can be."""
    for kind in ("error", "stream", "video.stream", "video.codeccontext", "subtitles.stream", "subtitles.codeccontext"):
        import_module(f"av.{kind}")
    file = io.BytesIO()
    with wave.open(file, "wb") as silence:
        silence.setparams((1, 2, MIN_RATE, 0, "NONE", ""))
        silence.writeframes(bytes(2 * MIN_RATE))
    decode(file.getvalue(), 1.0)


def confine(seconds: float) -> None:
    """So much more memory and time, no file, no socket, no child; as far as this system has such bounds."""
    import resource

    statm = Path("/proc/self/statm")
    if statm.exists():
        held = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_BYTES, held + MEMORY_BYTES))
    for bound, most in (("CPU", int(seconds) + 1), ("FSIZE", 0), ("CORE", 0), ("NOFILE", 0), ("NPROC", 0)):
        resource.setrlimit(getattr(resource, f"RLIMIT_{bound}"), (most, most))


def decode(data: bytes, longest_s: float) -> Decoded:
    """Raises `Refused`, or MemoryError."""
    import av.error

    options = {
        "format_whitelist": ",".join(FORMATS),
        "codec_whitelist": ",".join(CODECS),
        "max_streams": str(MAX_STREAMS),
        "probesize": str(PROBED_BYTES),
    }
    try:
        with av.open(io.BytesIO(data), "r", container_options=options, io_open=nothing_else) as container:
            return gathered(container, the_sound(container), longest_s, promises(data, container.format.name))
    except av.error.MemoryError:
        raise MemoryError from None
    except (av.error.FFmpegError, ValueError, UnicodeError):  # PyAV raises the latter two on what it cannot map
        raise Refused("not a sound file that can be read, or a damaged one", ", ".join(FORMATS)) from None


def nothing_else(url: str, flags: int, options: dict[str, str]) -> None:
    """A container may ask for other files or addresses: it gets none."""
    raise PermissionError


def the_sound(container: "InputContainer") -> "AudioStream":
    """The one stream of sound; a picture of a cover may lie beside it, a film may not."""
    from av.stream import Disposition

    if any(each.type == "video" and not each.disposition & Disposition.attached_pic for each in container.streams):
        raise Refused("the file is a video: send its sound alone", ", ".join(FORMATS))
    found = container.streams.audio
    if len(found) != 1:
        raise Refused(f"the file has {len(found) or 'no'} streams of sound", 1)
    codec = found[0].codec_context
    if codec is None or codec.name not in CODECS:
        raise Refused("the file's sound is coded in a way that is not read here", ", ".join(CODECS))
    if not MIN_RATE <= codec.sample_rate <= MAX_RATE:
        raise Refused("the file's sample rate is out of range", f"{MIN_RATE} to {MAX_RATE} Hz")
    if not 1 <= codec.channels <= MAX_CHANNELS:
        raise Refused("the file has too many channels, or none", MAX_CHANNELS)
    codec.thread_count = 1  # in there nothing may start another
    return found[0]


def gathered(container: "InputContainer", stream: "AudioStream", longest_s: float, promised: bool) -> Decoded:
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    due = container.duration / 1e6 if promised and container.duration else 0.0
    if due > longest_s + SLACK_S:
        raise Refused(f"the recording says it lasts {due:.0f} s: too long", longest_s)
    pieces: list[Float] = []
    samples = clipped = 0
    for frame in frames_of(container, stream):
        if (frame.sample_rate, len(frame.layout.channels)) != (rate, channels):
            raise Refused("the recording changes its rate or its channels on the way")
        samples += frame.samples
        if samples > longest_s * rate:
            raise Refused(f"the recording is longer than {longest_s:g} s", longest_s)
        each = channels_of(frame, channels)
        if not np.isfinite(each).all():
            raise Refused("the recording has samples that are no numbers")
        clipped += int((np.abs(each) >= CLIPPED).any(axis=0).sum())
        pieces.append(each if channels == 1 else np.stack([each.mean(axis=0), each[0]]))
    if due - samples / rate > SLACK_S + SLACK * due:
        raise Refused("the file is cut short: it ends before its header says", f"{due:.1f} s")
    if not pieces:
        raise Refused("there is no sound in the file")
    return Decoded(np.concatenate(pieces, axis=1), rate, clipped / max(1, samples))


def frames_of(container: "InputContainer", stream: "AudioStream") -> Iterator["AudioFrame"]:
    for number, packet in enumerate(container.demux(stream)):
        if number >= MAX_PACKETS:
            raise Refused("the file has too many packets", MAX_PACKETS)
        yield from packet.decode()


def channels_of(frame: "AudioFrame", channels: int) -> Float:
    """float32 [channels, n] in [-1, 1]."""
    found = frame.to_ndarray()
    if not frame.format.is_planar:
        found = found.reshape(-1, channels).T
    with np.errstate(over="ignore", invalid="ignore"):
        samples: Float = found.astype(np.float32)
    if found.dtype.kind not in "iu":
        return samples
    full = np.float32(1 << 8 * found.dtype.itemsize - 1)
    return samples / full - (np.float32(1) if found.dtype.kind == "u" else np.float32(0))


def promises(data: bytes, format: str) -> bool:
    """Whether the length such a container tells is what its header says, and no estimate.  Raises `Refused`.

    WAV and Ogg are looked at here: what is missing at their end, FFmpeg passes over.
    """
    if format == "wav":
        check_wav(data)
    if format == "ogg":
        check_ogg(data)
    if format == "mp3":
        return has_length(data)
    return format != "aac"


def has_length(mp3: bytes) -> bool:
    """Whether its first frame says how many follow; what a tag before it says is no matter of sound."""
    start = 0
    if mp3[:3] == b"ID3" and len(mp3) > 10:
        start = 10 + sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(mp3[6:10]))
    return any(mark in mp3[start : start + TAG_WITHIN] for mark in (b"Xing", b"Info", b"VBRI"))


def check_wav(data: bytes) -> None:
    """That its chunks are all there; one of a length that was never filled in reaches as far as the file."""
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data":
            if size < 0x7FFF_0000 and at + 8 + size > len(data):
                raise Refused("the file is cut short: it ends before its header says", f"{size} bytes of sound")
            return
        at += 8 + size + size % 2


def check_ogg(data: bytes) -> None:
    """That its last page says it is the last, and is whole."""
    last = data.rfind(b"OggS")
    lengths = data[last + 27 : last + 27 + data[last + 26]] if len(data) > last + 26 else b""
    ends = len(data) > last + 26 and data[last + 5] & 4 and last + 27 + len(lengths) + sum(lengths) <= len(data)
    if not ends:
        raise Refused("the file is cut short: its last page is missing")


if __name__ == "__main__":
    main()
