"""PlainReader: text as it arrives → units in segments, for models that read text themselves.

A unit is a Chinese character, a word of letters and digits, an inline phoneme (`<|IANG3|>`) or any other character,
with the marks and spaces behind it; it leaves once the next one has begun.  A segment is what is spoken in one go: it
ends at a mark, as soon as it is long enough, the first ones sooner for the sake of the first sound, and at LONGEST in
any case.  The last unit of a segment carries its pause, like the last word of a sentence.

The law is `TextReader`'s: cut anywhere, same units.  Knows no model and no numbers: what is written is handed on.
"""

import re

from stream_server.text.word import Word

HAN = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # and kana: every character a unit
UNIT = re.compile(rf"<\|[A-Z]{{1,6}}[1-5]?\|>|[^\W_{HAN}]+(?:['’.,-][^\W_{HAN}]+)*|\S")
FOLLOWING = 24  # marks and spaces of one unit at most
BEHIND = re.compile(rf"[\s。！？；：，、…—”’）》」』!?;:,.)\]\"'-]{{0,{FOLLOWING}}}")
MARK = re.compile(r"[。！？；：，、…!?;:,\n]|\.(?=\s|$)")
HELD = 24  # characters of what may still be one unit, at most: a word that is longer is cut
ENOUGH = (6, 15, 30)  # units after which a mark ends the first segment, the second, all others
LONGEST = 60
LATIN_SHARE = 1.5  # units that a word of letters counts for, against one character of Chinese


class PlainReader:
    def __init__(self) -> None:
        self._text = ""  # not yet read
        self._offset = 0  # characters read before it
        self._segments = 0
        self._length = 0.0  # of the open segment, in units

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
            words = [Word("", self._offset, self._offset, "", ".")]
        if words:
            self._length = 0.0
        return words

    def _read(self, final: bool) -> list[Word]:
        words: list[Word] = []
        while (word := self._next(final)) is not None:
            words.append(word)
        return words

    def _next(self, final: bool) -> Word | None:
        lead = len(self._text) - len(self._text.lstrip())
        unit = UNIT.match(self._text, lead)
        if unit is None:
            if final:
                self._drop(len(self._text))
            return None
        cut = min(unit.end(), lead + HELD)
        end = cut + len(BEHIND.match(self._text, cut)[0])  # type: ignore[index]  # it matches nothing too
        if end == len(self._text) and end - cut < FOLLOWING and not final:
            return None  # it may go on
        raw = self._text[lead:end]
        word = Word(raw.strip(), self._offset + lead, self._offset + lead + len(raw.rstrip()), raw)
        self._drop(end)
        self._length += LATIN_SHARE if raw[0].isascii() and raw[0].isalnum() else 1.0
        enough = ENOUGH[min(self._segments, len(ENOUGH) - 1)]
        ends = self._length >= LONGEST or (self._length >= enough and MARK.search(raw) is not None)
        return self._closed(word) if ends else word

    def _closed(self, word: Word) -> Word:
        self._segments += 1
        self._length = 0.0
        return Word(word.source, word.start, word.end, word.spoken, "?" if re.search("[?？]", word.spoken) else ".")

    def _drop(self, count: int) -> None:
        self._text, self._offset = self._text[count:], self._offset + count
