"""What of a text already spoken stands before the next segment, so that prosody goes on where it was.

A budget of codes, 30 s of sound: as segments come, the oldest go; the voice's reference always stays.  All text stands
before all codes, as in the model's training: there is no segment to be told from another.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stream_server.models.glm_tts.config import SpeechTokens

BUDGET = 750  # codes


@dataclass(frozen=True)
class Said:
    """A text's ids and the codes it was spoken with."""

    text: tuple[int, ...]
    codes: tuple[int, ...]


def kept(
    reference: Said, past: Sequence[Said], upcoming: int, budget: int = BUDGET, room: float = math.inf
) -> tuple[Said, ...]:
    """The reference and the latest of the past that fit before a segment of `upcoming` ids of text.

    What that will come to is guessed from the codes for an id of text in what is kept; no more than `room` text ids
    and codes in all, where anything of the past is.
    """
    for dropped in range(len(past)):
        found = (reference, *past[dropped:])
        codes, text = sum(len(said.codes) for said in found), sum(len(said.text) for said in found)
        if codes + codes / max(text, 1) * upcoming <= budget and text + codes <= room:
            return found
    return (reference,)


def layout(before: Sequence[Said], text: Sequence[int], tokens: SpeechTokens) -> list[int]:
    """A prompt: every text, the segment's last; the mark; every code."""
    texts = [id for said in before for id in said.text]
    codes = [tokens.first + code for said in before for code in said.codes]
    return [*texts, *text, tokens.begin, *codes]
