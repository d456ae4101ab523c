"""Pronunciations: festival's cmudict-0.4 and its letter-to-sound trees → the two small files the voice ships with.

    python -m stream_server.training.lexicon SENTENCES.txt

Needs Debian's `festival` and `festlex-cmu` (University of Edinburgh's and CMU's permissive licences; the copyright
lines stay in the files).  Every entry is asked of festival itself, so that what the voice reads is what its teacher
read; a word with several pronunciations gets the one festival's tagger chooses most often in the sentences.
"""

import gzip
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from stream_server.models import lark
from stream_server.models.lark.symbols import VOWELS

DICTIONARY = Path("/usr/share/festival/dicts/cmu")
NOTICE = (
    "From CMUdict 0.4 by way of festlex-cmu; (c) 1996, 1997 Centre for Speech Technology Research, "
    "University of Edinburgh, UK; modified: one pronunciation a word, flat phones."
)


def main() -> None:
    folder = Path(lark.__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    entries = pronunciations(dictionary_words()) | usual_pronunciations(Path(sys.argv[1]).read_text().splitlines())
    lines = [NOTICE] + [f"{word} {' '.join(phones)}" for word, phones in sorted(entries.items())]
    write(folder / "lexicon.txt.gz", "\n".join(lines))
    rules = read_expression((DICTIONARY / "cmu_lts_rules.scm").read_text().split("cmu_lts_rules '", 1)[1])
    trees = {letter: compact(tree) for letter, tree in rules}
    write(folder / "letters.json.gz", json.dumps({"notice": NOTICE, "trees": trees}, separators=(",", ":")))
    print(f"{len(entries)} words, {len(trees)} letters")


def write(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{path}: {path.stat().st_size} bytes")


def dictionary_words() -> list[str]:
    dictionary = (DICTIONARY / "cmudict-0.4.out").read_text(encoding="latin-1")
    addenda = (DICTIONARY / "cmulex.scm").read_text()
    words = re.findall(r'^\("([^"]+)"', dictionary, re.M) + re.findall(r"'\(\"([^\"]+)\"", addenda)
    return sorted({word.lower() for word in words if re.fullmatch(r"[a-zA-Z']+", word)})


def pronunciations(words: list[str]) -> dict[str, list[str]]:
    """Ask festival for each word: syllables with their stress, flattened to phones, vowels carrying it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.txt")
        script = Path(folder, "ask.scm")
        ask = [f'(format out "%l\\n" (lex.lookup "{word}" nil))' for word in words]
        opening = ["(voice_cmu_us_slt_arctic_hts)", f'(set! out (fopen "{out}" "w"))']
        script.write_text("\n".join([*opening, *ask, "(fclose out)"]))
        subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
        answers = [read_expression(line) for line in out.read_text().splitlines()]
    return {
        str(name).strip('"').lower(): flatten(syllables)
        for name, _, syllables in answers
        if isinstance(syllables, list)
    }


def heteronyms() -> set[str]:
    dictionary = (DICTIONARY / "cmudict-0.4.out").read_text(encoding="latin-1")
    counts = Counter(re.findall(r'^\("([a-z]+)"', dictionary, re.M))
    return {word for word, count in counts.items() if count > 1}


def usual_pronunciations(sentences: list[str]) -> dict[str, list[str]]:
    """The most frequent pronunciation of each heteronym as festival reads it in context."""
    ambiguous = heteronyms()
    texts = [text.replace('"', "") for text in sentences if ambiguous & set(re.findall("[a-z]+", text.lower()))]
    with tempfile.TemporaryDirectory() as folder:
        out, script = Path(folder, "out.txt"), Path(folder, "read.scm")
        script.write_text(READER.replace("OUT", str(out)) + "\n".join(f'(read_out "{text}")' for text in texts))
        subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
        counts: dict[str, Counter] = defaultdict(Counter)
        for line in out.read_text().splitlines():
            word, *segments = line.lower().split()
            if word in ambiguous:
                counts[word][" ".join(segments)] += 1
    return {word: found.most_common(1)[0][0].split() for word, found in counts.items()}


READER = """
(voice_cmu_us_slt_arctic_hts)
(set! out (fopen "OUT" "w"))
(define (read_out text)
  (let ((u (eval (list 'Utterance 'Text text))))
    (Initialize u) (Text u) (Token_POS u) (Token u) (POS u) (Phrasify u) (Word u)
    (mapcar (lambda (w)
      (format out "%s" (item.name w))
      (mapcar (lambda (syl) (mapcar (lambda (seg)
          (format out " %s%s" (item.name seg)
            (if (string-equal "+" (item.feat seg "ph_vc")) (item.feat syl "stress") "")))
        (item.daughters syl))) (item.daughters (item.relation w 'SylStructure)))
      (format out "\\n"))
     (utt.relation.items u 'Word))))
"""


def flatten(syllables: list) -> list[str]:
    return [phone + (stress if phone in VOWELS else "") for phones, stress in syllables for phone in phones]


def compact(tree: list) -> list | str:
    """Scheme's decision tree → [offset, letter, yes, no] nodes and phone leaves ("" for silence)."""
    if len(tree) == 1:
        leaf = tree[0][-1]
        return "" if leaf == "_epsilon_" else leaf
    (feature, _, letter), yes, no = tree
    steps = feature.split(".")[:-1]
    return [len(steps) * (1 if "n" in steps else -1), letter, compact(yes), compact(no)]


def read_expression(text: str) -> list:
    """The first s-expression of `text` as nested lists of strings."""
    stack: list[list] = [[]]
    for token in re.findall(r'\(|\)|"[^"]*"|[^\s()]+', re.sub(r";;.*", "", text)):
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
            if len(stack) == 1:
                return done
        else:
            stack[-1].append(token)
    raise ValueError("unbalanced expression")


if __name__ == "__main__":
    main()
