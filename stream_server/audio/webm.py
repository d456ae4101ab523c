"""Opus in WebM as a live stream: no sizes, no index, a cluster for every packet.

Knows nothing of how packets are made.
"""

import struct

from stream_server.audio.packets import CONTAINER_RATE, opus_head

UNKNOWN_SIZE = bytes([0x01]) + b"\xff" * 7
PACKET_MS = 20
SEEK_PRE_ROLL_NS = 80_000_000
TRACK = 1
KEY_FRAME = 0x80


class WebmOpus:
    """`rate` is what went into the encoder, `pre_skip` its lookahead at 48 kHz.  Timestamps are milliseconds."""

    def __init__(self, rate: int, pre_skip: int) -> None:
        self._opus_head = opus_head(rate, pre_skip)
        self._delay_ns = nanoseconds(pre_skip)
        self._packets = 0

    def begin(self, last: bool) -> bytes:
        return EBML_HEADER + SEGMENT + INFO + element("1654AE6B", self._track())

    def packet(self, data: bytes) -> bytes:
        return self._cluster(element("A3", block(data, KEY_FRAME)))

    def end(self, data: bytes, trim: int) -> bytes:
        discard = element("75A2", nanoseconds(trim).to_bytes(8, "big", signed=True))
        return self._cluster(element("A0", element("A1", block(data, 0)) + discard))

    def _cluster(self, content: bytes) -> bytes:
        time = self._packets * PACKET_MS
        self._packets += 1
        return element("1F43B675", element("E7", number(time)) + content)

    def _track(self) -> bytes:
        fields = {
            "D7": number(TRACK),
            "73C5": number(TRACK),  # its unique id
            "83": number(2),  # sound
            "9C": number(0),  # no lacing
            "86": b"A_OPUS",
            "63A2": self._opus_head,
            "56AA": number(self._delay_ns),
            "56BB": number(SEEK_PRE_ROLL_NS),
            "E1": element("B5", struct.pack(">d", CONTAINER_RATE)) + element("9F", number(1)),
        }
        return element("AE", b"".join(element(id, content) for id, content in fields.items()))


def element(id: str, content: bytes) -> bytes:
    """Its id in hex, the size in as many bytes as it needs, the content."""
    length = len(content)
    width = next(width for width in range(1, 9) if length < (1 << 7 * width) - 1)
    return bytes.fromhex(id) + (length | 1 << 7 * width).to_bytes(width, "big") + content


def number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")


def block(data: bytes, flags: int) -> bytes:
    """At the time of its cluster."""
    return bytes([0x80 | TRACK, 0, 0, flags]) + data


def nanoseconds(samples: int) -> int:
    return round(samples * 1_000_000_000 / CONTAINER_RATE)


EBML_HEADER = element(
    "1A45DFA3",
    element("4286", number(1))  # version
    + element("42F7", number(1))  # readable from version
    + element("42F2", number(4))  # longest id
    + element("42F3", number(8))  # longest size
    + element("4282", b"webm")
    + element("4287", number(4))
    + element("4285", number(2)),
)
SEGMENT = bytes.fromhex("18538067") + UNKNOWN_SIZE
INFO = element(
    "1549A966",
    element("2AD7B1", number(1_000_000))  # nanoseconds a tick
    + element("4D80", b"stream-server")
    + element("5741", b"stream-server"),
)
