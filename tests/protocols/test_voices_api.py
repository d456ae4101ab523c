"""Requests for voices, both ways: what comes in as a form or as JSON, what is told."""

import base64
import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.errors import ClientError, InvalidSetting, ProtocolError, TextTooLong, UnsupportedFormat
from stream_server.limits import Limits
from stream_server.protocols.reference import STRETCH
from stream_server.protocols.voices_api import (
    NewVoice,
    body_limit,
    described,
    listed,
    read_change,
    read_new_voice,
)
from stream_server.voices.store import Listed
from stream_server.voices.stored import About

LIMITS = Limits()
SECRET = "what nobody else may read"
FILE = bytes(range(256)) * 40 + b"\r\n--x--\r\n"


def form(fields: dict[str, str], files: dict[str, bytes]) -> tuple[str, bytes]:
    parts = {name: ("ann.wav", data, "audio/wav") for name, data in files.items()}
    request = httpx.Request("POST", "http://x", data=fields, files=parts)
    return request.headers["content-type"], request.read()


def body(**fields: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(fields).encode()


def test_a_form_and_json_ask_for_the_same() -> None:
    told = {"name": "ann", "text": "so — it is said", "consent": "hers"}
    wanted = NewVoice("ann", "so — it is said", FILE, "hers")
    assert read_new_voice(*form(told, {"file": FILE}), LIMITS) == wanted
    assert read_new_voice(*body(**told, file=base64.b64encode(FILE).decode()), LIMITS) == wanted


def test_base64_of_any_length_and_nothing_else() -> None:
    for size in (0, 1, 2, 3, STRETCH * 3 // 4, STRETCH, 3 * STRETCH + 1):
        file = bytes(range(251)) * (size // 251) + bytes(size % 251)
        assert read_new_voice(*body(name="a", text="b", file=base64.b64encode(file).decode()), LIMITS).file == file
    inside = base64.b64encode(b"x" * (STRETCH * 3 // 4 - 1)).decode()  # ends with its stretch
    for wrong in ("YQ==YQ==", "Y", "YQ=", "Y Q==", "YQ==\n", inside + "YWJj"):
        with pytest.raises(ProtocolError, match="base64"):
            read_new_voice(*body(name="a", text="b", file=wrong), LIMITS)


def test_consent_may_be_left_out() -> None:
    assert read_new_voice(*form({"name": "a", "text": "b"}, {"file": b"c"}), LIMITS).consent == ""
    assert read_new_voice(*body(name="a", text="b", file="Yw=="), LIMITS) == NewVoice("a", "b", b"c", "")


@pytest.mark.parametrize(
    ("asked", "error", "field"),
    [
        (form({"name": "a", "text": SECRET}, {"consent": b""}), ProtocolError, "file"),
        (form({"text": SECRET}, {"file": FILE}), ProtocolError, "name"),
        (form({"name": "a"}, {"file": FILE}), ProtocolError, "text"),
        (form({"name": "A B", "text": SECRET}, {"file": FILE}), InvalidSetting, "name"),
        (form({"name": "a", "text": SECRET * 50}, {"file": FILE}), TextTooLong, "text"),
        (form({"name": "a", "text": SECRET, SECRET: SECRET}, {"file": FILE}), ProtocolError, "(unnamed)"),
        (form({"name": "a", "text": SECRET}, {"file": FILE, "text": FILE}), ProtocolError, "text"),
        (form({"name": "a", "text": "b"}, {"file": b"c", "consent": b"\xff"}), ProtocolError, "consent"),
        (body(name="a", text=SECRET), ProtocolError, "file"),
        (body(name="a", text=SECRET, file="§"), ProtocolError, "file"),
        (body(name="a", text=SECRET, file="YQ==", more=SECRET), ProtocolError, "more"),
        (body(name=1, text=SECRET, file="YQ=="), ProtocolError, "name"),
        (body(name="a", text="  ", file="YQ=="), InvalidSetting, "text"),
        (("application/json", b"{" + SECRET.encode()), ProtocolError, None),
        (("multipart/form-data", b"x"), ProtocolError, None),
        (("multipart/form-data; boundary=x", b"--x\r\n\r\n" + SECRET.encode()), ProtocolError, None),
        (("multipart/form-data; boundary=x", b"--x\r\nno header\r\n\r\na\r\n--x--\r\n"), ProtocolError, None),
        (("audio/wav", FILE), UnsupportedFormat, "content-type"),
        (("", FILE), UnsupportedFormat, "content-type"),
    ],
)
def test_what_is_wrong(asked: tuple[str, bytes], error: type[ClientError], field: str | None) -> None:
    with pytest.raises(error) as refused:
        read_new_voice(*asked, LIMITS)
    assert refused.value.field == field
    assert SECRET not in refused.value.message and SECRET not in str(refused.value.limit)


def test_a_form_that_is_cut_anywhere_is_refused() -> None:
    kind, whole = form({"name": "a", "text": "b"}, {"file": b"c" * 50})
    for at in range(len(whole) - 4):  # but for the last line's end
        with pytest.raises(ClientError):
            read_new_voice(kind, whole[:at], LIMITS)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["multipart/form-data; boundary=x", 'multipart/form-data; boundary="', "application/json"]),
       st.lists(st.sampled_from([b"--x", b"\r\n", b"--", b'Content-Disposition: form-data; name="file"', b":", b"name",
                                 b"\xff", b"{", b'"', b"\0", b'Content-Disposition: form-data; name="'])))  # fmt: skip
def test_whatever_comes_only_our_errors_escape(kind: str, pieces: list[bytes]) -> None:
    with pytest.raises(ClientError):
        read_new_voice(kind, b"".join(pieces), LIMITS)


def test_a_body_may_hold_its_file_and_little_more() -> None:
    small = Limits(reference_bytes=3000)
    assert body_limit("multipart/form-data; boundary=x", small) == 3000 + 65_536
    assert body_limit("Application/JSON", small) == 4000 + 65_536
    with pytest.raises(UnsupportedFormat):
        body_limit("text/plain", small)


def test_a_new_name() -> None:
    assert read_change(b'{"name": "bob"}') == "bob"
    for wrong in (b"", b"{}", b'{"name": 1}', b'{"name": "a", "text": "b"}', b'{"name": "../x"}', b"[]"):
        with pytest.raises(ClientError):
            read_change(wrong)


def test_what_is_told() -> None:
    about = About(SECRET, "hers", "2026-05-01T10:00:00Z", 5.5, "glm_tts", "abc")
    told = listed([Listed("ann", about), Listed("bob", None)])
    assert told == {
        "voices": [
            {
                "name": "ann",
                "usable": True,
                "created": "2026-05-01T10:00:00Z",
                "source_s": 5.5,
                "consent": "hers",
                "family": "glm_tts",
            },
            {"name": "bob", "usable": False},
        ]
    }
    assert described(Listed("ann", about)) == told["voices"][0]
