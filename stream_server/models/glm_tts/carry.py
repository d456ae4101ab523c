"""What of a text already spoken stands before the next segment, so that prosody goes on where it was.

A budget of codes, 30 s of sound: as segments come, the oldest go; the voice's reference always stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

BUDGET = 750  # codes


@dataclass(frozen=True)
class Spoken:
    """A text's ids and the codes it was spoken with."""

    text: tuple[int, ...]
    codes: tuple[int, ...]


def kept(reference: Spoken, past: Sequence[Spoken], upcoming: int, budget: int = BUDGET) -> tuple[Spoken, ...]:
    """The reference and the latest of the past that fit before a segment of `upcoming` ids of text.

    What that will come to is guessed from the codes for an id of text in what is kept.
    """
    for dropped in range(len(past) + 1):
        found = (reference, *past[dropped:])
        codes, text = sum(len(spoken.codes) for spoken in found), sum(len(spoken.text) for spoken in found)
        if codes + codes / max(text, 1) * upcoming <= budget:
            return found
    return (reference,)
