"""A stored voice: what is told of it, and the arrays that its family made of the recording."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream_server.errors import InvalidSetting, TextTooLong
from stream_server.limits import Limits

NAME = re.compile(r"[a-z0-9_-]{1,64}")
NAME_FORM = "1 to 64 of a-z, 0-9, _ and -"


@dataclass(frozen=True)
class About:
    """What may be told of a voice without reading what it consists of."""

    transcript: str  # what is said in the recording
    consent: str  # the note of who allowed this, and when; may be empty
    created: str  # ISO 8601, UTC
    source_s: float  # of the recording
    family: str  # of models, which made it
    fingerprint: str  # of the checkpoint it was made with
    details: Mapping[str, str] = field(default_factory=dict)  # the family's own


@dataclass(frozen=True)
class StoredVoice:
    name: str
    about: About
    arrays: Mapping[str, NDArray[np.generic]]


def check_name(name: str, field: str = "name") -> str:
    """Itself.  Raises `InvalidSetting`: a name is a file's as well."""
    if not NAME.fullmatch(name):
        raise InvalidSetting("not a name for a voice", field=field, limit=NAME_FORM)
    return name


def check_words(text: str, consent: str, limits: Limits) -> None:
    """What is said in the recording, and the note of who allowed it.  Raises `InvalidSetting` or `TextTooLong`."""
    if not text.strip():
        raise InvalidSetting("text: what is said in the recording must be told", field="text")
    if len(text) > limits.reference_text_chars:
        raise TextTooLong("text: more than is said in a recording", field="text", limit=limits.reference_text_chars)
    if len(consent) > limits.consent_chars:
        raise TextTooLong("consent: the note is too long", field="consent", limit=limits.consent_chars)
