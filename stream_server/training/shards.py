"""The corpus on disk: shards of utterances, each a features array, its sound and its timed symbols.

`NAME.npz` holds `features` float16 [frames, 86], `audio` int16 [frames * 320] (32 kHz) and JSON `utterances`:
{"id", "text", "start", "frames", "symbols": [...], "ends": [...]} where start counts frames and ends are the
symbols' ends in seconds from the utterance's start.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 32_000
HOP = 320


@dataclass
class Utterance:
    id: str
    text: str
    symbols: list[str]
    ends: list[float]  # seconds
    features: np.ndarray  # [frames, 86]
    audio: np.ndarray  # int16 [frames * 320]


def write_shard(path: Path, utterances: list[Utterance]) -> None:
    """Atomically, so that a killed run leaves whole shards only."""
    table, start = [], 0
    for utterance in utterances:
        row = asdict(utterance)
        del row["features"], row["audio"]
        table.append(row | {"start": start, "frames": len(utterance.features)})
        start += len(utterance.features)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            features=np.concatenate([u.features for u in utterances]).astype(np.float16),
            audio=np.concatenate([u.audio for u in utterances]),
            utterances=np.frombuffer(json.dumps(table).encode(), np.uint8),
        )
    partial.rename(path)


def read_shards(folder: Path, with_audio: bool = False) -> Iterator[Utterance]:
    """Every utterance of a folder, shards in the order of their names."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as shard:
            features = shard["features"].astype(np.float32)
            audio = shard["audio"] if with_audio else np.zeros(0, np.int16)
            table = json.loads(shard["utterances"].tobytes())
        for row in table:
            start, frames = row.pop("start"), row.pop("frames")
            span = slice(start, start + frames)
            yield Utterance(**row, features=features[span], audio=audio[start * HOP : (start + frames) * HOP])


def utterance(id: str, text: str, symbols: list[str], ends: list[float], audio: np.ndarray, noisy: bool) -> Utterance:
    """Analyse one take: float audio at 32 kHz, cut or padded to whole frames."""
    from stream_server.training.analysis import analyse

    frames = len(audio) // HOP
    audio = audio[: frames * HOP]
    return Utterance(
        id, text, symbols, ends, analyse(audio, SAMPLE_RATE, noisy)[:frames], np.round(audio * 32767).astype(np.int16)
    )
