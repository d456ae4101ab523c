"""Files that were made to hurt: each tells more than it holds, or holds what it does not tell."""

import struct
from collections.abc import Callable

import numpy as np

from tests.audio.recordings import RATE, encoded, speechlike, wav

HOURS = 10 * 3600
SPOKEN = speechlike(5)


def cut(data: bytes, share: float = 0.7) -> bytes:
    return data[: int(len(data) * share)]


def flac_of_hours() -> bytes:
    """Its header says ten hours."""
    data = bytearray(encoded(SPOKEN, "flac", "flac"))
    samples = HOURS * RATE
    data[21] = data[21] & 0xF0 | samples >> 32
    data[22:26] = (samples & 0xFFFF_FFFF).to_bytes(4, "big")
    return bytes(data)


def mp4_of_many_samples(count: int = 60_000_000) -> bytes:
    """Its index says that it has so many samples of a byte: read plainly, seconds and gigabytes."""
    data = bytearray(encoded(SPOKEN, "ipod", "aac"))
    struct.pack_into(">II", data, data.find(b"stsz") + 8, 1, count)
    struct.pack_into(">IIII", data, data.find(b"stsc") + 8, 1, 1, count, 1)
    struct.pack_into(">III", data, data.find(b"stts") + 8, 1, count, 1024)
    return bytes(data)


def of_numbers(value: float) -> bytes:
    pcm = SPOKEN.copy()
    pcm[1000] = value
    return wav(pcm, kind=3)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "noise": lambda: np.random.default_rng(0).bytes(100_000),
    "zeros": lambda: bytes(1_000_000),
    "a page": lambda: b"<!doctype html><html><body>hello</body></html>" * 100,
    "a playlist": lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
    "a list of files": lambda: b"ffconcat version 1.0\nfile /etc/hostname\n",
    "an address": lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
    "wav cut short": lambda: cut(wav(SPOKEN)),
    "wav without sound": lambda: wav(SPOKEN)[:44],
    "wav of half a header": lambda: wav(SPOKEN)[:30],
    "mp3 cut short": lambda: cut(encoded(SPOKEN, "mp3", "libmp3lame")),
    "flac cut short": lambda: cut(encoded(SPOKEN, "flac", "flac")),
    "ogg cut short": lambda: cut(encoded(SPOKEN, "ogg", "libopus")),
    "m4a cut short": lambda: cut(encoded(SPOKEN, "ipod", "aac")),
    "webm cut short": lambda: cut(encoded(SPOKEN, "webm", "libopus")),
    "wav that says ten hours": lambda: wav(SPOKEN, data_bytes=HOURS * RATE * 2),
    "flac that says ten hours": flac_of_hours,
    "ten minutes of silence in little": lambda: encoded(np.zeros(600 * 8_000, np.float32), "flac", "flac", 8_000),
    "mp4 of many samples": mp4_of_many_samples,
    "wav at 4 GHz": lambda: wav(SPOKEN, rate=0xFFFF_FFFF),
    "wav at 1 Hz": lambda: wav(SPOKEN, rate=1),
    "wav at 0 Hz": lambda: wav(SPOKEN, rate=0),
    "wav of 65,535 channels": lambda: wav(SPOKEN, channels=0xFFFF),
    "wav of no channels": lambda: wav(SPOKEN, channels=0),
    "wav of an unknown code": lambda: wav(SPOKEN, kind=0x1234),
    "wav that is no numbers": lambda: of_numbers(np.nan),
    "wav that is infinite": lambda: of_numbers(np.inf),
    "a film": lambda: encoded(SPOKEN, "mp4", "aac", video=True),
    "two rates": lambda: encoded(SPOKEN, "adts", "aac") + encoded(speechlike(5, 48_000), "adts", "aac", 48_000),
}
