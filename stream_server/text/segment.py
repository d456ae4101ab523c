"""TextReader: text as it arrives → words, each as soon as nothing that may come can change it.

The law: cut anywhere, same words.  It holds because nothing here is decided on the end of what has arrived (see
`lookahead`), only on text that is there, or on a flush.

A mark that comes too late, its word being gone already ("Hello" left with its space; then came "—" or a blank line),
is a Word of its own: no source, nothing spoken, only a pause.  So every sentence ends in a word that says so.

Knows nothing of voices, but for the set of phones that may be written inline; nothing of audio or sessions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stream_server.text import pronunciation
from stream_server.text.fold import fold
from stream_server.text.lookahead import NEWLINES, Incomplete, Lookahead
from stream_server.text.normalize import speak
from stream_server.text.phrase import Phrase, next_phrase
from stream_server.text.token import pause_of
from stream_server.text.word import SENTENCE_END, Word

MARKS = ".,;:!?…\"')]}*_-–—"  # what may stand right behind an inline pronunciation
MOST_MARKS = 20
LATE_COMMA = 0.75  # of the longest segment; a comma behind that ends the sentence


@dataclass
class Sentence:
    """Where the words that have left stand: what the next one is to know of them."""

    start: int = 0  # of its first word
    end: int = 0  # of its last word
    pause: str = "."  # behind its last word; a sentence end where none is open
    previous: str = ""  # the body of its last word

    @property
    def is_open(self) -> bool:
        return self.pause not in SENTENCE_END


class TextReader:
    """One context's text on its way to words; `phones` are those that may be written inline.

    `pronunciations` are words in lower case, without their marks, and the phones that they are said in.

    An inline phone that is not among them raises InvalidPronunciation, out of `push` or `flush`.  The reader lives on:
    the words before the group and the text behind it come with the next call.
    """

    def __init__(
        self,
        phones: frozenset[str] = frozenset(),
        max_segment_chars: int = 400,
        pronunciations: Mapping[str, str] | None = None,
    ) -> None:
        self._phones = phones
        self._max_segment_chars = max_segment_chars
        self._pronunciations = pronunciations or {}
        self._text = ""  # not yet read
        self._offset = 0  # characters read before it
        self._at = 0  # read of it, within a call
        self._opens_line = True
        self._newlines = 0  # since the last token
        self._sentence = Sentence()
        self._ready: list[Word] = []  # left over where an error cut a call short

    def push(self, text: str) -> list[Word]:
        """The words that are certain now, whatever comes later."""
        self._text += text
        return self._read(final=False)

    def flush(self) -> list[Word]:
        """All that is pending, as if the text ended here; the sentence does, and another may follow."""
        words = self._read(final=True)
        if self._sentence.is_open:
            words = [*words[:-1], replace(words[-1], pause=".")] if words else self._late_mark(".")
        self._sentence, self._opens_line, self._newlines = Sentence(), True, 0
        return words

    def _read(self, final: bool) -> list[Word]:
        try:
            while self._at < len(self._text):
                self._ready += self._step(final)
        except Incomplete:
            pass
        finally:
            self._offset += self._at
            self._text, self._at = self._text[self._at :], 0
        words, self._ready = self._ready, []
        return words

    def _step(self, final: bool) -> list[Word]:
        """Reads one character of space, one inline pronunciation, or one phrase."""
        if self._text[self._at].isspace():
            return self._space()
        if self._text.startswith(pronunciation.OPEN, self._at):
            group = self._group(final)
            if group:
                return self._inline(group, final)
        return self._phrase(Lookahead(self._text, self._at, final, self._opens_line))

    def _space(self) -> list[Word]:
        """A newline ends a sentence that no mark has parted; a blank line ends any."""
        character = self._text[self._at]
        self._at += 1
        if character not in NEWLINES:
            return []
        self._opens_line, self._sentence.previous = True, ""
        self._newlines += character == "\n"
        ends = self._newlines > 1 or not self._sentence.pause
        return self._late_mark(".") if ends else []

    def _phrase(self, ahead: Lookahead) -> list[Word]:
        body = ahead.head.body
        phones = self._listed(body)
        phrase = Phrase(1, speak(body), ahead.head.mark) if phones else next_phrase(ahead, self._sentence.previous)
        head, last = ahead.head, ahead.token(phrase.count - 1) or ahead.head
        words = self._late_mark(",") if "(" in head.lead else []
        start, self._at = self._offset + head.start, last.end
        self._newlines = 0
        if not phrase.spoken:
            return words + self._late_mark(phrase.mark)
        self._opens_line = False
        source = self._text[head.start : last.end]
        pause = phrase.mark or ("." if last.closes_line else "")
        word = Word(source, start, start + len(source), phrase.spoken, pause, phones)
        return words + self._leave(word, last.body)

    def _listed(self, body: str) -> tuple[str, ...]:
        """The phones that the dictionary has for a word; none where it has not got it."""
        said = self._pronunciations.get(body.lower(), "")
        return pronunciation.with_stress(said.lower().split(), self._phones)

    # Inline pronunciation

    def _group(self, final: bool) -> re.Match[str] | None:
        """The inline pronunciation that starts here, or None where the brackets are plain text."""
        limit = self._at + pronunciation.LONGEST
        closed = self._text.find(pronunciation.CLOSE, self._at, limit) >= 0
        if not closed and len(self._text) < limit and not final:
            raise Incomplete
        return pronunciation.GROUP.match(self._text, self._at, limit) if closed else None

    def _inline(self, group: re.Match[str], final: bool) -> list[Word]:
        begin, end = self._at, self._marks_end(group.end(), final)
        source, after = self._text[begin:end], self._text[end : end + 1]
        self._at = end  # before an unknown phone raises: the reader goes on behind it
        self._opens_line, self._newlines = False, 0
        phones = pronunciation.with_stress(group[2].lower().split(), self._phones)
        pause = pause_of(self._text[group.end() : end]) or ("." if after and after in NEWLINES else "")
        start = self._offset + begin
        return self._leave(Word(source, start, start + len(source), speak(fold(group[1] or "")), pause, phones), "")

    def _marks_end(self, position: int, final: bool) -> int:
        """Behind the marks that follow directly; what follows them must have arrived."""
        following = self._text[position : position + MOST_MARKS]
        end = position + len(following) - len(following.lstrip(MARKS))
        if end == len(self._text) and not final:
            raise Incomplete
        return end

    # Words leave

    def _leave(self, word: Word, body: str) -> list[Word]:
        """Closes the sentence before a word that makes it too long, and behind a comma where it soon will be."""
        sentence, words = self._sentence, []
        if sentence.is_open and word.end - sentence.start > self._max_segment_chars:
            words = self._late_mark(".")
        if not sentence.is_open:
            sentence.start = word.start
        if word.pause == "," and word.end - sentence.start > LATE_COMMA * self._max_segment_chars:
            word = replace(word, pause=".")
        sentence.end, sentence.pause = word.end, word.pause
        sentence.previous = body if sentence.is_open else ""
        return [*words, word]

    def _late_mark(self, mark: str) -> list[Word]:
        """A pause for a word that has left, if it asks for more than was given."""
        sentence = self._sentence
        if not mark or not sentence.is_open or (mark == "," and sentence.pause):
            return []
        sentence.pause = mark
        if not sentence.is_open:
            sentence.previous = ""
        return [Word("", sentence.end, sentence.end, "", mark)]
