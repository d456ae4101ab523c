"""Read back: what a listener makes of a sound who knows which words there are, and which often follow which.

pocketsphinx, as in training, but with a bigram of all the sentences that may be said in place of its own language
model of everything: a telephone's band alone costs that one four words in ten, more than any format can.  Half a count
of every pair goes to words that never followed, so that a damaged sound is not guessed from the sentence.  The room is
that of four tried in which plain samples at 8 kHz were read best.  Knows no format and no server: whatever comes is
heard in the same way.
"""

import itertools
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from texts import SENTENCES

from stream_server.training.held_out import TEST_SENTENCES
from stream_server.training.recognise import recognise
from stream_server.training.word_errors import normalised, word_errors

if TYPE_CHECKING:
    from pocketsphinx import Decoder

KNOWN = (*SENTENCES, *TEST_SENTENCES.read_text().splitlines())
DISCOUNT = 0.5
ROOM = 1e-3  # RMS of its noise beside full scale; G.711's smallest step is heard in a quieter one


def misread(text: str, audio: np.ndarray, sample_rate: int) -> tuple[int, int]:
    """→ word errors, words."""
    return word_errors(text, recognise(audio, sample_rate, listener(), ROOM))


@lru_cache(maxsize=1)
def listener() -> "Decoder":
    from pocketsphinx import Decoder

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "known.lm")
        path.write_text(bigrams(KNOWN))
        return Decoder(loglevel="FATAL", lm=str(path))


def bigrams(sentences: Sequence[str]) -> str:
    """An ARPA file: p(b | a) = (count(a b) - DISCOUNT) / count(a), and what that leaves goes by p(b)."""
    lines = [["<s>", *normalised(text), "</s>"] for text in sentences]
    single = Counter(word for line in lines for word in line[1:])
    pairs = Counter(pair for line in lines for pair in itertools.pairwise(line))
    begun, followers = Counter[str](), Counter(a for a, _ in pairs)
    for (a, _), count in pairs.items():
        begun[a] += count
    share = {word: count / single.total() for word, count in single.items()}
    left = {a: DISCOUNT * followers[a] / begun[a] for a in begun}
    words = [f"{log10(share.get(w, 1e-99)):.5f}\t{w}\t{log10(left.get(w, 1)):.5f}" for w in ["<s>", *sorted(share)]]
    both = [
        f"{log10((count - DISCOUNT) / begun[a] + left[a] * share[b]):.5f}\t{a} {b}"
        for (a, b), count in sorted(pairs.items())
    ]
    head = f"\\data\\\nngram 1={len(words)}\nngram 2={len(both)}\n"
    return "\n".join([head, "\\1-grams:", *words, "\n\\2-grams:", *both, "\n\\end\\\n"])
