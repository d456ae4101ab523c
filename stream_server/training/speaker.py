"""Corpus, second half: the real speaker, phones timed by forced alignment.

    python -m stream_server.training.speaker kathleen/ corpus/kathleen --workers 2

`kathleen/` holds FLAC takes at 32 kHz and `transcripts.tsv` (take id, tab, text).  Each take is aligned with our own
pronunciation of its words (pocketsphinx, BSD); a take that does not align is left out and counted.
"""

import argparse
import os
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

from stream_server.models.lark.lexicon import default_lexicon
from stream_server.models.lark.symbols import EDGE
from stream_server.training.shards import Utterance, write_shard
from stream_server.training.teacher import SAMPLE_RATE, framed, pause_symbol

SHARD = 90
MIN_PAUSE_S = 0.08  # a silence shorter than this between words belongs to the phone before it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [line.split("\t") for line in (options.source / "transcripts.tsv").read_text().splitlines()]
    jobs = [
        (options.out / f"{start:06d}.npz", options.source, rows[start : start + SHARD])
        for start in range(0, len(rows), SHARD)
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        for done, (kept, lost) in enumerate(pool.map(make_shard, jobs), 1):
            print(f"shard {done}/{len(jobs)}: {kept} takes aligned, {lost} left out", flush=True)


def make_shard(job: tuple[Path, Path, list[list[str]]]) -> tuple[int, int]:
    path, source, rows = job
    if path.exists():
        return 0, 0
    takes = [take for id, text in rows if (take := read_take(source / f"{id}.flac", text))]
    write_shard(path, takes)
    return len(takes), len(rows) - len(takes)


def read_take(path: Path, text: str) -> Utterance | None:
    audio, _ = soundfile.read(path)
    aligned = align(audio, text)
    if aligned is None:
        return None
    symbols, ends = aligned
    return framed(path.stem, text, symbols, ends, audio, noisy=True)


def split_words(text: str) -> list[tuple[str, str]]:
    """A prompt → (word, the punctuation that closes it); hyphens part words."""
    found = re.findall(r"([A-Za-z']+)([^A-Za-z']*)", text.replace("’", "'"))
    return [(word.strip("'"), mark.strip()) for word, mark in found if word.strip("'")]


def align(audio: np.ndarray, text: str) -> tuple[list[str], list[float]] | None:
    """Sound at 32 kHz and its prompt → symbols and their ends in seconds; None where the aligner gives up."""
    words = split_words(text)
    symbols = [default_lexicon().symbols(word) for word, _ in words]
    if not all(symbols):
        return None
    try:
        segments = sphinx_phones(audio, symbols)
    except RuntimeError:  # what pocketsphinx raises when no path through the text survives
        return None
    return None if segments is None else timed_symbols(segments, symbols, [mark for _, mark in words])


def sphinx_phone(symbol: str) -> str:
    phone = re.sub(r"[_01]", "", symbol).upper()
    return {"AX": "AH"}.get(phone, phone)


def sphinx_phones(audio: np.ndarray, words: list[list[str]]) -> list[list[tuple[str, float, float]]] | None:
    """Two passes of pocketsphinx → for each word, or silence ([] phones), its (phone, start, end) in seconds."""
    from pocketsphinx import Decoder, get_model_path

    speech = soxr.resample(audio, SAMPLE_RATE, 16_000)
    padded = np.concatenate([np.zeros(3200), speech / max(0.1, np.abs(speech).max()) * 0.7, np.zeros(3200)])
    padded += np.random.default_rng(0).standard_normal(len(padded)) * 3e-4
    pcm = (padded * 32767).astype(np.int16).tobytes()
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as dictionary:
        spelled = [f"w{index} {' '.join(map(sphinx_phone, word))}" for index, word in enumerate(words)]
        dictionary.write("\n".join(spelled) + "\n")
        dictionary.flush()
        decoder = Decoder(
            hmm=get_model_path("en-us/en-us"),
            dict=dictionary.name,
            lm=None,
            bestpath=False,
            loglevel="FATAL",
            beam=1e-80,
            wbeam=1e-60,
            pbeam=1e-80,
        )
        decoder.set_align_text(" ".join(f"w{index}" for index in range(len(words))))
        for second_pass in (False, True):
            if second_pass:
                if decoder.hyp() is None:
                    return None
                decoder.set_alignment()
            decoder.start_utt()
            decoder.process_raw(pcm, full_utt=True)
            decoder.end_utt()
        result = []
        for word in decoder.get_alignment():
            spoken = word.name.startswith("w")
            result.append(
                [(p.name if spoken else "", p.start / 100 - 0.2, (p.start + p.duration) / 100 - 0.2) for p in word]
            )
        return result


def timed_symbols(
    segments: list[list[tuple[str, float, float]]], words: list[list[str]], marks: list[str]
) -> tuple[list[str], list[float]] | None:
    """Aligned words and silences → symbols and ends; a pause is named by the mark before it."""
    symbols, ends, spoken = [EDGE], [0.0], 0
    for segment in segments:
        if segment[0][0]:
            if len(segment) != len(words[spoken]):
                return None
            if spoken == 0:
                ends[0] = max(0.0, segment[0][1])
            symbols += words[spoken]
            ends += [end for _, _, end in segment]
            spoken += 1
        elif 0 < spoken < len(words):
            if segment[-1][2] - ends[-1] < MIN_PAUSE_S:
                ends[-1] = segment[-1][2]
            else:
                symbols.append(pause_symbol(marks[spoken - 1]).replace(".", ","))
                ends.append(segment[-1][2])
    if spoken != len(words):
        return None
    closing = pause_symbol(marks[-1])
    return [*symbols, "." if closing == "," else closing], [*ends, ends[-1]]


if __name__ == "__main__":
    main()
