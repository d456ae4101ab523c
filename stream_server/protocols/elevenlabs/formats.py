"""Formats by ElevenLabs' names, `codec_rate[_kbps]` → ours.  Opus is a continuous Ogg stream, as its clients expect."""

from stream_server.audio.format import AudioFormat
from stream_server.errors import UnsupportedFormat

DEFAULT = "mp3_44100_128"
# Seconds of speech in a message, after a short first one: the SDK takes no more than one message for each piece of text
# it sends, so with shorter ones it would run dry while the text is still coming.
CHUNK_S = 0.1


def _format(codec: str, rate: int, kbps: int | None = None) -> AudioFormat:
    return AudioFormat(codec, rate, None if kbps is None else 1000 * kbps, CHUNK_S)


FORMATS = {
    **{f"pcm_{rate}": _format("pcm_s16le", rate) for rate in (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)},
    "ulaw_8000": _format("mulaw", 8_000),
    "alaw_8000": _format("alaw", 8_000),
    "mp3_22050_32": _format("mp3", 22_050, 32),
    "mp3_24000_48": _format("mp3", 24_000, 48),
    **{f"mp3_44100_{kbps}": _format("mp3", 44_100, kbps) for kbps in (32, 64, 96, 128, 192)},
    **{f"opus_48000_{kbps}": _format("ogg_opus", 48_000, kbps) for kbps in (32, 64, 96, 128, 192)},
}


def find_format(name: str) -> AudioFormat:
    """Raises `UnsupportedFormat`, whose limit lists the names."""
    if name not in FORMATS:
        raise UnsupportedFormat("no such format here", field="output_format", limit=", ".join(FORMATS))
    return FORMATS[name]
