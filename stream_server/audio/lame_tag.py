"""LAME's tag: a first mp3 frame without sound, which tells a decoder how many samples of lead-in to drop.

The length and the padding stay open: a stream knows neither.
"""

import struct

MPEG_1 = 0x08  # of a header's second byte
SIDE_INFO, SIDE_INFO_1 = 9, 17  # bytes, mono, in MPEG-2 and 2.5 and in MPEG-1
PADDED = 0x02  # of a header's third byte
HAS_BYTES = 0x02  # FFmpeg takes a tag that tells neither frames nor bytes for a frame of sound
OPEN = 0xFFFF_FFFF
ENCODER = b"LAME3.100"


def tag_frame(header: bytes, length: int, delay: int) -> bytes:
    """header: 4 bytes, a following frame's; length: bytes of such a frame unpadded; delay: the encoder's, samples."""
    side_info = SIDE_INFO_1 if header[1] & MPEG_1 else SIDE_INFO
    frame = bytes([*header[:2], header[2] & ~PADDED, header[3]]) + bytes(side_info)
    frame += struct.pack(">4sII", b"Info", HAS_BYTES, OPEN)
    constant_bit_rate, bit_rate = 0x01, 0xFF  # revision 0; 255 kbit/s or more, or not told
    frame += struct.pack(">9sBB8xBB", ENCODER, constant_bit_rate, 0, 0, bit_rate)
    frame += (delay << 12).to_bytes(3, "big") + bytes(10)  # no padding told; nothing about gain, length or checksum
    return (frame + crc16(frame).to_bytes(2, "big")).ljust(length, b"\0")


def crc16(data: bytes) -> int:
    """Polynomial x¹⁶ + x¹⁵ + x² + 1, bits mirrored, from 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc
