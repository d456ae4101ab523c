"""A token: what was typed without a space, parted into what is said and the marks around it.

Knows one stretch of text and nothing of its neighbours, of numbers or of words.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from stream_server.text.fold import fold

#: A sign stays with its number, "." with its decimals, "$", "#", "@" and "/" with what they introduce.
LEAD = re.compile(r"""(?:["'(\[{*_`|…,;:!?\\]|\.(?!\d)|[-–—](?![.\d$€£¥₹])|[~<>](?!\d|[$€£¥])|\s)*""")
TRAIL = "\"'()[]{}*_`|~<>\\-–—.,;:!?…/ "
EMPHASIS = re.compile(r"`+|(?<!\d)\*+|\*+(?!\d)|~~+")
LINK = re.compile(r"\]\([^)\s]*\)?|\]\[[^\]\s]*\]?")  # the address in [text](address), the name in [text][name]
ARROW = re.compile(r"[-=]+>+")
TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
EMOTICON = re.compile(r"[:;=]['\-]?[)(DPpOo3/\\|*\]\[]+|<+3+|[xX]D+|\^_*\^|¯.*¯")
FENCE = re.compile(r"(?:```|~~~)[\w+#.-]*")


@dataclass(frozen=True)
class Token:
    source: str  # as typed
    start: int
    end: int
    opens_line: bool  # nothing was typed before it on its line
    closes_line: bool  # a newline is right behind it

    @cached_property
    def parts(self) -> tuple[str, str, str]:
        """(lead, body, trail), folded and without markup."""
        if EMOTICON.fullmatch(self.source) or (self.opens_line and FENCE.fullmatch(self.source)):
            return "", "", ""
        text = unmarked(fold(self.source))
        lead = leading(text)
        body = text[len(lead) :].rstrip(TRAIL)
        return lead, body, text[len(lead) + len(body) :]

    @property
    def lead(self) -> str:
        return self.parts[0]

    @property
    def body(self) -> str:
        """What is said, still as typed: "$25", "e.g", "example.com"; "" where nothing is."""
        return self.parts[1]

    @property
    def trail(self) -> str:
        return self.parts[2]

    @property
    def mark(self) -> str:
        """The pause its own punctuation asks for."""
        marks = self.closing if self.body else self.lead + self.trail
        return "," if marks in ("-", "/") and not self.body else pause_of(marks)

    @property
    def closing(self) -> str:
        """The trail without a bracket that belongs to the body, as in "cat(s)"."""
        return self.trail.replace(")", "") if "(" in self.body else self.trail

    @property
    def is_bare(self) -> bool:
        """No mark between it and what follows: the two may belong together."""
        return not self.trail and not self.closes_line


def unmarked(text: str) -> str:
    """Without what a chat bot writes for the eye: **, `, [](), <br>, ->."""
    return ARROW.sub(" ", TAG.sub(" ", EMPHASIS.sub("", LINK.sub("", text)))).strip()


def leading(text: str) -> str:
    match = LEAD.match(text)
    return match.group() if match else ""


def pause_of(marks: str) -> str:
    """The strongest mark among the punctuation: ? over ! over . over anything that parts a clause."""
    for mark in "?!":
        if mark in marks:
            return mark
    if "." in marks or "…" in marks:
        return "."
    parts_clause = any(mark in marks for mark in ",;:)–—|") or "--" in marks
    return "," if parts_clause else ""
