"""What is written → what the language model reads: the marks it was trained on, and one at the end.

Knows no numbers yet: digits are handed on as they stand.
"""

import re
from collections.abc import Sequence

from stream_server.text.word import Word

HAN = re.compile(r"[\u3400-\u9fff]")
PHONEME = re.compile(r"(<\|[A-Z]{1,6}[1-5]?\|>)")
CHINESE = str.maketrans(
    {",": "，", ":": "，", ";": "，", "；": "，", "：": "，", "、": "，", "?": "？", "!": "。", "！": "。"}
)
ENGLISH = str.maketrans({"，": ",", "。": ".", "？": "?", "！": ".", "!": ".", "；": ";", "：": ":", "、": ","})
DROPPED = re.compile(r"[\"“”‘（）()\[\]{}<>《》「」『』*_~#|\\]")
SPACE = re.compile(r"\s+")


def written(words: Sequence[Word]) -> str:
    """A segment's units → its text, phonemes untouched, ending in a full stop or a question mark."""
    text = "".join(word.spoken for word in words)
    chinese = HAN.search(text) is not None
    parts = PHONEME.split(text)
    text = "".join(part if index % 2 else cleaned(part, chinese) for index, part in enumerate(parts)).strip()
    stop, marks = ("。", "。？") if chinese else (".", ".?")
    said = text.rstrip("，,;:、…—。.？? ")
    return "" if not said else text if text[-1] in marks else said + stop


def cleaned(text: str, chinese: bool) -> str:
    text = DROPPED.sub("", text).translate(CHINESE if chinese else ENGLISH).lower()
    return SPACE.sub(" ", text)
