"""Is it the same speech in every format?  Each is decoded by FFmpeg and read by a recogniser.

    python benchmarks/formats.py [--quick]

Every format of the native protocol, at the rates that clients ask for, from a real server: the same sentences, voice
and seeds.  `length_error` is the decoded length beside the samples that were made, in codec frames at most one (raw
ones: none).  An mp3 stream cannot say how much of it is lead-in (LAME's delay and the decoder's, 1,105 samples), so
that much more of it is expected.  `wer` is what the recogniser makes of it.  Some codecs cost a recogniser a word here
or there, and 8 kHz costs it several: the bounds are on what a format loses beside WAV, and one of 8 kHz beside plain
16-bit samples of that rate.  Needs the extra `[train]` (pocketsphinx).
"""

import argparse
import asyncio
import io
import json
from typing import Any

import av
import numpy as np
from report import conclude, table
from server import server
from texts import SENTENCES
from websockets import Subprotocol
from websockets.asyncio.client import connect

from stream_server.training.recognise import recognise
from stream_server.training.word_errors import word_errors

RATE = 24_000
NARROW = 8_000
MP3_LEAD = 1_105  # samples
# Format, rate, how to decode it where it says nothing of itself, and its frame in samples.
FORMATS: tuple[tuple[str, int | None, str | None, int], ...] = (
    ("wav", None, None, 0),
    ("pcm_s16le", None, "s16le", 0),
    ("pcm_s16le", 8_000, "s16le", 0),
    ("pcm_s16le", 48_000, "s16le", 0),
    ("pcm_f32le", 44_100, "f32le", 0),
    ("mulaw", 8_000, "mulaw", 0),
    ("alaw", 8_000, "alaw", 0),
    ("ogg_opus", None, None, 960),
    ("webm", None, None, 960),
    ("mp3", None, None, 576),
    ("mp3", 22_050, None, 576),
    ("mp3", 44_100, None, 1152),
    ("aac", None, None, 2048),
    ("flac", None, None, 0),
)
FLOORS = {"largest_length_error_frames": 1.0, "wer_over_wav": 0.03, "narrow_wer_over_pcm": 0.03}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one sentence, nothing kept")
    options = parser.parse_args()
    sentences = SENTENCES[:1] if options.quick else SENTENCES
    found: dict[str, dict[str, float]] = {}
    with server() as served:
        for format, rate, raw, frame in FORMATS:
            errors = words = 0
            lengths: list[float] = []
            for seed, text in enumerate(sentences):
                data, samples = asyncio.run(spoken(served.port, text, seed, format, rate))
                pcm, decoded_rate = decoded(data, raw, rate or RATE)
                expected = samples * decoded_rate / RATE + (MP3_LEAD if format == "mp3" else 0)
                lengths.append(abs(len(pcm) - expected) / max(1, frame))
                wrong, said = word_errors(text, recognise(pcm, decoded_rate))
                errors, words = errors + wrong, words + said
            name = format if rate is None else f"{format} {rate}"
            found[name] = {"wer": errors / words, "length_error_frames": max(lengths)}
    rows = [[name, *row.values()] for name, row in found.items()]
    table("decoded and read", ["", "WER", "longest error, frames"], rows)
    figures: dict[str, Any] = {
        "sentences": len(sentences),
        "formats": found,
        "wer_over_wav": over(found, "wav", [name for name in found if not name.endswith(f" {NARROW}")]),
        "narrow_wer_over_pcm": over(
            found, f"pcm_s16le {NARROW}", [name for name in found if name.endswith(f" {NARROW}")]
        ),
        "largest_length_error_frames": max(row["length_error_frames"] for row in found.values()),
    }
    conclude("formats", figures, FLOORS, keep=not options.quick)


def over(found: dict[str, dict[str, float]], plain: str, names: list[str]) -> float:
    """What the worst of them costs beside the plain one."""
    return max(found[name]["wer"] for name in names) - found[plain]["wer"]


async def spoken(port: int, text: str, seed: int, format: str, rate: int | None) -> tuple[bytes, int]:
    """→ the encoded sound, samples made."""
    asked = {"type": "start", "context": "c", "format": format, "output_rate": rate, "seed": seed, "paced": False}
    url, protocol = f"ws://127.0.0.1:{port}/v1/stream", Subprotocol("stream-server.v1")
    async with connect(url, subprotocols=[protocol], compression=None) as socket:
        for message in (asked, {"type": "text", "context": "c", "text": text}, {"type": "end", "context": "c"}):
            await socket.send(json.dumps({name: value for name, value in message.items() if value is not None}))
        data = b""
        while True:
            message = await socket.recv()
            if isinstance(message, bytes):
                data += message[20:]
            elif (event := json.loads(message))["type"] == "done":
                return data, event["samples"]
            elif event["type"] == "error":
                raise SystemExit(event["message"])


def decoded(data: bytes, raw: str | None, rate: int) -> tuple[np.ndarray, int]:
    """→ float32 [n], its rate."""
    options = {"sample_rate": str(rate)} if raw else {}
    with av.open(io.BytesIO(data), format=raw, options=options) as container:
        resampler = av.AudioResampler("flt", "mono")
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


if __name__ == "__main__":
    main()
