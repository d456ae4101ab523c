"""ElevenLabs' two websockets as dialects: literal JSON both ways, and who is told what of a context."""

import json
from typing import Any

import pytest

from stream_server.audio.format import AudioFormat
from stream_server.errors import (
    ClientError,
    IdleTimeout,
    InvalidSetting,
    Overloaded,
    ProtocolError,
    Unauthorized,
    UnknownVoice,
    UnsupportedFormat,
)
from stream_server.events import (
    Audio,
    Cancel,
    Cancelled,
    Done,
    End,
    Event,
    Failed,
    Flush,
    Flushed,
    Mark,
    PushText,
    SetSpeed,
    Settings,
    Start,
    Started,
)
from stream_server.limits import Limits
from stream_server.protocols.dialect import Act, Close
from stream_server.protocols.elevenlabs.formats import FORMATS, find_format
from stream_server.protocols.elevenlabs.messages import Options, read_query
from stream_server.protocols.elevenlabs.multi import Multi
from stream_server.protocols.elevenlabs.single import Single
from stream_server.protocols.elevenlabs.socket import Refused
from stream_server.protocols.elevenlabs.tags import LONGEST, Tags

PCM = AudioFormat("pcm_s16le", 24_000, None, 0.1)
OPTIONS = Options("slt", PCM)
SECRET = "mothers-maiden-name"


def multi(options: Options = OPTIONS, **limits: Any) -> Multi:
    return Multi(options, Limits(**limits), lambda *keys: True, True)


def single(options: Options = OPTIONS) -> Single:
    return Single(options, Limits(), lambda *keys: True, True)


def started(name: str) -> Started:
    return Started(name, 1, "slt", "pcm_s16le", 24_000, 7, 0)


def audio(name: str, pts: int, duration: int, data: bytes = b"\x01\x02\x03") -> Audio:
    return Audio(name, 1, 0, pts, duration, data)


def done(name: str, samples: int) -> Done:
    return Done(name, samples, 1, 1, 7, "done")


def cancelled(name: str) -> Cancelled:
    return Cancelled(name, 0, None, None, None)


def opened(dialect: Multi, *ids: str) -> None:
    for id in ids:
        dialect.receive(json.dumps({"text": " ", "context_id": id}))


# One text on its socket.

SINGLE: list[tuple[str, list[Act]]] = [
    (
        '{"text":" ","try_trigger_generation":true,"voice_settings":null,'
        '"generation_config":{"chunk_length_schedule":[50]}}',
        [Start("speech", Settings("slt", PCM))],
    ),
    ('{"text":"Hello ","try_trigger_generation":true}', [PushText("speech", "Hello ")]),
    ('{"text":" "}', [PushText("speech", " ")]),
    ('{"text":"there. ","flush":true}', [PushText("speech", "there. "), Flush("speech")]),
    ('{"text":"","flush":true}', [Flush("speech")]),
    (
        '{"text":"and ","voice_settings":{"speed":0.9,"stability":0.5}}',
        [SetSpeed("speech", 0.9), PushText("speech", "and ")],
    ),
    ('{"text":""}', [End("speech")]),
    ('{"text":"too late"}', []),
]


def test_one_text_message_by_message() -> None:
    dialect = single()
    assert dialect.greet() == []
    for message, acts in SINGLE:
        assert dialect.receive(message) == acts, message


def test_one_text_event_by_event() -> None:
    dialect = single()
    dialect.receive('{"text":" "}')
    dialect.receive('{"text":"Hi you."}')
    told: list[tuple[Event, list[Act]]] = [
        (started("speech"), []),
        (Mark("speech", "Hi", 0, 2, 0), []),
        (
            audio("speech", 0, 2_400),
            [
                '{"audio":"AQID","isFinal":null,"alignment":{"chars":["H","i"],"charStartTimesMs":[0,60],'
                '"charDurationsMs":[60,40]},"normalizedAlignment":{"chars":["H","i"],"charStartTimesMs":[0,60],'
                '"charDurationsMs":[60,40]}}'
            ],
        ),
        (Flushed("speech", 2_400), []),
        (audio("speech", 2_400, 0), ['{"audio":"AQID","isFinal":null,"alignment":null,"normalizedAlignment":null}']),
        (
            done("speech", 2_400),
            [
                '{"audio":null,"isFinal":null,"alignment":{"chars":[" ","y","o","u","."],"charStartTimesMs":'
                '[0,0,0,0,0],"charDurationsMs":[0,0,0,0,0]},"normalizedAlignment":{"chars":[" ","y","o","u","."],'
                '"charStartTimesMs":[0,0,0,0,0],"charDurationsMs":[0,0,0,0,0]}}',
                '{"audio":null,"isFinal":true}',
                Close(1000, ""),
            ],
        ),
    ]
    for event, acts in told:
        if isinstance(event, Audio) and event.duration:
            dialect.receive('{"text":""}')
        assert dialect.tell(event) == acts


def test_an_error_ends_a_socket_with_one_text() -> None:
    dialect = single()
    dialect.receive('{"text":" "}')
    failed = Failed.of(Overloaded("too many are being served", retry_after=1.0), "speech")
    assert dialect.tell(failed) == [
        '{"message":"too many are being served","error":"max_active_conversations","code":1008}',
        Close(1008, "too many are being served"),
    ]


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (IdleTimeout("nothing was said for too long", limit=20.0), "input_timeout_exceeded", "(limit: 20.0)"),
        (ProtocolError("not JSON"), "invalid_input_message", "not JSON"),
        (InvalidSetting("too long", field="text", limit=3), "invalid_input_message", "text: too long (limit: 3)"),
        (Unauthorized("no key"), "invalid_api_key", "no key"),
        (UnknownVoice("no such voice", field="voice"), "voice_not_found", "voice: no such voice"),
    ],
)
def test_the_last_words_of_a_socket(error: Any, name: str, message: str) -> None:
    for dialect in (single(), multi(), Refused(error)):
        said, close = dialect.fail(error)
        fields = json.loads(said)  # type: ignore[arg-type]
        assert (fields["error"], fields["code"], "contextId" in fields) == (name, 1008, False)
        assert message in fields["message"]
        assert isinstance(close, Close) and close.code == 1008 and message in close.reason
        assert len(close.reason.encode()) <= 123


def test_a_close_frame_holds_what_it_can_of_a_long_reason() -> None:
    _, close = single().fail(ProtocolError("é" * 100))
    assert isinstance(close, Close) and close.reason == "é" * 61


def test_a_socket_that_cannot_be_says_so_instead_of_greeting() -> None:
    refused = Refused(UnknownVoice("no such voice"))
    with pytest.raises(UnknownVoice):
        refused.greet()
    assert refused.receive('{"text":" "}') == []


# Many texts on one socket.


def test_pipecat_speaks_a_turn_and_closes_it() -> None:
    dialect = multi()
    exchange: list[tuple[str | Event, list[Act]]] = [
        (
            '{"text":" ","context_id":"c","voice_settings":{"stability":null,"speed":1.1}}',
            [Start("1", Settings("slt", PCM, speed=1.1))],
        ),
        ('{"text":"Hi.","context_id":"c"}', [PushText("1", "Hi.")]),
        (started("1"), []),
        ('{"text":"","context_id":"c"}', []),
        ('{"text":""}', []),
        ('{"context_id":"c","flush":true}', [Flush("1")]),
        ('{"context_id":"c","close_context":true}', [End("1")]),
        (Mark("1", "Hi.", 0, 3, 0), []),
        (
            audio("1", 0, 4_800),
            [
                '{"audio":"AQID","isFinal":null,"alignment":{"chars":["H","i","."],"charStartTimesMs":[0,60,120],'
                '"charDurationsMs":[60,60,80]},"normalizedAlignment":{"chars":["H","i","."],'
                '"charStartTimesMs":[0,60,120],"charDurationsMs":[60,60,80]},"contextId":"c"}'
            ],
        ),
        (Flushed("1", 4_800), []),
        (done("1", 4_800), ['{"audio":null,"isFinal":true,"contextId":"c"}']),
        ('{"context_id":"c","close_context":true}', []),
        ('{"close_socket":true}', [Close(1000, "")]),
    ]
    for said, acts in exchange:
        assert (dialect.receive(said) if isinstance(said, str) else dialect.tell(said)) == acts, said


def test_a_context_closed_before_all_was_flushed_falls_silent() -> None:
    dialect = multi()
    opened(dialect, "c")
    dialect.receive('{"text":"One. ","context_id":"c","flush":true}')
    dialect.receive('{"text":"Two. ","context_id":"c"}')
    assert dialect.receive('{"context_id":"c","close_context":true}') == [Cancel("1")]
    assert dialect.tell(cancelled("1")) == ['{"audio":null,"isFinal":true,"contextId":"c"}']


def test_a_context_that_is_being_finished_stops_when_it_is_closed_again() -> None:
    dialect = multi()
    opened(dialect, "c")
    assert dialect.receive('{"text":"One. ","context_id":"c","flush":true,"close_context":true}') == [
        PushText("1", "One. "),
        Flush("1"),
        End("1"),
    ]
    assert dialect.receive('{"text":"more","context_id":"c"}') == []
    assert dialect.receive('{"context_id":"c","close_context":true}') == [Cancel("1")]


def test_a_context_with_nothing_in_it_is_closed_as_well() -> None:
    dialect = multi()
    opened(dialect, "c")
    assert dialect.receive('{"context_id":"c","close_context":true}') == [End("1")]
    dialect.tell(started("1"))
    assert dialect.tell(done("1", 0)) == ['{"audio":null,"isFinal":true,"contextId":"c"}']


def test_an_id_is_free_once_its_context_has_ended_and_names_are_never_used_again() -> None:
    dialect = multi()
    for name in "123":
        assert dialect.receive('{"text":"Hi. ","context_id":"c"}') == [
            Start(name, Settings("slt", PCM)),
            PushText(name, "Hi. "),
        ]
        dialect.receive('{"context_id":"c","close_context":true}')
        assert len(dialect.tell(cancelled(name))) == 1
        assert dialect.tell(audio(name, 0, 480)) == []


def test_contexts_do_not_concern_each_other() -> None:
    dialect = multi()
    opened(dialect, "a", "b")
    dialect.receive('{"text":"A. ","context_id":"a","flush":true}')
    dialect.receive('{"text":"B. ","context_id":"b","flush":true}')
    for name in "12":
        dialect.tell(started(name))
    assert dialect.receive('{"context_id":"a","close_context":true}') == [End("1")]
    told = [json.loads(act) for name in "2121" for act in dialect.tell(audio(name, 0, 0)) if isinstance(act, str)]
    assert [message["contextId"] for message in told] == ["b", "a", "b", "a"]


def test_messages_without_an_id_share_one_context() -> None:
    dialect = multi()
    assert dialect.receive('{"text":"Hi. "}') == [Start("1", Settings("slt", PCM)), PushText("1", "Hi. ")]
    assert dialect.receive('{"flush":true}') == [Flush("1")]
    assert dialect.receive('{"close_context":true}') == [End("1")]
    dialect.tell(started("1"))
    *_, last = dialect.tell(done("1", 0))
    assert last == '{"audio":null,"isFinal":true,"contextId":"default"}'


@pytest.mark.parametrize(
    "message",
    [
        '{"text":"","context_id":"x"}',
        '{"flush":true,"context_id":"x"}',
        '{"close_context":true,"context_id":"x"}',
        "{}",
    ],
)
def test_what_needs_a_context_and_has_none_does_nothing(message: str) -> None:
    assert multi().receive(message) == []


def test_an_error_ends_its_context_alone_and_text_on_its_way_is_passed_over() -> None:
    dialect = multi()
    opened(dialect, "a", "b")
    full = Failed.of(Overloaded("too many are being served", limit=2), "1")
    assert dialect.tell(full) == [
        '{"message":"too many are being served (limit: 2)","error":"max_active_conversations","code":1008,'
        '"contextId":"a"}'
    ]
    assert dialect.tell(full) == []  # what followed on its heels
    assert dialect.receive('{"text":"more ","context_id":"a"}') == []
    assert dialect.receive('{"text":"","flush":true,"context_id":"a"}') == []
    assert dialect.receive('{"text":"B. ","context_id":"b"}') == [PushText("2", "B. ")]
    assert dialect.receive('{"close_context":true,"context_id":"a"}') == [
        '{"audio":null,"isFinal":true,"contextId":"a"}'
    ]
    assert dialect.receive('{"close_context":true,"context_id":"a"}') == []
    assert dialect.receive('{"text":"anew ","context_id":"a"}') == [
        Start("3", Settings("slt", PCM)),
        PushText("3", "anew "),
    ]


def test_a_context_that_failed_may_be_opened_anew_without_being_closed() -> None:
    dialect = multi()
    opened(dialect, "a")
    dialect.tell(Failed.of(Overloaded("too many"), "1"))
    assert dialect.receive('{"text":" ","context_id":"a"}') == [Start("2", Settings("slt", PCM))]


def test_an_error_in_a_context_already_closed_is_followed_by_its_end() -> None:
    dialect = multi()
    opened(dialect, "a")
    dialect.receive('{"text":"A. ","context_id":"a","flush":true,"close_context":true}')
    told = [json.loads(str(act)) for act in dialect.tell(Failed.of(ProtocolError("broken"), "1"))]
    assert [(message.get("error"), message.get("isFinal")) for message in told] == [
        ("invalid_input_message", None),
        (None, True),
    ]


def test_flushes_past_what_a_session_takes_are_one_later() -> None:
    dialect = multi(pending_flushes=2)
    opened(dialect, "c")
    dialect.tell(started("1"))
    sent = [dialect.receive('{"text":"A. ","context_id":"c","flush":true}') for _ in range(5)]
    assert [Flush("1") in acts for acts in sent] == [True, True, False, False, False]
    assert dialect.tell(Flushed("1", 480)) == [Flush("1")]
    assert dialect.tell(Flushed("1", 480)) == []


# Who may speak, and how.


def test_the_key_may_come_with_the_first_message() -> None:
    for field, value in (("xi-api-key", "k"), ("xi_api_key", "k"), ("authorization", "Bearer k")):
        dialect = Multi(OPTIONS, Limits(), lambda *keys: "k" in keys, False)
        assert dialect.receive(json.dumps({"text": " ", "context_id": "c", field: value})) != []
        assert dialect.receive('{"text":"Hi. ","context_id":"c"}') == [PushText("1", "Hi. ")]


def test_without_a_key_that_fits_nothing_is_done() -> None:
    dialect = Multi(OPTIONS, Limits(), lambda *keys: "k" in keys, False)
    with pytest.raises(Unauthorized):
        dialect.receive('{"text":" ","context_id":"c","xi-api-key":"wrong"}')


@pytest.mark.parametrize(
    ("settings", "speed"),
    [
        ({"speed": 0.8}, 0.8),
        ({"speed": 5}, 1.2),
        ({"speed": 0.1}, 0.7),
        ({"speed": None, "style": 1}, 1.0),
        (None, 1.0),
    ],
)
def test_speeds_beyond_theirs_are_taken_for_the_nearest(settings: dict[str, Any] | None, speed: float) -> None:
    start = multi().receive(json.dumps({"text": " ", "context_id": "c", "voice_settings": settings}))[0]
    assert isinstance(start, Start) and start.settings.speed == speed


def test_a_seed_may_stand_in_three_places() -> None:
    for options, fields, seed in [
        (OPTIONS, {"generation_config": {"seed": 5}, "seed": 6}, 5),
        (OPTIONS, {"seed": 6}, 6),
        (Options("slt", PCM, seed=0), {}, 0),
        (OPTIONS, {}, None),
    ]:
        start = multi(options).receive(json.dumps({"text": " ", "context_id": "c", **fields}))[0]
        assert isinstance(start, Start) and start.settings.seed == seed


@pytest.mark.parametrize(
    "message",
    [
        "not json " + SECRET,
        "[]",
        b"\x00",
        json.dumps({"text": {SECRET: 1}}),
        json.dumps({"text": "x", "context_id": ""}),
        json.dumps({"text": "x", "context_id": SECRET * 20}),
        json.dumps({"text": "x", "flush": SECRET}),
        json.dumps({"text": "x", "seed": -1}),
        '{"text":"\ud83d"}',
        json.dumps({"text": SECRET * 10_000}),
    ],
)
def test_a_bad_message_is_refused_without_its_text(message: str | bytes) -> None:
    for dialect in (multi(), single()):
        if isinstance(dialect, Single) and SECRET * 20 in str(message) and "context_id" in str(message):
            continue  # ids are nothing to a socket with one text
        with pytest.raises(ClientError) as refused:
            dialect.receive(message)
        assert SECRET not in str(refused.value)


def test_unknown_fields_are_passed_over_and_null_is_absent() -> None:
    message = {
        "text": "Hi. ",
        "context_id": "c",
        "flush": None,
        "close_context": None,
        "voice_settings": None,
        "x": [1],
    }
    assert multi().receive(json.dumps(message)) == [Start("1", Settings("slt", PCM)), PushText("1", "Hi. ")]


def test_the_query_says_how_texts_are_spoken() -> None:
    query = {
        "model_id": "eleven_turbo_v2_5",
        "output_format": "mp3_22050_32",
        "enable_ssml_parsing": "true",
        "inactivity_timeout": "90",
        "seed": "3",
        "language_code": "",
    }
    assert read_query(query, "slt", Limits()) == Options("slt", AudioFormat("mp3", 22_050, 32_000, 0.1), 90.0, True, 3)
    assert read_query({}, "slt", Limits()) == Options("slt", AudioFormat("mp3", 44_100, 128_000, 0.1), 20.0)
    assert read_query({"inactivity_timeout": "180"}, "slt", Limits(idle_timeout_s=60)).idle_timeout_s == 60
    for query, field in [
        ({"inactivity_timeout": "0"}, "inactivity_timeout"),
        ({"output_format": "gif"}, "output_format"),
    ]:
        with pytest.raises(ClientError) as refused:
            read_query(query, "slt", Limits())
        assert refused.value.field == field


def test_every_format_of_theirs_is_one_of_ours() -> None:
    names = {"pcm": "pcm_s16le", "ulaw": "mulaw", "alaw": "alaw", "mp3": "mp3", "opus": "ogg_opus"}
    for name, format in FORMATS.items():
        codec, rate, *kbps = name.split("_")
        assert (format.codec, format.sample_rate) == (names[codec], int(rate))
        assert format.bit_rate == (1000 * int(kbps[0]) if kbps else None)
        assert find_format(name) == format
    assert len(FORMATS) == 21
    with pytest.raises(UnsupportedFormat):
        find_format("pcm_s16le")


# Markup.


@pytest.mark.parametrize(
    ("text", "markup", "spoken"),
    [
        ('Wait <break time="1.0s" /> now', False, "Wait ," + " " * 20 + " now"),
        ("a < b and <3 > 2", True, "a < b and <3 > 2"),
        ("<phoneme ph='x'>tom</phoneme>", True, " " * 16 + "tom" + " " * 10),
        ("<phoneme ph='x'>tom</phoneme>", False, "<phoneme ph='x'>tom</phoneme>"),
        ("<" + "b" * LONGEST + ">", True, "<" + "b" * LONGEST + ">"),
        ("ends <bre", False, "ends <bre"),
    ],
)
def test_markup_is_not_spoken_however_it_is_cut(text: str, markup: bool, spoken: str) -> None:
    assert len(text) == len(spoken)
    for cut in range(len(text)):
        tags = Tags(markup)
        assert tags.push(text[:cut]) + tags.push(text[cut:]) + tags.flush() == spoken


def test_text_that_is_no_markup_is_never_held() -> None:
    tags = Tags(markup=False)
    assert [tags.push(piece) for piece in ("2 <", " 3", " <p", "re> ", "<break", "/>")] == [
        "2 ",
        "< 3",
        " <p",
        "re> ",
        "",
        ",       ",
    ]


def test_a_break_is_in_the_alignment_as_it_was_typed() -> None:
    dialect = multi()
    dialect.receive('{"text":"Hi <break/> you. ","context_id":"c","flush":true,"close_context":true}')
    dialect.tell(started("1"))
    told = [json.loads(str(act)) for act in dialect.tell(done("1", 0))]
    assert "".join(told[0]["alignment"]["chars"]) == "Hi <break/> you. "
