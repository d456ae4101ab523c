"""Inline pronunciation: ``[[hh ax l ow1]]``, or ``[[hello|hh ax l ow1]]`` with a label.

Knows the notation; which phones exist is the voice's to say.
"""

import re

from stream_server.errors import InvalidPronunciation

OPEN, CLOSE = "[[", "]]"
LONGEST = 200  # characters from "[[" to "]]"; what is longer is plain text
GROUP = re.compile(r"\[\[(?:([^\[\]|]*)\|)?([^\[\]|]*[^\[\]|\s][^\[\]|]*)\]\]")


def with_stress(phones: list[str], known: frozenset[str], field: str = "text") -> tuple[str, ...]:
    """A vowel written without its digit is stressed where it is the word's first."""
    stressed: list[str] = []
    for phone in phones:
        if phone not in known and phone + "1" in known:
            phone += "0" if any(earlier[-1].isdecimal() for earlier in stressed) else "1"
        if phone not in known:
            raise InvalidPronunciation(f"the voice has no phone {phone!r}", field=field, limit=" ".join(sorted(known)))
        stressed.append(phone)
    return tuple(stressed)
