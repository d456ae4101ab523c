"""Corpus, first half: hours of a synthetic teacher with exact phone times.

    python -m stream_server.training.teacher SENTENCES.txt corpus/slt --count 6000 --workers 2

Needs Debian's `festival` and `festvox-us-slt-hts` (permissive licences).  Breaks are forced to the punctuation, so
that every pause in the sound has a symbol.  Resumable: a shard already there is skipped.
"""

import argparse
import os
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from stream_server.models.lark.symbols import EDGE, PAUSES, VOWELS
from stream_server.training.shards import SAMPLE_RATE, Utterance, utterance, write_shard

SHARD = 200
LEAD_S, TAIL_S = 0.06, 0.24  # seconds of silence kept before the first and after the last phone
LEVEL = 0.08  # RMS of the louder half of a take, both speakers alike

PROLOGUE = """
(voice_cmu_us_slt_arctic_hts)
(set! phrase_cart_tree simple_phrase_cart_tree)
(Parameter.set 'Phrase_Method 'cart_tree)
(define (dump utt file)
  (let ((out (fopen file "w")))
    (mapcar (lambda (s) (format out "%s\\t%f\\t%s\\t%s\\t%s\\t%s\\n" (item.name s) (item.feat s "segment_end")
      (item.feat s "R:SylStructure.parent.stress") (item.feat s "R:SylStructure.parent.pos_in_word")
      (item.feat s "pos_in_syl") (item.feat s "R:SylStructure.parent.parent.R:Token.parent.punc")))
      (utt.relation.items utt 'Segment))
    (fclose out)))
(define (say text name)
  (let ((utt (SynthText text)))
    (dump utt (string-append name ".txt"))
    (utt.save.wave utt (string-append name ".wav") 'riff)))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sentences", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--first", type=int, default=0, help="index of the first sentence")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lines = options.sentences.read_text().splitlines()
    starts = range(options.first, options.first + options.count, SHARD)
    jobs = [
        (options.out / f"{start:06d}.npz", start, lines[start : min(start + SHARD, options.first + options.count)])
        for start in starts
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        for done, seconds in enumerate(pool.map(make_shard, jobs), 1):
            print(f"shard {done}/{len(jobs)}: {seconds / 60:.1f} min of speech", flush=True)


def make_shard(job: tuple[Path, int, list[str]]) -> float:
    """Synthesise, label and analyse one shard's sentences; → seconds of speech (0 if it was there already)."""
    path, start, texts = job
    if path.exists():
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{folder}/{start + index:06d}" for index in range(len(texts))]
        says = [f'(say "{quote(text)}" "{name}")' for text, name in zip(texts, names)]
        script = Path(folder, "say.scm")
        script.write_text(PROLOGUE + "\n".join(says))
        subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
        takes = [read_take(Path(name), text) for name, text in zip(names, texts)]
    write_shard(path, takes)
    return sum(len(take.audio) for take in takes) / SAMPLE_RATE


def quote(text: str) -> str:
    return text.replace("\\", "").replace('"', "")


def read_take(name: Path, text: str) -> Utterance:
    audio, _ = soundfile.read(name.with_suffix(".wav"))
    symbols, ends = read_labels(name.with_suffix(".txt").read_text())
    return framed(name.name, text, symbols, ends, audio, noisy=False)


def read_labels(text: str) -> tuple[list[str], list[float]]:
    """Festival's segments → symbols and their ends; a pause takes the punctuation before it as its name."""
    symbols, ends, punctuation = [], [], "."
    for line in text.splitlines():
        phone, end, stress, syllable, position, mark = line.split("\t")
        if phone == "pau":
            symbols.append(pause_symbol(punctuation) if symbols else EDGE)
        else:
            start = "_" if syllable == position == "0" else ""
            symbols.append(start + phone + (stress if phone in VOWELS else ""))
            punctuation = mark
        ends.append(float(end))
    return symbols, ends


def pause_symbol(punctuation: str) -> str:
    """The last pause mark among the characters that close a word; every other mark pauses as a comma does."""
    return next((mark for mark in reversed(punctuation) if mark in PAUSES), ",")


def framed(id: str, text: str, symbols: list[str], ends: list[float], audio: np.ndarray, noisy: bool) -> Utterance:
    """Trim or pad the silence at both ends to LEAD_S and TAIL_S, level the take and analyse it.

    `symbols` begins with the edge and closes with a sentence's end mark.
    """
    first, last = ends[0], ends[-2]
    lead, tail = int(LEAD_S * SAMPLE_RATE), int(TAIL_S * SAMPLE_RATE)
    begin, stop = int(first * SAMPLE_RATE), int(last * SAMPLE_RATE)
    room = np.random.default_rng(0).standard_normal(len(audio) + lead + tail) * 1e-5
    padded = np.concatenate([np.zeros(lead), audio, np.zeros(tail)]) + room
    audio = padded[begin : stop + lead + tail] * gain(audio)
    fade = np.minimum(1, np.arange(len(audio)) / 160)
    audio = np.clip(audio * fade * fade[::-1], -0.99, 0.99)
    moved = [LEAD_S] + [end - first + LEAD_S for end in ends[1:-1]] + [len(audio) / SAMPLE_RATE]
    return utterance(id, text, symbols, moved, audio, noisy)


def gain(audio: np.ndarray) -> float:
    """What brings the louder half of 20 ms blocks to LEVEL."""
    blocks = audio[: len(audio) // 640 * 640].reshape(-1, 640)
    power = np.sort((blocks**2).mean(1))[len(blocks) // 2 :]
    return float(LEVEL / np.sqrt(power.mean() + 1e-9))


if __name__ == "__main__":
    main()
