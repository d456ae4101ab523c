"""Which reader a model's text goes through."""

from collections.abc import Mapping
from typing import Protocol

from stream_server.text.plain import PlainReader
from stream_server.text.segment import TextReader
from stream_server.text.word import Word


class Reader(Protocol):
    def push(self, text: str) -> list[Word]:
        """The words that are certain now, whatever comes later."""
        ...

    def flush(self) -> list[Word]:
        """All that is pending; a sentence ends here."""
        ...


def make_reader(
    kind: str, phones: tuple[str, ...], segment_chars: int = 400, pronunciations: Mapping[str, str] | None = None
) -> Reader:
    """kind: "words" or "plain", as a model's spec says; `pronunciations` as `dictionary.checked` gives them."""
    if kind == "plain":
        return PlainReader(frozenset(phones), pronunciations)
    return TextReader(frozenset(phones), segment_chars, pronunciations)
