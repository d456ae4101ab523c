"""Where a segment's units begin in its speech, guessed from how long they are to say: the model does not tell.

A unit is as long as its syllables and the pause behind it; a voice is as fast as in its own recording.  That is the
guess while a segment is spoken.  Once its last code is there, the units not yet begun are shared out over the codes
whose sound has not been given out, so that by its end every unit has begun, in order.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from stream_server.text.arrived import CHINESE
from stream_server.text.plain import PlainReader
from stream_server.text.word import Word

USUAL = 5.0  # codes a syllable
FASTEST, SLOWEST = 3.0, 10.0  # that a recording is believed
PAUSES = {1.0: ",，、;；:：—-", 1.5: ".。?？!！…\n"}  # syllables: marks that are heard as so long a pause
SPELLED = 4  # letters at most of a word in capitals that is spelled out
LETTERS_A_SYLLABLE = 3  # where no vowel is known
LETTER = rf"[^\W\d_{CHINESE}]"
SOUNDS = re.compile(
    r"<\|[A-Z]+(?P<tone>[1-5]?)\|>|(?P<silent>[ぁぃぅぇぉゃゅょァィゥェォャュョー])"
    rf"|(?P<one>[{CHINESE}]|\d)|(?P<word>{LETTER}+(?:['’]{LETTER}+)*)"
)
VOWELS = re.compile(r"[aeiouyàáâãäåèéêëìíîïòóôõöøùúûüýαεηιουωаеёиоуыэюя]+")
MUTE = re.compile(r"[^aeiouyl]es?$")  # "make", "makes"; not "table"
BEHIND = re.compile(r"[^\w>]*$")


@dataclass(frozen=True)
class Units:
    """A segment's units in syllables: where each begins, from its first one's beginning, and all of them."""

    begins: tuple[float, ...]
    length: float


def units(words: Sequence[Word]) -> Units:
    ends = list(accumulate(syllables(word.spoken) for word in words))
    return Units(tuple([0.0, *ends][: len(ends)]), ends[-1] if ends else 0.0)


def pace(text: str, codes: int) -> float:
    """Codes a syllable, of a recording of `codes` in which `text` is said; the usual where it says nothing."""
    reader = PlainReader()
    length = units(reader.push(text) + reader.flush()).length
    return min(max(codes / length, FASTEST), SLOWEST) if length else USUAL


def unit_at(units: Units, code: int, pace: float) -> int:
    """The unit that a segment's code speaks, both counted from 0; −1 where there are none."""
    return bisect_right(units.begins, code / pace) - 1


def closing(units: Units, codes: int, open: int, pace: float) -> list[int]:
    """The end has come after `codes` codes: the units that the last `open` of them speak, the last one the last."""
    if not open:
        return []
    told = codes - open
    before = unit_at(units, told - 1, pace) if told else -1
    begin = min(told / pace, units.length)
    places = (begin + (units.length - begin) * at / open for at in range(open))
    found = [max(before, bisect_right(units.begins, place) - 1) for place in places]
    return [*found[:-1], len(units.begins) - 1]


def syllables(spoken: str) -> float:
    """Of a unit and what follows it, about."""
    behind = BEHIND.search(spoken)
    assert behind is not None  # it matches nothing too
    said = sum(sound_of(match) for match in SOUNDS.finditer(spoken[: behind.start()]))
    return said + pause_of(behind[0])


def sound_of(match: re.Match[str]) -> float:
    if match["word"]:
        return word_of(match["word"])
    return 1.0 if match["one"] or match["tone"] else 0.0


def word_of(word: str) -> float:
    if word.isupper() and len(word) <= SPELLED:
        return len(word)
    lower = word.lower()
    found = len(VOWELS.findall(lower))
    if found > 1 and MUTE.search(lower):
        found -= 1
    return found or -(-len(word) // LETTERS_A_SYLLABLE)


def pause_of(marks: Iterable[str]) -> float:
    return max((length for length, these in PAUSES.items() for mark in marks if mark in these), default=0.0)
