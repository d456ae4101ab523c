"""Opus in Ogg (RFC 7845, RFC 3533), a page for every packet.  Knows nothing of how packets are made."""

import struct
import zlib

from stream_server.audio.packets import CONTAINER_FRAME, opus_head

PAGE = struct.Struct("<4sBBqIIIB")  # magic, version, flags, granule, serial, number, checksum, segments
FIRST, LAST = 2, 4
SERIAL = 1
VENDOR = b"stream-server"
TAGS = b"OpusTags" + struct.pack("<I", len(VENDOR)) + VENDOR + bytes(4)  # no comments
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggOpus:
    """`rate` is what went into the encoder, `pre_skip` its lookahead at 48 kHz."""

    def __init__(self, rate: int, pre_skip: int) -> None:
        self._opus_head = opus_head(rate, pre_skip)
        self._pages = 0
        self._granule = 0  # samples at 48 kHz that the packets so far are decoded to

    def begin(self, last: bool) -> bytes:
        return self._page(self._opus_head, FIRST) + self._page(TAGS, LAST if last else 0)

    def packet(self, data: bytes) -> bytes:
        self._granule += CONTAINER_FRAME
        return self._page(data)

    def end(self, data: bytes, trim: int) -> bytes:
        self._granule += CONTAINER_FRAME - trim
        return self._page(data, LAST)

    def _page(self, data: bytes, flags: int = 0) -> bytes:
        lacing = b"\xff" * (len(data) // 255) + bytes([len(data) % 255])
        head = (b"OggS", 0, flags, self._granule, SERIAL, self._pages)
        self._pages += 1
        body = lacing + data
        return PAGE.pack(*head, checksum(PAGE.pack(*head, 0, len(lacing)) + body), len(lacing)) + body


def checksum(page: bytes) -> int:
    """Ogg's CRC is zlib's with every byte, and the result, read from the other end, and without its inversions."""
    mirrored = zlib.crc32(page.translate(REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(REVERSED), "big")
