"""ElevenLabs' form for a voice made of a recording → ours, and what is answered.

Their form has no place for what is said in the recording, without which no voice is made here: it is a field of ours
beside theirs, `text`, or an entry of `labels`, which their SDKs can send as they are.  `description` is another thing,
and passed over like whatever else is asked.
"""

import re
from typing import Any

from pydantic import Json, TypeAdapter, ValidationError

from stream_server.errors import InvalidSetting, ProtocolError
from stream_server.limits import Limits
from stream_server.protocols.schema import Foreign
from stream_server.protocols.voices_api import FORM, NewVoice, kind_of, read_form
from stream_server.voices.stored import check_name, check_words

FIELDS = ("name", "files", "labels", "text", "consent")
FILE = "files"  # what a recording is called here
DELETED = {"status": "ok"}


class Labels(Foreign):
    text: str = ""
    consent: str = ""


LABELS: TypeAdapter[Labels | None] = TypeAdapter(Labels | Json[Labels] | None)  # a text is JSON once more


def read_new_voice(content_type: str, body: bytes, limits: Limits) -> NewVoice:
    """Raises a `ClientError`; the file is not looked into."""
    kind_of(content_type, (FORM,))
    form = read_form(content_type, body, FIELDS, FIELDS[:2], strict=False)
    labels = read_labels(form.text("labels"))
    text, consent = form.text("text") or labels.text, form.text("consent") or labels.consent
    if not text.strip():
        raise InvalidSetting(
            "text: what is said in the recording must be told, word for word: "
            'as a field "text" of the form, or in its labels: {"text": "…"}',
            field="text",
        )
    check_words(text, consent, limits)
    return NewVoice(id_of(form.text("name")), text, bytes(form.found[FILE]), consent)


def id_of(name: str) -> str:
    """Their names are free, their ids opaque; ours are one: "Ann Lee" → "ann-lee".  Raises `InvalidSetting`."""
    return check_name(re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:64])


def read_labels(told: str) -> Labels:
    try:
        return LABELS.validate_json(told or "null") or Labels()
    except ValidationError:
        raise ProtocolError("labels: not a JSON object of texts", field="labels") from None


def added(voice: str) -> dict[str, Any]:
    return {"voice_id": voice, "requires_verification": False}
