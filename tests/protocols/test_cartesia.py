"""Cartesia's messages both ways, literally."""

import json
from dataclasses import replace
from typing import Any

import pytest

from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import ClientError
from stream_server.events import (
    Audio,
    Cancel,
    Cancelled,
    Done,
    End,
    Failed,
    Flush,
    Flushed,
    Mark,
    PushText,
    Refuse,
    Settings,
    Start,
    Started,
)
from stream_server.limits import Limits
from stream_server.protocols.cartesia import Cartesia, Lines, read_request
from stream_server.protocols.voices import VoiceBook

SPEC = ModelSpec("lark", ("kathleen", "slt"), (24_000, 32_000), 25.0, 1_000, True)
SDK = (
    '{"model_id":"sonic-3","transcript":"Hello there.",'
    '"voice":{"mode":"id","id":"6ccbfb76-1fc6-48f7-b71d-91ac6298247b"},'
    '"output_format":{"container":"raw","encoding":"pcm_f32le","sample_rate":44100},"context_id":"c1","continue":false,'
    '"add_timestamps":true}'
)
FLOATS = Settings("kathleen", AudioFormat("pcm_f32le", 44_100, chunk_s=0.1))


def make(**limits: Any) -> Cartesia:
    return Cartesia(VoiceBook(), lambda: SPEC, Limits(**limits))


def say(context: str = "c", text: str = "", **fields: Any) -> str:
    return json.dumps({"context_id": context, "transcript": text, "voice": "slt", **fields})


def told(dialect: Cartesia, event: Any) -> list[dict[str, Any]]:
    return [json.loads(act) for act in dialect.tell(event) if isinstance(act, str)]


def test_the_sdk_s_message_is_a_whole_utterance() -> None:
    assert make().receive(SDK) == [Start("1", FLOATS), PushText("1", "Hello there."), End("1")]


def test_a_context_goes_on_is_flushed_and_ends_with_an_empty_text() -> None:
    dialect = make()
    assert dialect.receive(say(text="One ", **{"continue": True}))[1:] == [PushText("1", "One ")]
    assert dialect.receive(say(text="two.", **{"continue": True})) == [PushText("1", "two.")]
    assert dialect.receive(say(**{"continue": True, "flush": True})) == [Flush("1")]
    assert told(dialect, Flushed("1", 100))[0]["flush_id"] == 1
    assert dialect.receive(say(text=" ", **{"continue": False})) == [End("1")]
    assert dialect.receive(say(text=" ")) == []  # said twice, it is no error


@pytest.mark.parametrize("wrong", [say(text="more"), say(text="x", output_format={"encoding": "cassette"})])
def test_an_error_is_the_end_of_the_context_it_names(wrong: str) -> None:
    dialect = make()
    dialect.receive(say(text="One."))
    [refused] = dialect.receive(wrong)
    assert isinstance(refused, Refuse) and refused.context == "1"
    [error] = told(dialect, Failed.of(refused.error, "1"))
    assert (error["type"], error["context_id"], error["done"]) == ("error", "c", True)
    assert dialect.receive(say(text="Anew."))[0] == Start("2", Settings("slt", FLOATS.format))


def test_sound_words_and_the_end_are_told_once_each() -> None:
    dialect = make()
    dialect.receive(SDK)
    heard = [
        message
        for event in (
            Started("1", 1, "kathleen", "pcm_f32le", 24_000, 1, 0),
            Mark("1", "Hello", 0, 5, 2_400),
            Audio("1", 1, 0, 0, 480, b"\0\1"),
            Mark("1", "there.", 6, 12, 12_000),
            Done("1", 24_000, 10, 2, 1, "done"),
        )
        for message in told(dialect, event)
    ]
    base = {"context_id": "c1", "done": False, "status_code": 206}
    assert heard == [
        {"type": "chunk", **base, "data": "AAE=", "step_time": 0.0},
        {"type": "timestamps", **base, "word_timestamps": {"words": ["Hello"], "start": [0.1], "end": [0.5]}},
        {"type": "timestamps", **base, "word_timestamps": {"words": ["there."], "start": [0.5], "end": [1.0]}},
        {"type": "done", "context_id": "c1", "done": True, "status_code": 200},
    ]


def test_after_a_cancel_nothing_is_told_and_the_id_is_free() -> None:
    dialect = make()
    dialect.receive(say(text="One. ", **{"continue": True}))
    assert dialect.receive('{"context_id":"c","cancel":true}') == [Cancel("1")]
    assert dialect.tell(Audio("1", 1, 0, 0, 480, b"\0")) == dialect.tell(Cancelled("1", 0, None, None, None)) == []
    assert dialect.receive('{"context_id":"c","cancel":true}') == []  # it may cross the end on the wire
    assert dialect.receive(say(text="Two."))[0] == Start("2", Settings("slt", FLOATS.format))


def test_a_context_that_failed_is_told_and_the_rest_of_its_text_passed_over() -> None:
    dialect = make()
    dialect.receive(say(text="One. ", **{"continue": True}))
    [error] = told(dialect, Failed("1", "overloaded", "too many", retryable=True, retry_after=2.0))
    assert (error["type"], error["context_id"], error["done"], error["status_code"]) == ("error", "c", True, 503)
    assert dialect.receive(say(text="two. ", **{"continue": True})) == []
    assert dialect.receive(say(text="three.")) == []
    assert dialect.receive(say(text="Anew."))[1:] == [PushText("2", "Anew."), End("2")]


def test_a_cancel_frees_the_id_of_a_context_that_failed() -> None:
    dialect = make()
    dialect.receive(say(text="One. ", **{"continue": True}))
    told(dialect, Failed("1", "overloaded", "too many", retryable=True, retry_after=2.0))
    assert dialect.receive('{"context_id":"c","cancel":true}') == []
    assert dialect.receive(say(text="Anew. ", **{"continue": True}))[1:] == [PushText("2", "Anew. ")]


@pytest.mark.parametrize(
    ("fields", "speed"),
    [
        ({"generation_config": {"speed": 1.2, "volume": 2, "emotion": "calm"}}, 1.2),
        ({"generation_config": {"speed": None}}, 1.0),
        ({"voice": {"mode": "id", "id": "slt", "__experimental_controls": {"speed": "fastest", "emotion": []}}}, 1.5),
        ({"voice": {"mode": "id", "id": "slt", "__experimental_controls": {"speed": -1}}}, 1 / 1.5),
        ({"speed": "normal"}, 1.0),
        ({"speed": "fastest"}, 1.5),
    ],
)
def test_every_way_of_asking_for_a_speed(fields: dict[str, Any], speed: float) -> None:
    [start, *_] = make().receive(say(text="x", **fields))
    assert isinstance(start, Start) and start.settings.speed == pytest.approx(speed)


def test_an_agent_s_pooled_socket_may_be_silent_for_its_five_minutes() -> None:
    assert (make().idle_timeout_s or 0) > 300
    assert make(idle_timeout_s=900.0).idle_timeout_s == 900


@pytest.mark.parametrize(
    ("message", "code", "context"),
    [
        ("no JSON", "protocol_error", None),
        ("[]", "protocol_error", None),
        ("[" * 800, "protocol_error", None),
        ('{"context_id":1}', "protocol_error", None),
        ('{"transcript":1}', "protocol_error", None),
        (b"\xff", "protocol_error", None),
        (say(transcript=1), "protocol_error", "c"),
        (say(text="x", voice="nobody"), "unknown_voice", "c"),
        (say(text="x", voice={"mode": "embedding", "embedding": [1]}), "unknown_voice", "c"),
        (
            say(text="x", output_format={"container": "raw", "encoding": "pcm_s16le", "sample_rate": 7}),
            "invalid_setting",
            "c",
        ),
        (say(text="x", output_format={"container": "ogg"}), "invalid_setting", "c"),
        (say(text="x", generation_config={"speed": 9}), "invalid_setting", "c"),
        (say(text="x", speed="breakneck"), "protocol_error", "c"),
        (say(context="c" * 65, text="x"), "invalid_setting", "c" * 65),
        (say(text="x" * 1_000), "message_too_large", None),
    ],
)
def test_what_is_wrong_is_told_and_the_socket_stays_open(message: str | bytes, code: str, context: str | None) -> None:
    dialect = make(message_bytes=900)
    [answer] = dialect.receive(message)
    assert isinstance(answer, str) and json.loads(answer)["error_code"] == code
    assert json.loads(answer)["context_id"] == context
    assert isinstance(dialect.receive(say(context="d", text="Fine."))[-1], End)


def test_a_post_may_ask_for_a_file_and_its_lines_are_events() -> None:
    asked = read_request(
        b'{"transcript":"Hi.","voice":"slt","output_format":{"container":"mp3","sample_rate":44100,"bit_rate":128000}}'
    )
    assert asked.settings(VoiceBook(), SPEC, paced=False).format == AudioFormat("mp3", 44_100, 128_000, 0.1)
    written = Lines(asked)(Audio("answer", 1, 0, 0, 480, b"\0"))
    assert written.startswith(b"event: chunk\ndata: {") and written.endswith(b"}\n\n")
    with pytest.raises(ClientError):
        read_request(b"{")


def test_a_voice_that_came_while_it_was_connected_is_taken() -> None:
    specs = [SPEC]
    dialect = Cartesia(VoiceBook(), lambda: specs[-1], Limits())
    specs.append(replace(SPEC, voices=("kathleen", "ann")))
    [start, *_] = dialect.receive(say(text="Hello.", voice={"mode": "id", "id": "ann"}))
    assert isinstance(start, Start) and start.settings.voice == "ann"
