"""Messages to dataclasses and back; literal bytes in view."""

import contextlib
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_client.errors import WireError
from stream_client.wire import Cancelled, Done, Failed, Hello, Mark, Packet, Started, command, parse

HELLO = (
    '{"type":"hello","protocol":"stream-server.v1","model":"lark","voices":["slt","kathleen"],'
    '"formats":["opus"],"sample_rates":[24000,32000],"limits":{"message_bytes":65536}}'
)
STARTED = (
    '{"type":"started","context":"a","number":1,"voice":"slt","format":"opus","sample_rate":24000,"seed":7,'
    '"pre_skip":156}'
)
DONE = (
    '{"type":"done","context":"a","samples":48000,"tokens":50,"words":9,"seed":7,"reason":"done",'
    '"timing":{"queue":0.01,"ttfa":1},"wall":2.5}'
)


@pytest.mark.parametrize(
    ("message", "parsed"),
    [
        (
            HELLO,
            Hello("stream-server.v1", "lark", ("slt", "kathleen"), ("opus",), (24000, 32000), {"message_bytes": 65536}),
        ),
        (STARTED, Started("a", 1, "slt", "opus", 24000, 7, 156)),
        ('{"type":"mark","context":"a","word":"Hello","start":0,"end":5,"pts":1440}', Mark("a", "Hello", 0, 5, 1440)),
        (DONE, Done("a", 48000, 50, 9, 7, "done", 0, {"queue": 0.01, "ttfa": 1}, 2.5)),
        (
            '{"type":"cancelled","context":"a","sent":24000,"played":12000,"heard":"Hello there","unheard":" and"}',
            Cancelled("a", 24000, 12000, "Hello there", " and"),
        ),
        ('{"type":"cancelled","context":"a","sent":9,"played":null}', Cancelled("a", 9)),
        (
            '{"type":"error","context":"a","code":"unknown_voice","message":"no","field":"voice","limit":"slt"}',
            Failed("unknown_voice", "no", "a", "voice", "slt"),
        ),
        ('{"type":"error","context":null,"code":"idle_timeout","message":"no","retryable":true}',
         Failed("idle_timeout", "no", retryable=True)),
        (
            b"\x01\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x05\xa0\x00\x00\x01\xe0\xfc\xff\xfe",
            Packet(2, 3, 1440, 480, b"\xfc\xff\xfe"),
        ),
    ],
)  # fmt: skip
def test_every_message_is_read(message: str | bytes, parsed: object) -> None:
    assert parse(message) == parsed


def test_a_newer_server_may_say_more() -> None:
    assert parse(STARTED[:-1] + ',"mood":"fair"}') == parse(STARTED)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "7",
        '{"type":["hello"]}',
        '{"type":"sung","context":"a"}',
        STARTED.replace('"number":1', '"number":true'),
        STARTED.replace('"number":1', '"number":-1'),
        STARTED.replace('"number":1,', ""),
        STARTED.replace("24000", "0"),
        HELLO.replace('"opus"', "8"),
        DONE.replace("0.01", '"soon"'),
        "[" * 100_000,
        b"",
        b"\x01" * 19,
        struct.pack(">BBHIQI", 1, 0, 1, 0, 0, 480),  # no payload
        struct.pack(">BBHIQI", 2, 0, 1, 0, 0, 480) + b"x",
        struct.pack(">BBHIQI", 1, 9, 1, 0, 0, 480) + b"x",
    ],
)
def test_what_the_protocol_does_not_allow_is_an_error(message: str | bytes) -> None:
    with pytest.raises(WireError):
        parse(message)


@given(st.one_of(st.text(), st.binary(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: (
    st.lists(v) | st.dictionaries(st.sampled_from(["type", "context", "number", "hello", "mark"]) | st.text(), v)
)).map(json.dumps)))  # fmt: skip
def test_only_the_documented_error_escapes(message: str | bytes) -> None:
    with contextlib.suppress(WireError):
        parse(message)


def test_a_command_leaves_out_what_was_not_asked() -> None:
    assert command("cancel", "a", played=None) == '{"type":"cancel","context":"a"}'
    assert command("text", "ü", text="é\n") == '{"type":"text","context":"ü","text":"é\\n"}'
