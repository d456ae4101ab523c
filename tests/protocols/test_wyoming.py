"""Wyoming's bytes, literally and both ways."""

import json
from dataclasses import replace

import pytest
from wyoming.event import Event as WireEvent
from wyoming.info import Describe, Info
from wyoming.ping import Ping
from wyoming.tts import Synthesize, SynthesizeVoice
from wyoming.version import __version__ as WYOMING

from stream_server import __version__
from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import ModelSpec
from stream_server.errors import ClientError, InvalidSetting, MessageTooLarge, ProtocolError, UnknownVoice
from stream_server.events import Audio, Command, Done, End, Event, Failed, Mark, PushText, Settings, Start, Started
from stream_server.limits import Limits
from stream_server.protocols.voices import VoiceBook
from stream_server.protocols.wyoming import Conversation, Inbox, info

SPEC = ModelSpec("lark", ("kathleen", "slt"), (24_000, 32_000), 25.0, 1000, True)
LIMITS = Limits(message_bytes=300)
SPEECH = Settings(format=AudioFormat("pcm_s16le"), paced=False)

# As Home Assistant 2026.11 writes them: the data in a block of its own.
START = b'{"type": "synthesize-start", "version": "1.10.2", "data_length": 26}\n{"voice": {"name": "slt"}}'
CHUNKS = (
    b'{"type": "synthesize-chunk", "version": "1.10.2", "data_length": 19}\n{"text": "Turned "}',
    b'{"type": "synthesize-chunk", "version": "1.10.2", "data_length": 16}\n{"text": "on. "}',
    b'{"type": "synthesize-chunk", "version": "1.10.2", "data_length": 17}\n{"text": "Bye\xc3\xa9"}',
)
WHOLE = (
    b'{"type": "synthesize", "version": "1.10.2", "data_length": 54}\n'
    b'{"text": "Turned on. Bye\xc3\xa9", "voice": {"name": "slt"}}'
)
STOP = b'{"type": "synthesize-stop", "version": "1.10.2"}\n'
STREAM = START + b"".join(CHUNKS) + WHOLE + STOP


def line(event: str, **header: object) -> bytes:
    return json.dumps({"type": event, **header}).encode() + b"\n"


def obeyed(*pieces: bytes, limits: Limits = LIMITS) -> list[Command]:
    inbox, conversation = Inbox(limits), Conversation(lambda: SPEC, VoiceBook())
    return [c for piece in pieces for event in inbox.push(piece) for c in conversation.commands(event)]


def spoken(context: str, *texts: str, voice: str = SPEC.voices[0]) -> list[Command]:
    settings = Settings(voice=voice, format=AudioFormat("pcm_s16le"), paced=False)
    return [Start(context, settings), *(PushText(context, text) for text in texts), End(context)]


def test_the_streaming_exchange_of_home_assistant_speaks_its_text_once() -> None:
    assert obeyed(STREAM) == spoken("1", "Turned ", "on. ", "Byeé", voice="slt")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_it_is_the_same_however_the_bytes_are_cut(size: int) -> None:
    every = WHOLE + STREAM
    pieces = [every[at : at + size] for at in range(0, len(every), size)]
    assert obeyed(*pieces) == obeyed(every) != []


def test_whole_texts_and_streams_follow_each_other_on_one_connection() -> None:
    assert obeyed(STREAM + WHOLE + STREAM + WHOLE) == [
        *spoken("1", "Turned ", "on. ", "Byeé", voice="slt"),
        *spoken("2", "Turned on. Byeé", voice="slt"),
        *spoken("3", "Turned ", "on. ", "Byeé", voice="slt"),
        *spoken("4", "Turned on. Byeé", voice="slt"),
    ]


@pytest.mark.parametrize(
    ("data", "voice"),
    [
        ({}, "kathleen"),
        ({"voice": None}, "kathleen"),
        ({"voice": {}}, "kathleen"),
        ({"voice": {"language": "de"}}, "kathleen"),
        ({"voice": {"name": "slt", "speaker": "x"}}, "slt"),
        ({"voice": {"name": "alloy"}}, "kathleen"),
        ({"text_format": "text", "context": {"a": 1}, "surplus": 1}, "kathleen"),
    ],
)
def test_a_voice_is_asked_for_by_name_or_not_at_all(data: dict[str, object], voice: str) -> None:
    assert obeyed(line("synthesize", data={"text": "Hi."} | data)) == spoken("1", "Hi.", voice=voice)
    opened = obeyed(line("synthesize-start", data=data))
    assert opened == [Start("1", Settings(voice=voice, format=AudioFormat("pcm_s16le"), paced=False))]


def test_data_beside_the_type_and_behind_the_line_are_one() -> None:
    event = line("synthesize", data={"text": "no", "voice": {"name": "slt"}}, data_length=14) + b'{"text":"yes"}'
    assert obeyed(event) == spoken("1", "yes", voice="slt")


@pytest.mark.parametrize("event", ["select-program", "audio-chunk", "", "synthesise"])
def test_events_that_are_not_known_are_passed_over_with_their_payload(event: str) -> None:
    strange = line(event, data_length=2, payload_length=5) + b"{}" + b"{\n}\x00\xff"
    assert obeyed(strange + WHOLE) == spoken("1", "Turned on. Byeé", voice="slt")


BROKEN = [
    (b"GET / HTTP/1.1\r\n", ProtocolError, None),
    (b"\n", ProtocolError, None),
    (b"[]\n", ProtocolError, None),
    (b"\xff\xfe\n", ProtocolError, None),
    (b"[" * 290 + b"\n", ProtocolError, None),
    (b'{"data_length": 1}\n', ProtocolError, "type"),
    (line("x", data_length=-1), InvalidSetting, "data_length"),
    (line("x", payload_length=-1), InvalidSetting, "payload_length"),
    (line("x", data_length="9"), ProtocolError, "data_length"),
    (line("x", data_length=True), ProtocolError, "data_length"),
    (line("x", data=[]), ProtocolError, "data"),
    (line("x", data_length=3) + b"{x}", ProtocolError, None),
    (line("x", data_length=2) + b"[]", ProtocolError, None),
    (line("x", data_length=10**30), MessageTooLarge, None),
    (line("x", payload_length=10**9), MessageTooLarge, None),
    (line("x", data_length=150, payload_length=150), MessageTooLarge, None),
    (b"x" * 301, MessageTooLarge, None),
    (line("synthesize"), ProtocolError, "text"),
    (line("synthesize", data={"text": 7}), ProtocolError, "text"),
    (line("synthesize", data={"text": "x", "voice": "slt"}), ProtocolError, "voice"),
    (line("synthesize", data={"text": "x", "voice": {"name": 7}}), ProtocolError, "name"),
    (line("synthesize", data={"text": "<s>x</s>", "text_format": "ssml"}), InvalidSetting, "text_format"),
    (line("synthesize-chunk", data={"text": "x"}), ProtocolError, None),
    (line("synthesize-stop"), ProtocolError, None),
    (START + line("synthesize-chunk"), ProtocolError, "text"),
    (START + START, ProtocolError, None),
]


@pytest.mark.parametrize(("data", "kind", "field"), BROKEN, ids=[str(i) for i in range(len(BROKEN))])
def test_what_is_wrong_is_named_and_not_repeated(data: bytes, kind: type[ClientError], field: str | None) -> None:
    with pytest.raises(ClientError) as refused:
        obeyed(data)
    assert (type(refused.value), refused.value.field) == (kind, field)
    assert "<s>" not in refused.value.message and "HTTP" not in refused.value.message
    assert kind is not MessageTooLarge or refused.value.limit == 300


def test_a_line_without_an_end_is_borne_up_to_the_bound() -> None:
    inbox = Inbox(LIMITS)
    for _ in range(300):
        assert list(inbox.push(b"x")) == []
    with pytest.raises(MessageTooLarge):
        list(inbox.push(b"x"))


# What it is told.

STARTED = Started("1", 1, "slt", "pcm_s16le", 24_000, 7, 0)


def audio(context: str, at: int, data: bytes) -> Audio:
    return Audio(context, 1, at, at * 480, 480, data)


def said(conversation: Conversation, *events: Event) -> bytes:
    return conversation.serialize(events).replace(f'"version": "{WYOMING}"'.encode(), b'"version": "V"')


AUDIO_START = (
    b'{"type": "audio-start", "version": "V", "data_length": 61}\n'
    b'{"rate": 24000, "width": 2, "channels": 1, "timestamp": null}'
)
AUDIO_STOP = b'{"type": "audio-stop", "version": "V", "data_length": 19}\n{"timestamp": null}'
STOPPED = b'{"type": "synthesize-stopped", "version": "V"}\n'


def answered(stream: bytes) -> Conversation:
    conversation = Conversation(lambda: SPEC, VoiceBook())
    for event in Inbox(Limits()).push(stream):
        conversation.commands(event)
    return conversation


def test_a_whole_text_is_answered_by_one_sound_from_start_to_stop() -> None:
    conversation = answered(WHOLE)
    assert said(conversation, STARTED, Mark("1", "on.", 0, 3, 0)) == b""
    assert said(conversation, audio("1", 0, b"\x01\x02"), Mark("1", "x", 0, 1, 0), audio("1", 1, b"\x03\n")) == (
        AUDIO_START + b'{"type": "audio-chunk", "version": "V", "data_length": 58, "payload_length": 4}\n'
        b'{"rate": 24000, "width": 2, "channels": 1, "timestamp": 0}\x01\x02\x03\n'
    )
    assert said(conversation, audio("1", 2, b"\x05\x06"), Done("1", 1440, 1, 2, 7, "done")) == (
        b'{"type": "audio-chunk", "version": "V", "data_length": 59, "payload_length": 2}\n'
        b'{"rate": 24000, "width": 2, "channels": 1, "timestamp": 40}\x05\x06' + AUDIO_STOP
    )


def test_a_stream_ends_with_stopped_and_the_next_whole_text_does_not() -> None:
    conversation = answered(STREAM + WHOLE)
    done = [Done(context, 0, 0, 0, 7, "done") for context in "12"]
    assert said(conversation, STARTED, done[0]) == AUDIO_START + AUDIO_STOP + STOPPED
    assert said(conversation, STARTED, done[1]) == AUDIO_START + AUDIO_STOP


@pytest.mark.parametrize(
    ("failed", "text"),
    [
        (Failed("1", "engine_dead", "it is gone"), "it is gone"),
        (Failed("1", "unknown_voice", "no such voice here", "voice", "a, b"), "voice: no such voice here (a, b)"),
        (Failed("1", "overloaded", "too many", None, 2, True, 0.5), "too many (2); try again in 0.5 s"),
        (Failed("1", "protocol_error", "text: wrong", "text"), "text: wrong"),
    ],
)
def test_a_failure_says_all_it_knows_in_one_line(failed: Failed, text: str) -> None:
    header, data = said(Conversation(lambda: SPEC, VoiceBook()), failed).split(b"\n")
    assert json.loads(header) == {"type": "error", "version": "V", "data_length": len(data)}
    assert json.loads(data) == {"text": text, "code": failed.code}


def test_describe_is_answered_with_every_voice() -> None:
    [(event)] = Inbox(Limits()).push(Conversation(lambda: SPEC, VoiceBook()).reply(Describe().event()))
    [program] = Info.from_event(event).tts
    assert event.data == info(SPEC).event().data
    assert (program.installed, program.supports_synthesize_streaming, program.version) == (True, True, __version__)
    assert [(v.name, v.installed, v.languages) for v in program.voices] == [
        ("kathleen", True, ["en"]),
        ("slt", True, ["en"]),
    ]


def test_ping_is_answered_and_nothing_else_is() -> None:
    conversation = Conversation(lambda: SPEC, VoiceBook())
    [(event)] = Inbox(Limits()).push(conversation.reply(Ping("x").event()))
    assert (event.type, event.data) == ("pong", {"text": "x"})
    assert conversation.reply(WireEvent("synthesize-start")) == b""


def test_a_voice_that_came_while_it_was_connected_is_described_and_taken() -> None:
    specs = [SPEC]
    conversation = Conversation(lambda: specs[-1], VoiceBook())
    specs.append(replace(SPEC, voices=("kathleen", "ann")))
    [(event)] = Inbox(Limits()).push(conversation.reply(Describe().event()))
    assert [voice.name for voice in Info.from_event(event).tts[0].voices] == ["kathleen", "ann"]
    start, *_ = conversation.commands(Synthesize("Hello.", SynthesizeVoice("ann")).event())
    assert isinstance(start, Start) and start.settings.voice == "ann"
    with pytest.raises(UnknownVoice):
        conversation.commands(Synthesize("Hello.", SynthesizeVoice("slt")).event())
