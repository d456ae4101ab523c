"""Words → symbols: what the pointer will walk over.

A word's symbols depend on the word alone (the teacher says "the" one way before vowels too), so they are the same
however the text was cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stream_server.models.lark.lexicon import Lexicon
from stream_server.models.lark.symbols import EDGE, SYMBOL_IDS, phone_symbols
from stream_server.text.word import Word


@dataclass(frozen=True)
class Prompt:
    """A stretch of symbols and the word each belongs to; `final` says that nothing follows."""

    symbols: tuple[int, ...]
    words: tuple[int, ...]  # index within the stretch's words, same length as `symbols`
    num_words: int
    final: bool


def read(words: Sequence[Word], lexicon: Lexicon, final: bool) -> Prompt:
    """Words in order → their symbols; a word that cannot be said has none."""
    symbols: list[int] = []
    owners: list[int] = []
    for index, word in enumerate(words):
        spelled = word_symbols(word, lexicon) + ([word.pause] if word.pause else [])
        symbols += [SYMBOL_IDS[symbol] for symbol in spelled]
        owners += [index] * len(spelled)
    return Prompt(tuple(symbols), tuple(owners), len(words), final)


def word_symbols(word: Word, lexicon: Lexicon) -> list[str]:
    if word.phones:
        return phone_symbols(list(word.phones))
    return [symbol for part in word.spoken.split() for symbol in part_symbols(part, lexicon)]


def part_symbols(part: str, lexicon: Lexicon) -> list[str]:
    if len(part) == 1 and part != "a":
        return phone_symbols(lexicon.spell(part)) if part.isalpha() else []
    return lexicon.symbols(part)


def opening() -> int:
    """The symbol every sequence begins with: a breath of silence."""
    return SYMBOL_IDS[EDGE]
