"""The tokens to come, as far as they have come.

Whoever looks beyond the text there is gets `Incomplete`, and its decision waits.  So whatever is decided has been
decided on text that had arrived, and would be decided the same however that text was cut: the reader's law holds by
construction, for every rule anyone adds.  Knows how text parts into tokens, and not what they mean.
"""

import re

from stream_server.text.pronunciation import OPEN
from stream_server.text.token import Token

LONGEST = 200  # characters of one token; what runs on without a space is cut there
FARTHEST = 20  # characters `initial` passes over in search of a letter

BREAK = re.compile(r"\s|(?<=[^\W\d_])[,;]|—|\[\[")
GLUED = re.compile(r"(?<=[a-z][a-z])[.!?…]+(?=[A-Z][a-z])")  # "end.Next": a space was forgotten
NEWLINES = "\n\r\x0b\x0c\x85\u2028\u2029"


class Incomplete(Exception):
    """What comes next is not known yet."""


class Lookahead:
    """The tokens of `text` from `at` on, which is where a token starts; `final` says that nothing follows."""

    def __init__(self, text: str, at: int, final: bool, opens_line: bool) -> None:
        self._text = text
        self._final = final
        self._tokens: list[Token] = [self._read(at, opens_line)]

    @property
    def head(self) -> Token:
        return self._tokens[0]

    def token(self, index: int) -> Token | None:
        """The index-th from here on the same line, or None where the line, or the text, ends before it."""
        while len(self._tokens) <= index:
            start = self._next_start(self._tokens[-1].end)
            if start is None or self._text.startswith(OPEN, start):
                return None
            self._tokens.append(self._read(start, opens_line=False))
        return self._tokens[index]

    def initial(self, index: int = 0) -> str:
        """The first letter or digit behind the index-th token, on its line; "" where there is none near."""
        at = self._tokens[index].end
        for position in range(at, at + FARTHEST):
            character = self._at(position)
            if not character or character in NEWLINES:
                return ""
            if character.isalnum():
                return character
        return ""

    def _at(self, position: int) -> str:
        """The character there; "" behind the end."""
        if position < len(self._text):
            return self._text[position]
        if not self._final:
            raise Incomplete
        return ""

    def _next_start(self, position: int) -> int | None:
        for at in range(position, position + FARTHEST):
            character = self._at(at)
            if not character or character in NEWLINES:
                return None
            if not character.isspace():
                return self._hold_bracket(at)
        return None

    def _hold_bracket(self, at: int) -> int:
        """A "[" may be the first half of "[[", which is no token."""
        if self._text[at] == "[":
            self._at(at + 1)
        return at

    def _read(self, start: int, opens_line: bool) -> Token:
        """What ends a token is in it (a dash) or stands behind it (a space); no more than that is looked at."""
        window = self._text[start : start + LONGEST]
        stop = BREAK.search(window, len(OPEN) if window.startswith(OPEN) else 0)
        if stop is None:
            if len(window) < LONGEST and not self._final:
                raise Incomplete
            return token_at(window, start, opens_line)
        if not stop.group().isspace():
            return token_at(window[: stop.start() if stop.group() == OPEN else stop.end()], start, opens_line)
        source = before_glue(window[: stop.start()])
        closes_line = len(source) == stop.start() and stop.group() in NEWLINES
        return Token(source, start, start + len(source), opens_line, closes_line)


def token_at(source: str, start: int, opens_line: bool) -> Token:
    return Token(source, start, start + len(source), opens_line, closes_line=False)


def before_glue(run: str) -> str:
    match = None if "@" in run or "/" in run or run.startswith("www.") else GLUED.search(run)
    return run[: match.end()] if match else run
