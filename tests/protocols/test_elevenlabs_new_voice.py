"""ElevenLabs' form for a new voice: what of it is ours, and what is said where there is no transcript."""

import json
from typing import Any

import httpx
import pytest

from stream_server.errors import ClientError, InvalidSetting, ProtocolError, TextTooLong, UnsupportedFormat
from stream_server.limits import Limits
from stream_server.protocols.elevenlabs.new_voice import id_of, read_new_voice
from stream_server.protocols.voices_api import NewVoice

LIMITS = Limits()
FILE = bytes(range(256)) * 40 + b"\r\n--x--\r\n"
SAID = "so — it is said"
SECRET = "what nobody else may read"


def form(files: int = 1, **fields: Any) -> tuple[str, bytes]:
    parts = [("files", (f"{n}.wav", FILE, "audio/wav")) for n in range(files)]
    request = httpx.Request("POST", "http://x", data=fields, files=parts or [("none", b"")])
    return request.headers["content-type"], request.read()


@pytest.mark.parametrize(
    "told",
    [
        {"text": SAID, "consent": "hers"},
        {"labels": json.dumps({"text": SAID, "consent": "hers", "accent": "none"})},
        {"labels": json.dumps(json.dumps({"text": SAID, "consent": "hers"}))},
        {"labels": json.dumps({"text": SECRET}), "text": SAID, "consent": "hers"},
    ],
    ids=["fields", "labels", "labels as a text", "a field goes before"],
)
def test_what_is_said_stands_beside_their_fields(told: dict[str, str]) -> None:
    more = {"description": SECRET, "remove_background_noise": "false", "another": SECRET}
    assert read_new_voice(*form(name="Ann Lee", **more, **told), LIMITS) == NewVoice("ann-lee", SAID, FILE, "hers")


@pytest.mark.parametrize(
    ("asked", "error", "field"),
    [
        (form(name="ann"), InvalidSetting, "text"),
        (form(name="ann", description=SECRET, labels="null"), InvalidSetting, "text"),
        (form(name="ann", labels='{"text": null}'), InvalidSetting, "text"),
        (form(name="ann", labels="{" + SECRET), ProtocolError, "labels"),
        (form(name="ann", labels='{"text": 1}'), ProtocolError, "labels"),
        (form(name="ann", labels='{"text": "\\ud83d"}'), ProtocolError, "labels"),
        (form(name="ann", text=SECRET * 50), TextTooLong, "text"),
        (form(name="小安", text=SECRET), InvalidSetting, "name"),
        (form(text=SECRET), ProtocolError, "name"),
        (form(files=0, name="ann", text=SECRET), ProtocolError, "files"),
        (form(files=2, name="ann", text=SECRET), ProtocolError, "files"),
        (("application/json", b"{}"), UnsupportedFormat, "content-type"),
    ],
)
def test_what_is_wrong(asked: tuple[str, bytes], error: type[ClientError], field: str) -> None:
    with pytest.raises(error) as refused:
        read_new_voice(*asked, LIMITS)
    assert refused.value.field == field
    assert SECRET not in refused.value.message and SECRET not in str(refused.value.limit)


def test_an_id_is_what_the_name_leaves() -> None:
    assert [id_of(name) for name in ("ann_2-b", " Ann  Lee! ", "x" * 80)] == ["ann_2-b", "ann-lee", "x" * 64]
