"""Both ways in one assertion, literal bytes in view; and nothing a client can send gets past the documented errors."""

import json
import re
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server import errors, events
from stream_server.audio.format import FORMATS, RATES, AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import (
    ClientError,
    InvalidSetting,
    MessageTooLarge,
    ProtocolError,
    StreamServerError,
    UnknownVoice,
    UnsupportedFormat,
)
from stream_server.events import (
    Audio,
    Cancel,
    Cancelled,
    Command,
    Done,
    End,
    Event,
    Failed,
    Flush,
    Flushed,
    Mark,
    PushText,
    ReportPlayed,
    SetSpeed,
    Settings,
    Start,
    Started,
    Timing,
)
from stream_server.limits import Limits
from stream_server.protocols.native import AUDIO_HEADER, context_of, hello, parse, serialize
from stream_server.protocols.schema import check_settings

SPEC = ModelSpec("lark", ("kathleen", "slt"), (24_000, 32_000), 25.0, 1_000, True)
ABLE = replace(SPEC, options=("temperature", "top_k", "use_cache"), carry_tokens=100)
DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
SECRET = "mothers-maiden-name"

EVERYTHING = Settings("slt", AudioFormat("wav"), 32_000, 1.5, 7, 0.0, 1, False, True)

COMMANDS: list[tuple[str, Command]] = [
    ('{"type":"start","context":"a"}', Start("a", Settings())),
    (
        '{"type":"start","context":"a","voice":"slt","format":"wav","sample_rate":32000,"speed":1.5,"seed":7,'
        '"temperature":0.0,"top_k":1,"use_cache":false,"carry_over":true}',
        Start("a", EVERYTHING),
    ),
    ('{"type":"start","context":"a","voice":null,"seed":null,"speed":1}', Start("a", Settings())),
    (
        '{"type":"start","context":"a","format":"mp3","output_rate":22050,"bit_rate":32000}',
        Start("a", Settings(format=AudioFormat("mp3", 22_050, 32_000))),
    ),
    (
        '{"type":"start","context":"a","pronunciations":{"tomato":"t ax0 m aa1 t ow0"}}',
        Start("a", Settings(pronunciations={"tomato": "t ax0 m aa1 t ow0"})),
    ),
    ('{"type":"text","context":"a","text":"Hello "}', PushText("a", "Hello ")),
    ('{"type":"text","context":"ä\\u00e4","text":"\\ud83d\\ude00"}', PushText("ää", "😀")),
    ('{"type":"flush","context":"a"}', Flush("a")),
    ('{"type":"end","context":"a"}', End("a")),
    ('{"type":"cancel","context":"a"}', Cancel("a", None)),
    ('{"type":"cancel","context":"a","played":12000}', Cancel("a", 12_000)),
    ('{"type":"played","context":"a","played":9600}', ReportPlayed("a", 9_600)),
    ('{"type":"speed","context":"a","speed":0.5}', SetSpeed("a", 0.5)),
]

EVENTS: list[tuple[Event, str]] = [
    (
        Started("a", 1, "slt", "opus", 24_000, 7, 156),
        '{"type":"started","context":"a","number":1,"voice":"slt","format":"opus","sample_rate":24000,"seed":7,'
        '"pre_skip":156}',
    ),
    (Flushed("a", 36_000), '{"type":"flushed","context":"a","pts":36000}'),
    (Mark("a", "Héllo", 0, 5, 1_440), '{"type":"mark","context":"a","word":"Héllo","start":0,"end":5,"pts":1440}'),
    (
        Done("a", 48_000, 50, 9, 7, "done", 0, Timing(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), 1.23456789),
        '{"type":"done","context":"a","samples":48000,"tokens":50,"words":9,"seed":7,"reason":"done","underruns":0,'
        '"timing":'
        '{"text_wait":0.1,"queue":0.2,"prefill":0.3,"first_token":0.4,"vocoder":0.5,"encode":0.6,"send":0.7,"ttfa":2.8},'
        '"wall":1.234568}',
    ),
    (
        Cancelled("a", 24_000, 12_000, "Hello there", " and more"),
        '{"type":"cancelled","context":"a","sent":24000,"played":12000,"heard":"Hello there","unheard":" and more"}',
    ),
    (
        Failed(None, "engine_dead", "gone", retryable=True),
        '{"type":"error","context":null,"code":"engine_dead","message":"gone","field":null,"limit":null,"retryable":true,'
        '"retry_after":null}',
    ),
]


def refused(message: str | bytes, limits: Limits | None = None) -> ClientError:
    with pytest.raises(ClientError) as caught:
        parse(message, limits or Limits())
    return caught.value


def of_start(**fields: Any) -> str:
    return json.dumps({"type": "start", "context": "a", **fields})


@pytest.mark.parametrize(("message", "command"), COMMANDS, ids=[message for message, _ in COMMANDS])
def test_messages_are_commands(message: str, command: Command) -> None:
    assert parse(message) == command
    assert context_of(message) == command.context


@pytest.mark.parametrize(("event", "message"), EVENTS, ids=[type(event).__name__ for event, _ in EVENTS])
def test_events_are_messages(event: Event, message: str) -> None:
    assert serialize(event) == message
    assert set(json.loads(message)) >= {field.name for field in fields(event)}


def test_audio_byte_by_byte() -> None:
    event = Audio("a", number=0x0102, sequence=0x03040506, pts=0x0708090A0B0C0D0E, duration=0x0F101112, data=b"opus")
    message = bytes.fromhex("01 00 0102 03040506 0708090a0b0c0d0e 0f101112") + b"opus"
    assert serialize(event) == message
    assert AUDIO_HEADER.unpack_from(message) == (1, 0, event.number, event.sequence, event.pts, event.duration)
    assert message[AUDIO_HEADER.size :] == event.data
    assert AUDIO_HEADER.size == 20


def test_hello_says_what_there_is() -> None:
    assert hello(SPEC, Limits(message_bytes=1_000), FORMATS) == (
        '{"type":"hello","protocol":"stream-server.v1","model":"lark","voices":["kathleen","slt"],'
        '"formats":["opus","ogg_opus","webm","pcm_s16le","pcm_f32le","wav","mp3","flac","aac","mulaw","alaw"],'
        '"sample_rates":[24000,32000],"cloning":false,"limits":{"message_bytes":1000,'
        '"text_chars_per_context":100000,"context_name_chars":64,"contexts_per_connection":16,"pending_flushes":64,"idle_timeout_s":120.0,'
        '"slow_reader_s":10.0,"lead_s":2.0,"unsent_s":4.0,"inline_reference_bytes":3000000}}'
    )


# What is refused, and how it is said.


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (b'{"type":"end","context":"a"}', None),
        (b"\xff", None),
        ("", None),
        ("hello", None),
        ("[]", None),
        ("1", None),
        ("null", None),
        ('{"type":"end","context":"a"', None),
        ("{}", "type"),
        ('{"type":"shout","context":"a"}', "type"),
        ('{"type":["end"],"context":"a"}', "type"),
        ('{"type":null,"context":"a"}', "type"),
        ('{"type":"end"}', "context"),
        ('{"type":"end","context":1}', "context"),
        ('{"type":"end","context":null}', "context"),
        ('{"type":"end","context":"a","text":"b"}', "text"),
        ('{"type":"text","context":"a"}', "text"),
        ('{"type":"text","context":"a","text":["b"]}', "text"),
        ('{"type":"played","context":"a","played":1.0}', "played"),
        ('{"type":"played","context":"a","played":true}', "played"),
        ('{"type":"played","context":"a","played":"1"}', "played"),
        (of_start(speed=True), "speed"),
        (of_start(speed="1"), "speed"),
        (of_start(speed=None), "speed"),
        (of_start(use_cache=1), "use_cache"),
        (of_start(seed=False), "seed"),
        (of_start(sped=1), "sped"),
        (of_start(output_rate="22050"), "output_rate"),
        (of_start(bit_rate=64_000.0), "bit_rate"),
        ('{"type":"text","context":"a","text":"\\ud800"}', None),
        ('{"type":"text","context":"a","text":"\ud800"}', None),
        ("[" * 30_000, None),
        ('{"type":"text","context":"a","text":' + '{"a":' * 10_000, None),
        ('{"type":"played","context":"a","played":' + "9" * 5_000 + "}", None),
    ],
)
def test_malformed_messages(message: str | bytes, field: str | None) -> None:
    error = refused(message)
    assert type(error) is ProtocolError
    assert error.field == field
    assert len(error.message) < 200


@pytest.mark.parametrize(
    ("message", "field", "limit"),
    [
        (of_start(format="mp3", output_rate=22_051), "output_rate", ", ".join(map(str, RATES))),
        (of_start(format="mp3", bit_rate=31_999), "bit_rate", 32_000),
        (of_start(format="aac", bit_rate=256_001), "bit_rate", 256_000),
        (of_start(format="wav", bit_rate=64_000), "bit_rate", "opus, ogg_opus, webm, mp3, aac"),
        (of_start(speed=0.49), "speed", 0.5),
        (of_start(speed=2.01), "speed", 2),
        (of_start(speed=float("nan")), "speed", None),
        (of_start(temperature=float("inf")), "temperature", None),
        (of_start(temperature=-0.01), "temperature", 0),
        (of_start(temperature=2.01), "temperature", 2),
        (of_start(top_k=0), "top_k", 1),
        (of_start(top_k=501), "top_k", 500),
        (of_start(seed=-1), "seed", 0),
        (of_start(seed=2**63), "seed", 2**63 - 1),
        (of_start(context=""), "context", 1),
        (of_start(context="a" * 65), "context", 64),
        ('{"type":"speed","context":"a","speed":3}', "speed", 2),
        ('{"type":"cancel","context":"a","played":-1}', "played", 0),
    ],
)
def test_values_out_of_range(message: str, field: str, limit: float | str | None) -> None:
    error = refused(message)
    assert (type(error), error.field, error.limit) == (InvalidSetting, field, limit)


@pytest.mark.parametrize("message", [of_start(seed=2**63 - 1), of_start(speed=2), of_start(context="a" * 64)])
def test_values_just_in_range(message: str) -> None:
    assert isinstance(parse(message), Start)


def test_a_format_there_is_not() -> None:
    error = refused(of_start(format=SECRET))
    assert (type(error), error.field, error.limit) == (UnsupportedFormat, "format", ", ".join(FORMATS))
    assert SECRET not in error.message


def test_an_unknown_type_is_told_the_types_there_are() -> None:
    assert refused('{"type":"shout"}').limit == "start, text, flush, end, cancel, played, speed"


def test_the_limits_are_the_operator_s() -> None:
    message = '{"type":"text","context":"ab","text":"éé"}'
    size = len(message.encode())
    assert parse(message, Limits(message_bytes=size, context_name_chars=2)) == PushText("ab", "éé")
    too_large = refused(message, Limits(message_bytes=size - 1))
    assert (type(too_large), too_large.limit) == (MessageTooLarge, size - 1)
    assert refused(message, Limits(context_name_chars=1)).limit == 1


@pytest.mark.parametrize(
    "message",
    [
        json.dumps({"type": "text", "context": "a", "text": "x", f"{SECRET} and more": 1}),
        json.dumps({"type": SECRET, "context": "a"}),
        of_start(pronunciations={SECRET: 1}),
        json.dumps({"type": "text", "context": [SECRET], "text": SECRET}),
        json.dumps({"type": "text", "context": "a", "text": [SECRET]}),
        json.dumps({"type": "text", "context": SECRET * 10, "text": SECRET}),
        json.dumps({"type": "text", "context": "a", "text": SECRET, "speed": 1}),
        '{"type":"text","context":"a","text":"' + SECRET,
        '{"type":"text","context":"a","text":"' + SECRET + '\\ud800"}',
        SECRET,
    ],
)
def test_a_refusal_never_repeats_the_text(message: str) -> None:
    error = refused(message)
    assert SECRET not in f"{error.message} {error.field} {error.limit} {error!r}"
    assert error.__suppress_context__ or error.__context__ is None  # pydantic's own error quotes its input


@pytest.mark.parametrize(
    ("message", "context"),
    [
        ('{"type":"shout","context":"a"}', "a"),
        ('{"context":"a","speed":NaN,"other":[1]}', "a"),
        ('{"type":"end"}', None),
        ('{"context":1}', None),
        ('{"context":""}', None),
        (json.dumps({"context": "a" * 65}), None),
        ('{"context":"a"', None),
        ('{"context":"\ud800"}', None),
        ("[]", None),
        (b'{"context":"a"}', None),
        ('{"context":"a","text":"' + "x" * 5_000_000 + '"}', None),
    ],
)
def test_whom_a_refused_message_concerns(message: str | bytes, context: str | None) -> None:
    assert context_of(message) == context


# Settings against the model.


@pytest.mark.parametrize(
    "asked", [Settings(), Settings(voice="kathleen", sample_rate=32_000, format=AudioFormat("wav"))]
)
def test_settings_the_model_has(asked: Settings) -> None:
    check_settings(asked, SPEC)


@pytest.mark.parametrize(
    "asked",
    [{"temperature": 0.7}, {"temperature": 0.0}, {"top_k": 5}, {"use_cache": False}, {"carry_over": True}],
    ids=str,
)
def test_what_a_model_does_not_heed_is_refused_and_never_passed_over(asked: dict[str, Any]) -> None:
    (name,) = asked
    check_settings(Settings(**asked), ABLE)
    with pytest.raises(InvalidSetting) as caught:
        check_settings(Settings(**asked), SPEC)
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("asked", "kind", "field", "limit"),
    [
        (Settings(voice="nobody"), UnknownVoice, "voice", "kathleen, slt"),
        (Settings(sample_rate=44_100), InvalidSetting, "sample_rate", "24000, 32000"),
    ],
)
def test_settings_the_model_has_not(asked: Settings, kind: type[ClientError], field: str, limit: str) -> None:
    with pytest.raises(kind) as caught:
        check_settings(asked, SPEC)
    assert (caught.value.field, caught.value.limit) == (field, limit)


# Fuzz: only documented errors escape.

NAMES = st.sampled_from(
    [field.name for field in fields(Settings)] + ["output_rate", "bit_rate", "type", "context", "text", "played", "x"]
)
TYPES = st.sampled_from(["start", "text", "flush", "end", "cancel", "played", "speed"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
OBJECTS = st.builds(lambda kind, rest: {"type": kind, "context": "a", **rest}, TYPES, st.dictionaries(NAMES, VALUES))
TEXTS = st.builds(json.dumps, OBJECTS | VALUES, ensure_ascii=st.booleans())


@settings(max_examples=400, deadline=None)
@given(message=TEXTS | st.text(st.characters(exclude_categories=[])) | st.binary())
def test_anything_is_a_command_or_a_documented_error(message: str | bytes) -> None:
    context = context_of(message)
    with suppress(ProtocolError, InvalidSetting, UnsupportedFormat):
        command = parse(message)
        assert isinstance(command, Command)
        assert command.context == context


@settings(deadline=None)
@given(message=st.sampled_from([message for message, _ in COMMANDS]), data=st.data())
def test_damaged_messages(message: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(message) - 1))
    damaged = message[:at] + data.draw(st.characters(exclude_categories=[]) | st.just("")) + message[at + 1 :]
    with suppress(ProtocolError, InvalidSetting, UnsupportedFormat):
        parse(damaged)


# The document says what the code does.


def said(who: str) -> list[str]:
    return re.findall(rf"^{who}: (\{{.*)$", DOCUMENT, re.MULTILINE)


def test_the_document_s_client_is_understood() -> None:
    assert {type(parse(message)) for message in said("C")} == {Start, PushText, Flush, End, Cancel}


def test_the_document_s_server_messages_are_ours() -> None:
    keys = {json.loads(message)["type"]: list(json.loads(message)) for _, message in EVENTS}
    keys["hello"] = list(json.loads(hello(SPEC, Limits(), FORMATS)))
    seen = {told["type"]: list(told) for told in map(json.loads, said("S"))}
    assert seen == keys
    assert said("S")[0] == hello(SPEC, Limits(), FORMATS)


def test_the_document_lists_every_error_a_listener_can_meet() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StreamServerError)]
    abstract = {"bad_request", "engine_error", "config_error", "unknown_path", "wrong_method", "unknown_model"}
    abstract |= {
        "voice_exists",
        "too_many_voices",
        "voice_in_use",
        "engine_busy",
    }  # of those who keep voices and models
    listed = dict(re.findall(r"^\| `(\w+)` \|(?:[^|]*\|){2} *(\d*) *\|$", DOCUMENT, re.MULTILINE))
    assert set(listed) == {kind.code for kind in kinds} - abstract
    assert all(listed[kind.code] in ("", str(kind.ws_code)) for kind in kinds if kind.code in listed)


def test_the_document_s_python_compiles() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    compile(code, "protocol.md", "exec")


def test_every_event_has_a_form_on_the_wire() -> None:
    assert {type(event) for event, _ in EVENTS} | {Audio} == set(events.Event.__args__)
