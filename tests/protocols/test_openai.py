"""Both ways, literal bytes in view: a body is settings and a text, an event is bytes, an error is its JSON."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import (
    ClientError,
    ForbiddenOrigin,
    InvalidSetting,
    MessageTooLarge,
    Overloaded,
    StreamServerError,
    TextTooLong,
    TooManyContexts,
    Unauthorized,
    UnknownModel,
    UnknownVoice,
)
from stream_server.events import Audio, Done, Mark, Settings, Started
from stream_server.limits import Limits
from stream_server.protocols import openai
from stream_server.protocols.voices import OPENAI, VoiceBook

SPEC = ModelSpec("lark", ("kathleen", "slt"), (24_000, 32_000), 25.0, 1_000, True, ("aa1",))
BOOK = VoiceBook({"anna": "slt"})


def settings(body: bytes) -> tuple[Settings, str, str]:
    asked = openai.read_speech(body, Limits())
    return asked.settings(BOOK, SPEC), asked.input, asked.media_type


@pytest.mark.parametrize(
    ("body", "meant", "media_type"),
    [
        (b'{"input":"Hi"}', Settings("kathleen", AudioFormat("mp3", chunk_s=0.04), paced=False), "audio/mpeg"),
        (
            b'{"input":"Hi","model":"tts-1","voice":"nova","response_format":"opus","instructions":"gently"}',
            Settings("kathleen", AudioFormat("ogg_opus", chunk_s=0.04), paced=False),
            "audio/ogg",
        ),
        (
            b'{"input":"Hi","voice":{"id":"anna"},"response_format":"pcm","speed":2,"seed":7}',
            Settings("slt", AudioFormat("pcm_s16le", 24_000, chunk_s=0.04), speed=2.0, seed=7, paced=False),
            "audio/pcm",
        ),
        (
            b'{"input":"Hi","response_format":"wav","stream_format":"sse","stream":true,"speed":null,"voice":null}',
            Settings("kathleen", AudioFormat("wav", chunk_s=0.1), paced=False),
            "text/event-stream",
        ),
    ],
)
def test_a_body_is_settings_and_a_text(body: bytes, meant: Settings, media_type: str) -> None:
    assert settings(body) == (meant, "Hi", media_type)


def test_every_name_that_openai_has_is_a_voice() -> None:
    for name in OPENAI:
        assert settings(json.dumps({"input": "Hi", "voice": name}).encode())[0].voice == "kathleen"


def test_events_are_sound() -> None:
    assert openai.sound(Audio("a", 1, 0, 0, 480, b"\x00\x01")) == b"\x00\x01"
    for silent in (Started("a", 1, "slt", AudioFormat("mp3"), 24_000, 7, 0), Mark("a", "w", 0, 1, 0), DONE):
        assert openai.sound(silent) == b""


DONE = Done("a", 36_000, 38, 5, 7, "done")


def test_events_are_lines() -> None:
    assert openai.lines(Audio("a", 1, 0, 0, 480, b"\x00\xff")) == (
        b'data: {"type":"speech.audio.delta","audio":"AP8="}\n\n'
    )
    assert openai.lines(DONE) == (
        b'data: {"type":"speech.audio.done","usage":{"input_tokens":5,"output_tokens":38,"total_tokens":43}}\n\n'
    )
    assert openai.lines(Mark("a", "w", 0, 1, 0)) == b""


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (
            InvalidSetting("speed: too fast", field="speed", limit=2.0),
            400,
            '{"error":{"message":"speed: too fast (limit: 2)","type":"invalid_request_error","param":"speed",'
            '"code":"invalid_setting"}}',
        ),
        (
            TextTooLong("too long", field="text", limit=10),
            400,
            '{"error":{"message":"too long (limit: 10)","type":"invalid_request_error","param":"input",'
            '"code":"text_too_long"}}',
        ),
        (
            UnknownVoice("no such voice here", field="voice", limit="kathleen, slt"),
            400,
            '{"error":{"message":"no such voice here (limit: kathleen, slt)","type":"invalid_request_error",'
            '"param":"voice","code":"unknown_voice"}}',
        ),
        (
            Overloaded("too many are being served", limit=2, retry_after=0.3),
            503,
            '{"error":{"message":"too many are being served (limit: 2)","type":"server_error","param":null,'
            '"code":"overloaded"}}',
        ),
        (
            Unauthorized("a key is needed", field="api_key"),
            401,
            '{"error":{"message":"a key is needed","type":"authentication_error","param":"api_key",'
            '"code":"unauthorized"}}',
        ),
    ],
)
def test_errors_are_told_as_theirs(error: StreamServerError, status: int, told: str) -> None:
    assert (openai.status(error), openai.refuse(error).model_dump_json()) == (status, told)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ForbiddenOrigin("x"), 403, "permission_error"),
        (UnknownModel("x"), 404, "not_found_error"),
        (MessageTooLarge("x"), 413, "invalid_request_error"),
        (TooManyContexts("x"), 429, "rate_limit_error"),
        (StreamServerError("x"), 500, "server_error"),
    ],
)
def test_each_status_has_its_type(error: StreamServerError, status: int, kind: str) -> None:
    assert (openai.status(error), openai.refuse(error).error.type) == (status, kind)


def test_lists() -> None:
    assert openai.models(SPEC)["data"][0] == {
        "id": "lark",
        "object": "model",
        "created": 0,
        "owned_by": "stream-server",
    }
    assert openai.voices(SPEC, BOOK) == {"voices": [{"id": n, "name": n} for n in ("kathleen", "slt", "anna")]}
    with pytest.raises(UnknownModel):
        openai.model("gpt-9", SPEC)


def test_a_text_may_be_as_long_as_a_context_may() -> None:
    body = b'{"input":"12345"}'
    assert openai.read_speech(body, Limits(text_chars_per_context=5)).input == "12345"
    with pytest.raises(TextTooLong) as refused:
        openai.read_speech(body, Limits(text_chars_per_context=4))
    assert (refused.value.field, refused.value.limit) == ("input", 4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
FIELDS = ("input", "model", "voice", "response_format", "speed", "stream_format", "seed", "instructions")


@given(st.binary() | st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda body: json.dumps(body).encode()))
def test_nothing_but_the_documented_errors_comes_of_any_body(body: bytes) -> None:
    with suppress(ClientError):
        settings(body)
