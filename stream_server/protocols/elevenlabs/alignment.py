"""When each character of a text is heard, told piece by piece along with the sound.

A word's first character begins where the word was marked.  The others follow evenly until the next word; while that
is not known, at the pace of the text so far.  A character is told with the sound in which it begins, once, in order.
Clients add up the spans of what they were told to know where they are, so spans lie end to end: each begins where the
one before it ended and ends with its message's sound.  Where sound came in which no character begins (a pause), the
next span begins with that sound.  What is left when the sound has ended comes then.

Knows nothing of the wire; positions are samples since the utterance began.
"""

from collections import deque
from dataclasses import dataclass

from stream_server.events import Audio, Done, Event, Mark, Started

PACE_S = 0.06  # a character's length before there is anything to tell it from


@dataclass(frozen=True)
class Span:
    """Characters and where each begins; the last one lasts to `end`."""

    text: str
    starts: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Piece:
    """Encoded sound, and the characters that begin in it; either may be missing."""

    data: bytes
    span: Span | None


class Aligner:
    """`push` takes the text as it was sent, `hear` an utterance's events."""

    def __init__(self, whole: str | None = None) -> None:
        """whole: a text to which nothing will be added; its last character lasts to the end of the sound."""
        self.sample_rate = 1  # until it is told
        self._text = whole or ""
        self._kept = 0 if whole is None else 1  # characters at the text's end that are told last
        self._told = 0  # characters
        self._heard = 0  # sound told of; every character told begins before it, and no other does
        self._spanned = 0  # where the last span ended
        self._next = 0.0  # where the next character begins, as far as is known
        self._ahead: deque[Mark] = deque()  # words of which nothing has been told
        self._first: Mark | None = None
        self._word_end = 0  # of the word being told: nothing behind it but space is known to have its place
        self._pace = 0.0  # samples a character

    def push(self, text: str) -> None:
        self._text += text

    def hear(self, event: Event) -> Piece | None:
        """What there is to tell of an event."""
        match event:
            case Started():
                self.sample_rate = event.sample_rate
                self._pace = PACE_S * event.sample_rate
            case Mark():
                self._ahead.append(event)
            case Audio():
                return Piece(event.data, self._until(event.pts + event.duration))
            case Done():
                rest = self._rest(event.samples)
                return None if rest is None else Piece(b"", rest)
        return None

    def _until(self, end: int) -> Span | None:
        """The characters that begin before `end`, up to which there is sound; every mark before it is known."""
        starts = []
        while (start := self._next_start(end)) is not None:
            starts.append(int(start))
        return self._span(starts, end)

    def _rest(self, end: int) -> Span | None:
        """All that is left when the sound has ended."""
        left = len(self._text) - self._told
        self._told += left
        return self._span([int(min(max(self._next, self._spanned), end))] * left, end)

    def _next_start(self, end: int) -> float | None:
        """Where the next character begins, if that is before `end`: then it counts as told."""
        self._begin_word(end)
        if self._told >= len(self._text) - self._kept:
            return None
        start = max(self._next, self._heard)
        if self._ahead and self._told < self._ahead[0].start:
            until = self._ahead[0].pts
            start = start if start < until else self._heard  # the pace was too slow
            step = (until - start) / (self._ahead[0].start - self._told)
        elif not self._ahead and (self._told < self._word_end or self._at_space()):
            step = self._pace
        else:
            return None
        if start >= end:
            return None
        self._told += 1
        self._next = start + step
        return start

    def _begin_word(self, end: int) -> None:
        if not self._ahead or self._ahead[0].start > self._told or self._ahead[0].pts >= end:
            return
        word = self._ahead.popleft()
        self._first = self._first or word
        if word.pts > self._first.pts:
            self._pace = (word.pts - self._first.pts) / (word.start - self._first.start)
        self._next = max(word.pts, self._heard)
        self._word_end = word.end

    def _at_space(self) -> bool:
        return 0 < self._word_end <= self._told and self._text[self._told].isspace()

    def _span(self, starts: list[int], end: int) -> Span | None:
        self._heard = end
        if not starts:
            return None
        text = self._text[self._told - len(starts) : self._told]
        if 0 < self._kept == len(self._text) - self._told:
            end = min(end, int(self._next))  # where the last character begins
        begin, self._spanned = self._spanned, end
        return Span(text, tuple(starts), begin, end)
