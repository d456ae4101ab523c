"""A word on its way from what was typed to what is said: the unit in which text enters the engine."""

from dataclasses import dataclass

PAUSES = ("", ",", ".", "?", "!")
SENTENCE_END = (".", "?", "!")


@dataclass(frozen=True)
class Word:
    """One stretch of the context's text that is spoken, and marked, as one.

    `spoken` is lower-case letters, apostrophes and spaces ("twenty five", "c e o" for letters to be named one by
    one); `phones`, where not empty, is how the listener asked for it to be said and overrules `spoken`.
    """

    source: str  # as typed, without surrounding white space: "$25,"
    start: int  # characters from the beginning of the context's text
    end: int
    spoken: str
    pause: str = ""  # "", ",", ".", "?" or "!": what is heard after it
    phones: tuple[str, ...] = ()

    @property
    def ends_sentence(self) -> bool:
        return self.pause in SENTENCE_END


def full_stop(at: int) -> Word:
    """The end of a sentence that nobody typed: a pause and no word, at a position of the text."""
    return Word(source="", start=at, end=at, spoken="", pause=".")
