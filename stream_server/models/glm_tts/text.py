"""What is written → what the language model reads: the marks it was trained on, and one at the end.

Of marks in a row the strongest stays: a question over a full stop over a comma.  Numbers are the reader's to write out.
"""

import re
from collections.abc import Sequence

from stream_server.text.arrived import CHINESE, HAN
from stream_server.text.word import Word

PHONEME = re.compile(r"(<\|[A-Z]{1,6}[1-5]?\|>)")
DROPPED = re.compile(r"[\"“”‘（）()\[\]{}<>《》「」『』【】〈〉*_#|\\`^]")
STRUCK = re.compile(r"(?<!~)~~(?!~)")  # markup; other runs of them are a pause
STRAY = re.compile(r"(?<![^\W_])'|'(?![^\W_])")  # an apostrophe of no word
HYPHEN = re.compile(r"(?<=[^\W_])-(?=[^\W_])")
MARKS = re.compile(r"\s*[。！？；：，、…—–.!?;:,~/\n][\s。！？；：，、…—–.!?;:,~/]*")
SPACED = re.compile(rf"\s*([{CHINESE}，。？])\s*")
CHINESE_MARKS = {"?": "？", ".": "。", ",": "，", "-": "，"}
ENGLISH_MARKS = {"?": "? ", ".": ". ", ",": ", ", ";": "; ", ":": ": ", "-": " "}


def written(words: Sequence[Word]) -> str:
    """A segment's units → its text, phonemes untouched, ending in a full stop or a question mark."""
    text = "".join(word.spoken for word in words)
    chinese = HAN.search(text) is not None or PHONEME.search(text) is not None
    parts = PHONEME.split(text)
    text = "".join(part if index % 2 else cleaned(part, chinese) for index, part in enumerate(parts))
    stop, marks = ("。", "。？") if chinese else (".", ".?")
    text = text.strip().lstrip("，,;:。. ")
    said = text.rstrip("，,;:。.？? ")
    return "" if not said else text if text[-1] in marks else said + stop


def cleaned(text: str, chinese: bool) -> str:
    text = STRUCK.sub("", text)
    text = HYPHEN.sub(" ", STRAY.sub("", DROPPED.sub("", text).replace("’", "'")))
    text = MARKS.sub(lambda run: mark_of(run[0], chinese), text).lower()
    return re.sub(r"\s+", " ", SPACED.sub(r"\1", text))


def mark_of(run: str, chinese: bool) -> str:
    """One mark for a run of them, as the language has it.  A newline counts where there is no other."""
    return (CHINESE_MARKS if chinese else ENGLISH_MARKS)[strongest(run, chinese)]


def strongest(run: str, chinese: bool) -> str:
    if "?" in run or "？" in run:
        return "?"
    if re.search("[.。!！…]", run) or (chinese and "~" in run):
        return "."
    for mark, alike in ((",", ",，、"), (";", ";；"), (":", ":：")):
        if any(each in run for each in alike):
            return "," if chinese else mark
    return "." if "\n" in run else "-"
