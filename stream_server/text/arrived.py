"""Arrived: what has come of a text and is not yet read, and what of it is silent.

Whoever looks beyond what has come gets `Incomplete` (see `lookahead`), so that nothing is decided on where a text
happens to be cut.  Knows characters, and nothing of languages' words.
"""

import re
import unicodedata
from functools import cached_property

from stream_server.text.chinese_tables import SYMBOLS
from stream_server.text.lookahead import Incomplete

CHINESE = "\u3005\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # and kana
HAN = re.compile(f"[{CHINESE}]")
NUMERALS = "²³¹¼-¾\u2070-\u209f\u2150-\u218f\u2460-\u249b"  # that are no digits
GREEK = "\u0370-\u03ff"
LETTER = rf"[^\W\d_{CHINESE}{NUMERALS}{GREEK}]"  # of a word that is left as it is
WORD = re.compile(rf"{LETTER}[\u0300-\u036f]*(?:['’-]?{LETTER}[\u0300-\u036f]*)*")
PHONEME = re.compile(r"<\|([A-Z]{1,6}\d?)\|>")
PHONEME_CHARS = 11  # the longest
TAG = re.compile(r"</?[a-zA-Z][^<>\s]*>")
LINK = re.compile(r"\]\([^)\s]*")
TAG_CHARS, LINK_CHARS = 32, 300
RUN_CHARS = 64  # of what is read as one; a longer run is cut there
MAGNITUDES = "百千万亿"  # of the run where they follow a digit
WIDE_MARKS = "。！？；，、：（）《》「」『』【】〈〉"
CURRENCY = "$¥€£₩₹"
LANGUAGE = re.compile(rf"(?P<zh>[{CHINESE}{WIDE_MARKS}])|[^\W\d_]")  # a character that tells it
OPERATORS = "+=<>×÷^&/±≤≥≠≈"  # said between two things alone; markup elsewhere
DIGITS = "0123456789"
ELSEWHERE = re.compile(rf"[{CHINESE}{WIDE_MARKS}]|<(?=\|)")
OTHER_DIGIT = re.compile(r"[^\D0-9]")
PRICE = re.compile(r"\d ?(?:[元块角分里米克斤吨升度]|[A-Za-z]{1,3})?$")  # 5元/斤, and not 和/或
HALF_WIDTH = {0xFEE0 + code: chr(code) for code in range(0x21, 0x7F) if chr(0xFEE0 + code) not in WIDE_MARKS}
HALF_WIDTH |= {ord("￥"): "¥", ord("￡"): "£", ord("−"): "-", ord("﹣"): "-", ord("〜"): "~", ord("µ"): "μ"}


class Arrived:
    """`raw` with digits, letters and signs in half width, one character for one; `final`: nothing follows."""

    def __init__(self, raw: str, final: bool) -> None:
        self.raw = raw
        self.text = raw if raw.isascii() else OTHER_DIGIT.sub(digit, raw.translate(HALF_WIDTH))
        self.final = final

    @cached_property
    def english(self) -> str:
        """The text with line ends in place of what a reader of English does not know."""
        return self.text if self.text.isascii() and "<|" not in self.text else ELSEWHERE.sub("\n", self.text)

    def char(self, at: int) -> str:
        """The character there; "" behind the end."""
        if at < len(self.text):
            return self.text[at] if at >= 0 else ""
        if not self.final:
            raise Incomplete
        return ""

    def is_han(self, at: int) -> bool:
        return HAN.match(self.char(at)) is not None

    def spaced(self, at: int, step: int = 1) -> str:
        """The character there, or the one beyond it where that is a space."""
        return self.char(at + step) if self.char(at) == " " else self.char(at)

    def phoneme(self, at: int) -> re.Match[str] | None:
        """The phoneme written there."""
        if self.char(at) != "<" or self.char(at + 1) != "|":
            return None
        for end in range(at + 2, at + PHONEME_CHARS):
            if not self.char(end) or self.text[end] == ">":
                break
        return PHONEME.match(self.text, at, at + PHONEME_CHARS)

    def word(self, at: int) -> re.Match[str] | None:
        """The word of letters there, or as much of it as is looked at."""
        return WORD.match(self.text, at, at + RUN_CHARS)

    def run_end(self, start: int) -> int:
        """Where what is written in one go ends: at a space, a Chinese character or mark, a phoneme, an emoji."""
        end = start
        while end - start < RUN_CHARS and self._in_run(end):
            end += 1
        return end

    def _in_run(self, at: int) -> bool:
        character = self.char(at)
        if character == "：":
            return self._is_digit(at - 1) and self._is_digit(at + 1)
        if character == "<":
            return self.char(at + 1) != "|"
        if character in MAGNITUDES and character:
            return self.char(at - 1) in DIGITS + MAGNITUDES
        if "!" <= character <= "~":
            return True
        said = character.isalnum() or character in SYMBOLS or character in CURRENCY
        return said and character not in WIDE_MARKS and not HAN.match(character)

    def silent(self, at: int) -> int:
        """How many characters from here are not said: spaces, marks, markup, emoji; 0 where there is something."""
        character = self.char(at)
        if not character or character.isalnum():
            return 0
        if character == "<":
            return self._angle(at)
        if character == "]":
            return self._link(at)
        if character in "-–~":
            return 0 if self._signs(at) else 1
        if character == ".":
            return 0 if self._is_digit(at + 1) and not self._latin(at - 1) else 1
        if character in CURRENCY:
            return 0 if self._number_at(at + 1 + (self.char(at + 1) == " ")) else 1
        if character == "*":
            return 0 if self._is_digit(at - 1) and self._is_digit(at + 1) else 1
        if character == "@":
            return 0 if self._latin(at + 1) else 1
        if character in OPERATORS:
            return 0 if self._operates(at) else 1
        return 0 if character in SYMBOLS else 1

    def _angle(self, at: int) -> int:
        if self.char(at + 1) == "|":
            return 0 if self.phoneme(at) else 1
        if self.char(at + 1) != "/" and not self._latin(at + 1):
            return 0 if self._operates(at) else 1
        for end in range(at + 1, at + TAG_CHARS):
            if not self.char(end) or self.text[end] in "<>" or self.text[end].isspace():
                break
        tag = TAG.match(self.text, at, at + TAG_CHARS)
        return len(tag[0]) if tag else 0 if self._operates(at) else 1

    def _link(self, at: int) -> int:
        """The address in [text](address)."""
        if self.char(at + 1) != "(":
            return 1
        end = LINK.match(self.text, at, at + LINK_CHARS).end()  # type: ignore[union-attr]  # it begins one
        return end + 1 - at if end < at + LINK_CHARS and self.char(end) == ")" else 1

    def _signs(self, at: int) -> bool:
        """Whether a number follows that this belongs to; a hyphen behind letters, or a pair of them, does not."""
        if self.char(at - 1) == self.text[at] or not self._number_at(at + 1):
            return False
        return not self._latin(at - 1) or self._is_digit(at - 1) or self._counts(at)

    def _counts(self, at: int) -> bool:
        """Whether a number with its unit stands before: 3km-5km."""
        return re.search(r"\d[A-Za-z²³]{1,4}$", self.text[max(0, at - 6) : at]) is not None

    def _operates(self, at: int) -> bool:
        character = self.text[at]
        if character == "/":
            return self.is_han(at + 1) and PRICE.search(self.text[max(0, at - 5) : at]) is not None
        if character in "+±≤≥≈<>" and self._number_at(at + 1):
            return self.char(at - 1) not in ("-", "=")  # no arrow
        after = self.spaced(at + 1 + (character in "<>" and self.char(at + 1) == "="))
        return self.spaced(at - 1, -1).isalnum() and (after.isalnum() or after == "-")

    def _number_at(self, at: int) -> bool:
        character = self.char(at)
        if character in CURRENCY and character:
            return self._is_digit(at + 1)
        return self._is_digit(at) or (character == "." and self._is_digit(at + 1))

    def _is_digit(self, at: int) -> bool:
        return self.char(at) in DIGITS and self.char(at) != ""

    def _latin(self, at: int) -> bool:
        character = self.char(at)
        return character.isascii() and character.isalnum()


def digit(match: re.Match[str]) -> str:
    return str(unicodedata.decimal(match[0]))
