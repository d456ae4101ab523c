"""How a word is said: a dictionary of 105,733 words, and letter-to-sound trees for every other.

Both are CMUdict 0.4 in the form festival gives it (`training.lexicon` made the files), so the voice reads words the
way it heard them.  One pronunciation a word: a heteronym ("read", "live") gets the dictionary's first, and whoever
means the other writes its phones inline (`pronunciation` in the frontend).
"""

import gzip
import json
import re
from functools import lru_cache
from importlib.resources import files
from typing import Any

from stream_server.models.lark.symbols import phone_symbols

Tree = list[Any] | str  # [offset, letter, yes, no] or a leaf
VOICELESS = {"p", "t", "k", "f", "th"}
SIBILANT = {"s", "z", "sh", "zh", "ch", "jh"}


class Lexicon:
    """Immutable once loaded, so one serves every listener."""

    def __init__(self, words: dict[str, str], trees: dict[str, Tree]) -> None:
        self._words = words
        self._trees = trees

    def symbols(self, word: str) -> list[str]:
        """A word of letters and apostrophes, any case → its symbols; [] where nothing in it can be said."""
        word = re.sub(r"[^a-z']", "", word.lower())
        stem, possessive = split_possessive(word, self._words)
        phones = self.phones(stem)
        if not phones:
            return []
        return phone_symbols(phones) + (possessive_symbols(phones[-1]) if possessive else [])

    def phones(self, word: str) -> list[str]:
        known = self._words.get(word) or self._words.get(word.strip("'"))
        return known.split() if known else self.guess(word)

    def guess(self, word: str) -> list[str]:
        """Letter-to-sound: each letter asks its own tree about its neighbours.

        A word without a vowel is not a word: it is spelled out.
        """
        letters = word.replace("'", "")
        padded = f"0000#{letters}#0000"
        found = [descend(self._trees[padded[i]], padded, i) for i in range(5, 5 + len(letters))]
        phones = [phone for leaf in found if leaf for phone in leaf.split("-")]
        return phones if any(phone[-1] in "01" for phone in phones) else self.spell(letters)

    def spell(self, letters: str) -> list[str]:
        """Letter by letter, by the letters' names."""
        return [phone for letter in letters for phone in LETTER_NAMES[letter].split()]

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._words


LETTER_NAMES = {
    "a": "ey1", "b": "b iy1", "c": "s iy1", "d": "d iy1", "e": "iy1", "f": "eh1 f", "g": "jh iy1", "h": "ey1 ch",
    "i": "ay1", "j": "jh ey1", "k": "k ey1", "l": "eh1 l", "m": "eh1 m", "n": "eh1 n", "o": "ow1", "p": "p iy1",
    "q": "k y uw1", "r": "aa1 r", "s": "eh1 s", "t": "t iy1", "u": "y uw1", "v": "v iy1",
    "w": "d ah1 b ax0 l y uw0", "x": "eh1 k s", "y": "w ay1", "z": "z iy1",
}  # fmt: skip


def descend(tree: Tree, letters: str, at: int) -> str:
    while not isinstance(tree, str):
        offset, letter, yes, no = tree
        tree = yes if letters[at + offset] == letter else no
    return tree


def split_possessive(word: str, known: dict[str, str]) -> tuple[str, bool]:
    """("gibson's") → ("gibson", True); a contraction the dictionary knows stays whole."""
    if word.endswith("'s") and word not in known and len(word) > 2:
        return word[:-2], True
    return word, False


def possessive_symbols(last: str) -> list[str]:
    """'s after a word ending in phone `last`; festival takes it for a word of its own, hence the word marks."""
    if last in SIBILANT:
        return ["_ax0", "z"]
    return ["_s"] if last in VOICELESS else ["_z"]


@lru_cache(maxsize=1)
def default_lexicon() -> Lexicon:
    """The shipped one, read once (0.2 s)."""
    data = files("stream_server.models.lark") / "data"
    lines = gzip.decompress((data / "lexicon.txt.gz").read_bytes()).decode().splitlines()[1:]
    trees = json.loads(gzip.decompress((data / "letters.json.gz").read_bytes()))["trees"]
    return Lexicon(dict(line.split(" ", 1) for line in lines), trees)
