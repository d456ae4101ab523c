"""The held-out sentences: plain ones that no training reads and whose every word the recogniser knows.

    python -m stream_server.training.held_out SENTENCES.txt --apart kathleen/transcripts.tsv

Writes `test_sentences.txt`, a fixed file: figures compare only where they were measured on the same sentences, so it
is chosen once.  Draws from the end of the corpus because the teacher reads from its beginning; `--apart` names what a
speaker read (text in the last column), since both come from the same books.  Knows nothing of sound.
"""

import argparse
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from stream_server.training.word_errors import normalised

TEST_SENTENCES = Path(__file__).parent / "test_sentences.txt"
COUNT = 200
TAIL = 8_000  # lines at the end of the corpus, beyond whatever the teacher read
FEWEST_WORDS, MOST_WORDS = 5, 14


def main() -> None:
    from pocketsphinx import Decoder

    from stream_server.models.lark.lexicon import default_lexicon

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sentences", type=Path)
    parser.add_argument("--apart", type=Path, help="prompts to keep clear of, one a line")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lexicon, recogniser = default_lexicon(), Decoder(loglevel="FATAL")
    lines = options.sentences.read_text().splitlines()
    prompts = options.apart.read_text().splitlines() if options.apart else []
    spoken = [letters(row.split("\t")[-1]) for row in prompts]
    chosen = choose(lines, spoken, lambda w: w in lexicon and recogniser.lookup_word(w) is not None, options.seed)
    TEST_SENTENCES.write_text("\n".join(chosen) + "\n")
    print(f"{len(chosen)} sentences, {sum(len(normalised(line)) for line in chosen)} words → {TEST_SENTENCES.name}")


def choose(lines: list[str], spoken: list[str], known: Callable[[str], bool], seed: int) -> list[str]:
    """COUNT lines of the last TAIL, in random order, none said twice anywhere in the corpus nor within a prompt."""
    times = Counter(map(letters, lines))
    fit = [
        line
        for line in lines[-TAIL:]
        if times[letters(line)] == 1 and is_plain(line, known) and not any(letters(line) in said for said in spoken)
    ]
    return random.Random(seed).sample(fit, COUNT)


def is_plain(line: str, known: Callable[[str], bool]) -> bool:
    """Without quotation, and no capital but I past its first letter: names are what recognisers know least."""
    words = normalised(line)
    return (
        re.fullmatch(r"[A-Z](?:[a-z,.?! ]|\bI\b|(?<=[A-Za-z])'(?=[a-z]))+", line) is not None
        and FEWEST_WORDS <= len(words) <= MOST_WORDS
        and all(map(known, words))
    )


def letters(line: str) -> str:
    return re.sub(r"[^a-z]", "", line.lower())


if __name__ == "__main__":
    main()
