"""Deepgram's messages both ways, literally."""

import json
from dataclasses import replace
from typing import Any

import pytest

from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import ClientError
from stream_server.events import Audio, Cancel, Cancelled, Done, End, Failed, PushText, Settings, Start
from stream_server.limits import Limits
from stream_server.protocols.deepgram import Deepgram, read_body, read_query
from stream_server.protocols.dialect import Close
from stream_server.protocols.voices import VoiceBook

SPEC = ModelSpec("lark", ("kathleen", "slt"), (24_000, 32_000), 25.0, 1_000, True)
SETTINGS = Settings("slt", AudioFormat("pcm_s16le", 24_000, chunk_s=0.04))
FLUSH, CLEAR, CLOSE = (f'{{"type":"{kind}"}}' for kind in ("Flush", "Clear", "Close"))


def make(**limits: Any) -> Deepgram:
    return Deepgram(SETTINGS, "slt", Limits(**limits))


def speak(text: str) -> str:
    return json.dumps({"type": "Speak", "text": text})


def done(context: str) -> Done:
    return Done(context, 100, 1, 1, 1, "done")


def test_the_first_word_is_metadata() -> None:
    [metadata] = make().greet()
    assert isinstance(metadata, str)
    fields = json.loads(metadata)
    assert fields.pop("request_id")
    assert fields == {"type": "Metadata", "model_name": "slt", "model_version": "1", "model_uuid": "slt"}


def test_a_turn_is_the_text_up_to_a_flush_and_is_told_once_its_sound_is_out() -> None:
    dialect = make()
    assert dialect.receive(speak("One ")) == [Start("1", SETTINGS), PushText("1", "One ")]
    assert dialect.receive(speak("two.")) == [PushText("1", "two.")]
    assert dialect.receive(FLUSH) == [End("1")]
    assert dialect.tell(Audio("1", 1, 0, 0, 480, b"\0\1")) == [b"\0\1"]
    assert dialect.tell(done("1")) == ['{"type":"Flushed","sequence_id":0}']


def test_the_next_turn_waits_for_the_one_before() -> None:
    dialect = make()
    dialect.receive(speak("One."))
    dialect.receive(FLUSH)
    assert dialect.receive(speak("Two.")) == dialect.receive(FLUSH) == dialect.receive(speak("Three.")) == []
    flushed = '{"type":"Flushed","sequence_id":0}'
    # Commands first: a Clear that comes while a reply is on its way finds a turn that it can cancel.
    assert dialect.tell(done("1")) == [Start("2", SETTINGS), PushText("2", "Two."), End("2"), flushed]
    assert dialect.tell(done("2"))[:2] == [Start("3", SETTINGS), PushText("3", "Three.")]
    assert dialect.receive(FLUSH) == [End("3")]


def test_a_flush_of_nothing_is_answered_like_any_other() -> None:
    dialect = make()
    assert dialect.receive(FLUSH) == [Start("1", SETTINGS), End("1")]
    assert dialect.tell(done("1")) == ['{"type":"Flushed","sequence_id":0}']


def test_a_clear_is_silence_at_once_whatever_waited() -> None:
    dialect = make()
    dialect.receive(speak("One."))
    dialect.receive(FLUSH)
    dialect.receive(speak("Two."))
    assert dialect.receive(CLEAR) == [Cancel("1"), '{"type":"Cleared","sequence_id":0}']
    assert dialect.tell(Audio("1", 1, 0, 0, 480, b"\0")) == dialect.tell(Cancelled("1", 0, None, None, None)) == []
    assert dialect.receive(CLEAR) == ['{"type":"Cleared","sequence_id":1}']
    assert dialect.receive(speak("Three."))[1:] == [PushText("3", "Three.")]


def test_close_speaks_what_there_is_and_then_closes() -> None:
    dialect = make()
    dialect.receive(speak("One."))
    assert dialect.receive(CLOSE) == [End("1")]
    assert dialect.receive(speak("No more.")) == []
    assert dialect.tell(done("1"))[1:] == [Close()]
    assert make().receive(CLOSE) == [Close()]


def test_close_waits_for_turns_that_wait() -> None:
    dialect = make()
    for message in (speak("One."), FLUSH, speak("Two."), CLOSE):
        dialect.receive(message)
    assert dialect.tell(done("1"))[:3] == [Start("2", SETTINGS), PushText("2", "Two."), End("2")]
    assert dialect.tell(done("2"))[1:] == [Close()]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no JSON", "PROTOCOL_ERROR"),
        (b"binary", "PROTOCOL_ERROR"),
        ('{"type":"Sing"}', "PROTOCOL_ERROR"),
        ('{"type":"Speak"}', "PROTOCOL_ERROR"),
        (speak("x" * 2_000), "MESSAGE_TOO_LARGE"),
    ],
)
def test_what_cannot_be_obeyed_is_warned_of(message: str | bytes, code: str) -> None:
    dialect = make(message_bytes=1_000)
    [warning] = dialect.receive(message)
    assert isinstance(warning, str) and (json.loads(warning)["type"], json.loads(warning)["code"]) == ("Warning", code)
    assert dialect.receive(speak("Fine."))[1:] == [PushText("1", "Fine.")]


def test_what_waits_is_bounded() -> None:
    dialect = make(text_chars_per_context=14, pending_flushes=2)
    dialect.receive(speak("One."))
    [warning] = dialect.receive(speak("01234567890"))
    assert isinstance(warning, str) and json.loads(warning)["code"] == "TEXT_TOO_LONG"
    dialect.receive(FLUSH)
    assert dialect.receive(speak("0123456789")) == []
    [warning] = dialect.receive(speak("0"))
    assert isinstance(warning, str) and json.loads(warning)["code"] == "TEXT_TOO_LONG"
    for _ in range(2):
        dialect.receive(FLUSH)
    [warning] = dialect.receive(FLUSH)
    assert isinstance(warning, str) and json.loads(warning)["code"] == "PROTOCOL_ERROR"


def test_a_turn_that_is_lost_ends_the_connection_for_there_is_no_word_for_it() -> None:
    dialect = make()
    dialect.receive(speak("One."))
    error, close = dialect.tell(Failed("1", "overloaded", "too many"))
    assert isinstance(error, str) and json.loads(error)["type"] == "Error"
    assert close == Close(1013, "overloaded")


def test_text_that_cannot_be_spoken_costs_its_turn_and_nothing_else() -> None:
    dialect = make()
    dialect.receive(speak("One [[zz]] "))
    [warning] = dialect.tell(Failed("1", "invalid_pronunciation", "no such phone"))
    assert isinstance(warning, str) and json.loads(warning)["type"] == "Warning"
    assert dialect.receive(speak("more of it.")) == []
    flushed = ['{"type":"Flushed","sequence_id":0}']
    assert dialect.receive(FLUSH) == flushed
    assert dialect.receive(speak("Two.")) == [Start("2", SETTINGS), PushText("2", "Two.")]
    dialect.receive(FLUSH)
    dialect.receive(speak("Three."))
    _, *acts = dialect.tell(Failed("2", "invalid_pronunciation", "no such phone"))
    assert acts == [Start("3", SETTINGS), PushText("3", "Three."), '{"type":"Flushed","sequence_id":1}']


def test_an_agent_s_pooled_socket_may_be_silent_for_its_hour() -> None:
    assert (make().idle_timeout_s or 0) > 3_600
    assert make(idle_timeout_s=9_000.0).idle_timeout_s == 9_000


def test_queries_ask_for_raw_sound_on_sockets_and_files_by_post() -> None:
    query = read_query({"model": "aura-2-thalia-en", "encoding": "mulaw", "sample_rate": "8000", "surplus": "1"})
    assert query.spoken(VoiceBook(), SPEC).format == AudioFormat("mulaw", 8_000, chunk_s=0.04)
    assert read_query({}).posted(VoiceBook(), SPEC).format == AudioFormat("mp3")
    raw = read_query({"encoding": "linear16", "container": "none", "sample_rate": "16000"})
    assert raw.posted(VoiceBook(), SPEC).format == AudioFormat("pcm_s16le", 16_000)
    assert read_query({"encoding": "linear16"}).posted(VoiceBook(), SPEC).format == AudioFormat("wav", 24_000)
    assert read_query({"encoding": "alaw"}).posted(VoiceBook(), SPEC).format == AudioFormat("alaw", 8_000)
    assert read_query({"encoding": "mulaw"}).spoken(VoiceBook(), SPEC).format.sample_rate == 8_000
    for wrong in ({"encoding": "mp3"}, {"model": "nobody"}, {"sample_rate": "7"}):
        with pytest.raises(ClientError):
            read_query(wrong).spoken(VoiceBook(), SPEC)
    with pytest.raises(ClientError):
        read_query({"speed": "1.2"}).spoken(VoiceBook(), replace(SPEC, speeds=False))
    for encoding, container in (("mulaw", "wav"), ("opus", "none"), ("mp3", "ogg")):
        with pytest.raises(ClientError):
            read_query({"encoding": encoding, "container": container}).posted(VoiceBook(), SPEC)
    with pytest.raises(ClientError):
        read_query({"encoding": "cassette"})
    with pytest.raises(ClientError):
        read_body(b'{"txt":"x"}')
