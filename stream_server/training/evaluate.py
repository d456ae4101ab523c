"""Evaluation: how many words of the test sentences a listener gets wrong when a system reads them.

    python -m stream_server.training.evaluate festival --out evaluation/festival
    python -m stream_server.training.evaluate voice:NAME --count 30 --out evaluation/NAME
    python -m stream_server.training.evaluate folder:PATH --json

The first 30 sentences are the quick set.  With `--out` each sound is kept (000.wav …) and so is what was heard in it,
under the sound's digest: a killed run resumes, and a retrained voice is never scored on yesterday's hearing.  The last
line printed is JSON.  Figures compare only between systems given the same sentences.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import soundfile

from stream_server.training.held_out import TEST_SENTENCES
from stream_server.training.recognise import recognise
from stream_server.training.systems import Synthesiser, system
from stream_server.training.word_errors import interval, rate, word_errors


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("system", help="festival, folder:PATH or voice:NAME")
    parser.add_argument("--sentences", type=Path, default=TEST_SENTENCES)
    parser.add_argument("--count", type=int, help="only the first so many sentences")
    parser.add_argument("--out", type=Path, help="keeps sounds and what was heard; makes the run resumable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="nothing but JSON on the standard output")
    options = parser.parse_args()
    sentences = options.sentences.read_text().splitlines()[: options.count]
    heard = hearings(system(options.system, sentences, options.seed), sentences, options.out)
    errors, words = score(sentences, heard, sys.stderr if options.json else sys.stdout)
    print(json.dumps({"system": options.system} | summary(errors, words)))


class Hearings:
    """What was heard in which sound, remembered in `heard.jsonl` of a folder (None: for this run only)."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / "heard.jsonl" if folder else None
        rows = self._path.read_text().splitlines() if self._path and self._path.exists() else []
        self._heard = {row["sound"]: row["heard"] for row in map(json.loads, rows)}

    def of(self, sound: np.ndarray, sample_rate: int) -> str:
        """`sound` as it was stored: int16."""
        key = hashlib.sha256(sound.tobytes() + str(sample_rate).encode()).hexdigest()
        if key not in self._heard:
            self._heard[key] = recognise(sound / np.float32(32768), sample_rate)
            self._append({"sound": key, "heard": self._heard[key]})
        return self._heard[key]

    def _append(self, row: dict[str, str]) -> None:
        if self._path:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def hearings(speak: Synthesiser, sentences: list[str], folder: Path | None) -> Iterator[str]:
    """Speak, store and hear one sentence after the other."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    known = Hearings(folder)
    for index, text in enumerate(sentences):
        audio, sample_rate = speak(text)
        sound = np.clip(np.round(audio * 32768), -32768, 32767).astype(np.int16)
        if folder:
            soundfile.write(folder / f"{index:03d}.wav", sound, sample_rate)
        yield known.of(sound, sample_rate)


def score(sentences: list[str], heard: Iterator[str], progress: TextIO) -> tuple[list[int], list[int]]:
    """→ errors and words of each sentence, telling `progress` how far it is."""
    errors: list[int] = []
    words: list[int] = []
    started = time.monotonic()
    for done, (text, hypothesis) in enumerate(zip(sentences, heard), 1):
        wrong, count = word_errors(text, hypothesis)
        errors.append(wrong)
        words.append(count)
        left = (time.monotonic() - started) / done * (len(sentences) - done) / 60
        print(
            f"{done}/{len(sentences)}  WER {rate(errors, words):.1%}  {left:.1f} min left  "
            f"{wrong}/{count}: {text} → {hypothesis}",
            file=progress,
            flush=True,
        )
    return errors, words


def summary(errors: list[int], words: list[int]) -> dict[str, float]:
    low, high = interval(errors, words)
    return {
        "sentences": len(words),
        "words": sum(words),
        "errors": sum(errors),
        "wer": round(rate(errors, words), 4),
        "wer_low": round(low, 4),
        "wer_high": round(high, 4),
    }


if __name__ == "__main__":
    main()
