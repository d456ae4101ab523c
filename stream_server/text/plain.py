"""PlainReader: text as it arrives → units in segments, for models that read text themselves.

A unit is a Chinese character, a word, a number with what goes with it, an inline syllable (`<|J|><|IANG3|>`) or an
entry of the dictionary, with the marks and spaces behind it; it leaves once the next one has begun.  What a model
cannot read as it stands (numbers, signs, addresses, abbreviations) is written out; words and characters are handed on.
A segment is what is spoken in one go: it ends at a mark, as soon as it is long enough, the first ones sooner for the
sake of the first sound, and at its longest in any case.  The last unit of a segment carries its pause, or, where it
was gone already, an empty one does.

In which language a number is read: in Chinese, if a Chinese character or mark is the next thing behind it; else in that
of the letters nearest before it in its sentence; else of those next behind it; else of the last ones before; else in
English.  Chinese marks count as its letters; letters that belong to the number (km, MP3) do not count.

The law is `TextReader`'s: cut anywhere, same units.  Knows no model.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from stream_server.errors import InvalidPronunciation
from stream_server.text import chinese
from stream_server.text.arrived import HAN, LANGUAGE, PHONEME, RUN_CHARS, WORD, Arrived
from stream_server.text.chinese_tables import SYMBOLS
from stream_server.text.dictionary import Dictionary
from stream_server.text.lookahead import Incomplete, Lookahead
from stream_server.text.normalize import speak
from stream_server.text.phrase import Phrase, next_phrase
from stream_server.text.word import Word

FOLLOWING = 24  # characters that are not said, of one unit at most
HELD = 24  # letters of one unit at most: a word that is longer is cut
REACH = 24  # characters looked at behind a number for the language it is in
KEPT = chinese.BEFORE  # characters of what has been read
PAUSES = "。！？；：，、…—–.!?;:,/~\n"  # what is kept of what stands behind a unit
MARK = re.compile(r"[。！？；：，、…!?;:,\n]|\.(?=\s|$)")
INITIALS = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]?[.,;:!?)]*")  # U.S., e.g.: of words, whatever stands around
PAIRS = ("++", ":/", "<=", ">=")  # or with these
LETTERS_AND_NUMBER = re.compile(r"[A-Za-z]+\d+")  # MP3: the letters as they stand
STOP = re.compile(r"[。！？…!?\n]|\.(?=\s|$)")  # that a sentence ends at
GLUE = "@._/:+#&=<>%$^°"  # a word goes on behind these as something else
ENOUGH = (6, 15, 30)  # units after which a mark ends the first segment, the second, all others
LONGEST = (30, 45, 60)  # units at which they end without one
LATIN_SHARE, BYTE_SHARE = 1.5, 0.25  # units that a word counts for at least, and each of its bytes


class PlainReader:
    """`phones` are the phonemes that may be written inline, None: whichever.

    One that is not among them raises InvalidPronunciation, out of `push` or `flush`; the reader lives on behind it.
    """

    def __init__(self, phones: frozenset[str] | None = None, pronunciations: Mapping[str, str] | None = None) -> None:
        self._phones = phones
        self._dictionary = Dictionary(pronunciations or {})
        self._text = ""  # not yet read, behind some that has been
        self._at = 0  # read of it
        self._offset = 0  # characters before it
        self._ready: list[Word] = []  # left over where an error cut a call short
        self._end = 0  # of the last unit
        self._segments = 0
        self._length = 0.0  # of the open segment, in units
        self._opens_line = True
        self._previous = ""  # the last word of letters, if nothing stands between
        self._letters = ""  # "zh" or "en": the nearest ones in this sentence
        self._latest = "en"  # in any
        self._chinese_until = 0  # of a run that is read piece by piece

    def push(self, text: str) -> list[Word]:
        """The units that are certain now, whatever comes later."""
        self._text += text
        return self._read(final=False)

    def flush(self) -> list[Word]:
        """All that is pending, as if the text ended here; the segment does, and another may follow."""
        words = self._read(final=True)
        if words and not words[-1].ends_sentence:
            words[-1] = self._closed(words[-1])
        elif not words and self._length:
            words = [self._late_end()]
        self._opens_line, self._previous, self._letters = True, "", ""
        return words

    def _read(self, final: bool) -> list[Word]:
        arrived = Arrived(self._text, final)
        try:
            while self._next(arrived):
                pass
        except Incomplete:
            pass
        finally:
            read = max(0, self._at - KEPT)
            self._text, self._at, self._offset = self._text[read:], self._at - read, self._offset + read
            self._chinese_until -= read
        words, self._ready = self._ready, []
        return words

    def _next(self, arrived: Arrived) -> bool:
        """Reads one unit, or what is silent before one; whether there was any."""
        first, before = skip(arrived, self._at)
        if arrived.char(first) == "" or first - self._at >= FOLLOWING:
            self._opens_line = self._opens_line or "\n" in before
            more, self._at = first > self._at, first
            return more
        opens = self._opens_line or "\n" in before
        end, said, mark = self._unit(arrived, first, opens)
        stop, behind = skip(arrived, end)
        marks = mark + behind
        lead = arrived.raw[self._at : first]
        start = first - len(lead.lstrip())
        source = arrived.raw[start:stop].rstrip()
        self._note(arrived, first, end, marks)
        self._at = stop
        if said:
            place = self._offset + start
            self._leave(Word(source, place, place + len(source), said + marks), marks)
        return True

    # Units: where they end, how they are said, and a mark that was theirs

    def _unit(self, arrived: Arrived, at: int, opens_line: bool) -> tuple[int, str, str]:
        if (found := self._dictionary.find(arrived, at)) is not None:
            return *found, ""
        if (phoneme := arrived.phoneme(at)) is not None:
            return self._syllable(arrived, phoneme)
        if at < self._chinese_until:
            return self._chinese(arrived, at)
        if arrived.is_han(at):
            return at + 1, SYMBOLS.get(arrived.text[at], arrived.text[at]), ""
        if is_word(arrived, at):
            return self._english(arrived, at, opens_line)
        end = number_end(arrived, at)
        if INITIALS.fullmatch(arrived.text, at, end) or self._language(arrived, at, end) == "en":
            return self._english(arrived, at, opens_line)
        self._chinese_until = end
        return self._chinese(arrived, at)

    def _syllable(self, arrived: Arrived, phoneme: re.Match[str]) -> tuple[int, str, str]:
        """A final with its tone, or an initial and the final behind it."""
        names, end = [phoneme[1]], phoneme.end()
        if not names[0][-1].isdecimal() and (final := arrived.phoneme(end)) is not None:
            names, end = [*names, final[1]], final.end()
        if self._phones is not None and not self._phones.issuperset(names):
            self._at = end
            limit = " ".join(sorted(self._phones))
            raise InvalidPronunciation("the voice has no such phoneme", field="text", limit=limit)
        return end, arrived.text[phoneme.start() : end], ""

    def _chinese(self, arrived: Arrived, at: int) -> tuple[int, str, str]:
        """The next piece of a run; what it ends in may be read by the character behind it."""
        end = self._chinese_until
        seen = end + 1 + len(arrived.char(end + 1)) if arrived.char(end) == " " else end + len(arrived.char(end))
        return *chinese.speak(arrived.text, at, seen), ""

    def _english(self, arrived: Arrived, at: int, opens_line: bool) -> tuple[int, str, str]:
        """A word as it stands, unless it is short for others; or what makes a phrase with a number."""
        ahead = Lookahead(arrived.english, at, arrived.final, opens_line)
        if len(ahead.head.source) > RUN_CHARS:
            ahead = Lookahead(arrived.english[: at + RUN_CHARS], at, True, opens_line)
        head = ahead.head
        phrase = next_phrase(ahead, self._previous)
        as_usual = phrase == Phrase(1, speak(head.body), head.mark)
        word = arrived.word(at)
        if word is not None and (not phrase.spoken or (as_usual and is_word(arrived, at))):
            end = min(word.end(), at + HELD)
            return end, arrived.text[at:end], ""
        if word is not None and LETTERS_AND_NUMBER.fullmatch(head.body):
            return word.end(), word[0], " "
        if not phrase.spoken and arrived.text[at].isalnum():
            return at + 1, arrived.text[at], " "
        last = ahead.token(phrase.count - 1) or head
        said = re.sub(r"\bay\b", "a", phrase.spoken)
        mark = phrase.mark
        if mark == "." and last.closes_line and arrived.char(last.end) != "\n":
            mark = ""  # no line ends there: a Chinese character follows
        return last.end, said, mark if arrived.char(last.end).isspace() else f"{mark} "

    def _language(self, arrived: Arrived, at: int, end: int) -> str:
        """Of what stands there and does not say itself: see above."""
        if HAN.search(arrived.text, at, end) or told(arrived.spaced(end)) == "zh":
            return "zh"
        if self._letters:
            return self._letters
        for behind in range(end, end + REACH):
            character = arrived.char(behind)
            if language := told(character):
                return language
            if not character or STOP.match(character):
                break
        return self._latest

    def _note(self, arrived: Arrived, start: int, end: int, marks: str) -> None:
        """What the next unit is to know of this one."""
        text = arrived.text[start:end]
        stops = STOP.search(marks) is not None
        if HAN.match(text):
            self._letters = self._latest = "zh"
        elif start >= self._chinese_until and re.search("[A-Za-z]", text):
            self._letters = self._latest = "en"
        self._previous = text if WORD.fullmatch(text) and not stops else ""
        if any(told(mark) for mark in marks):
            self._letters = self._latest = "zh"
        self._letters = "" if stops else self._letters
        self._opens_line = "\n" in marks

    # Units leave, and segments end

    def _leave(self, word: Word, marks: str) -> None:
        weight = weigh(word.spoken)
        if self._length and self._length + weight > self._bound(LONGEST):
            self._ready.append(self._late_end())
        self._length += weight
        self._end = word.end
        enough = self._length >= self._bound(ENOUGH) and MARK.search(marks) is not None
        ends = enough or self._length >= self._bound(LONGEST)
        self._ready.append(self._closed(word) if ends else word)

    def _bound(self, bounds: tuple[int, ...]) -> int:
        return bounds[min(self._segments, len(bounds) - 1)]

    def _closed(self, word: Word) -> Word:
        self._segments += 1
        self._length = 0.0
        return replace(word, pause="?" if re.search("[?？]", word.spoken) else ".")

    def _late_end(self) -> Word:
        return self._closed(Word("", self._end, self._end, ""))


def skip(arrived: Arrived, at: int) -> tuple[int, str]:
    """Behind what is not said, or as much of it as one unit takes; and its marks, with spaces for the rest."""
    start, marks = at, ""
    while at - start < FOLLOWING and (silent := arrived.silent(at)):
        marks += arrived.text[at] if silent == 1 and arrived.text[at] in PAUSES else " "
        at += silent
    return at, marks


def told(character: str) -> str:
    """The language that a character is of: "zh", "en" for any other letter, or ""."""
    found = LANGUAGE.match(character)
    return "" if found is None else found.lastgroup or "en"


def is_word(arrived: Arrived, at: int) -> bool:
    """Whether a word stands there, and not part of something else: MP3, example.com, U.S., C++."""
    word = arrived.word(at)
    if word is None:
        return False
    end = word.end()
    if end == at + RUN_CHARS or arrived.char(end) == "":
        return True
    if arrived.text[end].isalnum():
        return arrived.is_han(end)
    after = arrived.char(end + 1) if arrived.text[end] in GLUE else ""
    return not (after.isalnum() and not HAN.match(after)) and arrived.text[end] + after not in PAIRS


def number_end(arrived: Arrived, at: int) -> int:
    """Where a number ends that may go on behind a space: with its unit, or with more of its digits."""
    end = max(at + 1, arrived.run_end(at))
    for _ in range(3):
        counts = arrived.text[end - 1].isdecimal() or arrived.text[end - 1] in "$¥€£)"
        if not counts or arrived.char(end) != " ":
            break
        behind = arrived.run_end(end + 1)
        if not chinese.BEHIND_SPACE.match(arrived.text, end + 1, behind):
            break
        end = behind
    return end


def weigh(said: str) -> float:
    """How long it takes to say, in units: a syllable of Chinese is one."""
    plain = PHONEME.sub("", said)
    syllables = sum(name[-1].isdecimal() for name in PHONEME.findall(said)) + len(HAN.findall(plain))
    return max(1.0, syllables + sum(max(LATIN_SHARE, BYTE_SHARE * len(word.encode())) for word in WORD.findall(plain)))
