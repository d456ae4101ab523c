"""Markup in a text as it arrives: what is between < and > is not to be read out.

A tag gives way to as many spaces, `<break>` to a comma and spaces, so that positions in the text stay what they were.
`<break>` is known always, other tags only where markup was asked for; a `<` that begins no tag is text.
"""

import re

LONGEST = 200  # characters; what is longer is no tag
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
OPENED = re.compile(r"<(/?[A-Za-z][^<>]*|/?)\Z")  # what may become one
BREAK = "<break"


class Tags:
    def __init__(self, markup: bool) -> None:
        """markup: whether tags beside `<break>` are known."""
        self._markup = markup
        self._held = ""

    def push(self, text: str) -> str:
        """The text that is certain to be text, its tags blanked out."""
        text = self._held + text
        opened = OPENED.search(text)
        held = opened is not None and len(opened[0]) <= LONGEST and self._may_be_tag(opened[0])
        self._held = text[opened.start() :] if opened and held else ""
        return self._blanked(text[: len(text) - len(self._held)])

    def flush(self) -> str:
        """What was held, which no longer becomes a tag."""
        held, self._held = self._held, ""
        return held

    def _may_be_tag(self, opened: str) -> bool:
        return self._markup or BREAK.startswith(opened[: len(BREAK)].lower())

    def _blanked(self, text: str) -> str:
        return TAG.sub(self._blank, text) if "<" in text else text

    def _blank(self, tag: re.Match[str]) -> str:
        is_break = tag[0].lower().startswith(BREAK)
        if len(tag[0]) > LONGEST or not (self._markup or is_break):
            return tag[0]
        return ("," if is_break else " ").ljust(len(tag[0]))
