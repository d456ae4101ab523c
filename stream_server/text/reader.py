"""Which reader a model's text goes through."""

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


def make_reader(kind: str, phones: tuple[str, ...], segment_chars: int = 400) -> Reader:
    """kind: "words" or "plain", as a model's spec says."""
    return PlainReader() if kind == "plain" else TextReader(frozenset(phones), segment_chars)
