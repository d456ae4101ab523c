"""Client and contexts against a server with real sockets and real Opus."""

import asyncio
import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from stream_client import (
    Audio,
    Cancelled,
    Client,
    ConnectionFailed,
    Context,
    Done,
    Event,
    Mark,
    QueueOverflow,
    ServerError,
    Started,
    Unreachable,
    WireError,
)

from tests.client.fake_server import WORD_SAMPLES, fake_server, speech, tone

TEXT = "one two three four five six seven"
WORDS = 7


async def take(context: Context, into: list[Event]) -> None:
    async with asyncio.timeout(5):
        async for event in context:
            into.append(event)


async def collect(context: Context) -> list[Event]:
    events: list[Event] = []
    await take(context, events)
    return events


def pcm_of(events: list[Event]) -> NDArray[np.int16]:
    return np.concatenate([event.pcm for event in events if isinstance(event, Audio)])


def closeness(got: NDArray[np.int16], wanted: NDArray[np.int16]) -> float:
    return float(np.corrcoef(got.astype(float), wanted.astype(float))[0, 1])


@pytest.mark.asyncio
@pytest.mark.parametrize("format", ["pcm_s16le", "wav"])
@pytest.mark.parametrize("rate", [24000, 32000])
async def test_plain_formats_are_exact(format: str, rate: int) -> None:
    async with fake_server() as server, Client(server.url) as client:
        context = await client.start(format=format, sample_rate=rate, voice="kathleen", seed=3)
        await context.send(TEXT)
        await context.end()
        events = await collect(context)
    assert isinstance(events[0], Started)
    assert (events[0].voice, events[0].seed) == ("kathleen", 3)
    assert isinstance(events[-1], Done)
    assert events[-1].samples == WORDS * WORD_SAMPLES
    assert context.decode_rate == rate
    assert np.array_equal(pcm_of(events), speech(WORDS, rate))


@pytest.mark.asyncio
@pytest.mark.parametrize("whole_first", [False, True])
async def test_opus_is_exact_in_length_and_place(whole_first: bool) -> None:
    async with fake_server(first_duration_whole=whole_first) as server, Client(server.url) as client:
        context = await client.start(format="opus", sample_rate=24000)
        await context.send(TEXT)
        await context.end()
        events = await collect(context)
    got, wanted = pcm_of(events), speech(WORDS, 24000)
    assert context.started is not None
    assert context.started.pre_skip > 0
    assert len(got) == len(wanted)
    assert closeness(got, wanted) > 0.99
    assert closeness(got, wanted) > max(closeness(got[3:], wanted[:-3]), closeness(got[:-3], wanted[3:]))


@pytest.mark.asyncio
async def test_opus_of_a_32_khz_context_comes_at_48() -> None:
    async with fake_server() as server, Client(server.url) as client:
        context = await client.start(sample_rate=32000)
        await context.send(TEXT)
        await context.end()
        events = await collect(context)
    got = pcm_of(events)
    samples = sum(event.duration for event in events if isinstance(event, Audio))
    assert samples == WORDS * WORD_SAMPLES
    assert context.decode_rate == 48000
    assert len(got) == (samples * 3 + 1) // 2  # to the nearest
    assert closeness(got, tone(len(got), 48000)) > 0.99


@pytest.mark.asyncio
async def test_audio_comes_before_the_text_has_ended() -> None:
    async with fake_server() as server, Client(server.url) as client:
        context = await client.start()
        await context.send("Hello the")
        async with asyncio.timeout(2):
            kinds = [type(await anext(context)) for _ in range(3)]
        assert kinds == [Started, Mark, Audio]
        await context.send("re")
        await context.flush()
        await context.speed(1.5)
        await context.end()
        events = await collect(context)
    assert [event.word for event in events if isinstance(event, Mark)] == ["there"]
    assert server.said("speed") == [{"type": "speed", "context": "c1", "speed": 1.5}]


@pytest.mark.asyncio
async def test_two_contexts_share_a_socket() -> None:
    async with fake_server(packet_delay_s=0.001) as server, Client(server.url) as client:
        assert client.hello.voices == ("slt", "kathleen")
        first = await client.start(format="pcm_s16le")
        second = await client.start(format="pcm_s16le", sample_rate=32000)
        await first.send(TEXT)
        await second.send("two words")
        await second.end()
        await first.end()
        one, two = await asyncio.gather(collect(first), collect(second))
    assert np.array_equal(pcm_of(one), speech(7, 24000))
    assert np.array_equal(pcm_of(two), speech(2, 32000))
    arrivals = [[event.arrived for event in events if isinstance(event, Audio)] for events in (one, two)]
    assert arrivals[0][0] < arrivals[1][-1]
    assert arrivals[1][0] < arrivals[0][-1]


@pytest.mark.asyncio
async def test_long_text_is_cut_to_the_servers_bound() -> None:
    async with fake_server() as server:
        server.hello["limits"] = {"message_bytes": 1024}
        async with Client(server.url) as client:
            context = await client.start()
            text = "\u0007ü " * 400
            await context.send(text)
            await context.cancel()
    sent = [message["text"] for message in server.said("text")]
    assert len(sent) > 1
    assert "".join(sent) == text


@pytest.mark.asyncio
async def test_nothing_follows_a_cancel() -> None:
    async with fake_server(packet_delay_s=0.002) as server, Client(server.url) as client:
        context = await client.start()
        await context.send(TEXT * 20)
        listening = asyncio.create_task(collect(context))
        await asyncio.sleep(0.05)
        cancelled, again = await asyncio.gather(context.cancel(played=480), context.cancel())
        events = await listening
        assert cancelled is again
        assert isinstance(cancelled, Cancelled)
        assert cancelled.played == 480
        assert cancelled.sent > 0
        assert events[-1] is cancelled
        assert sum(isinstance(event, Cancelled) for event in events) == 1
        assert len(server.said("cancel")) == 1
        other = await client.start(format="pcm_s16le")  # the connection lives on
        await other.send("more")
        await other.end()
        assert np.array_equal(pcm_of(await collect(other)), speech(1, 24000))


@pytest.mark.asyncio
async def test_barge_in_after_the_server_is_done_is_reckoned_here() -> None:
    async with fake_server() as server, Client(server.url) as client:
        context = await client.start()
        await context.send("Hello there, and more")
        await context.end()
        events = await collect(context)
        assert isinstance(events[-1], Done)
        cancelled = await context.cancel(played=WORD_SAMPLES + 1)
        assert cancelled == Cancelled(context.name, 4 * WORD_SAMPLES, WORD_SAMPLES + 1, "Hello there,", " and more")
        assert (await context.cancel()).heard is None
        await context.played(2 * WORD_SAMPLES)  # kept here, for the server has forgotten the context
        assert (await context.cancel()).heard == "Hello there,"
    assert not server.said("cancel")
    assert not server.said("played")


@pytest.mark.asyncio
async def test_a_refused_context_leaves_the_others_alone() -> None:
    refusal = {"code": "unknown_voice", "message": "no voice 'x'", "field": "voice", "limit": "slt, kathleen"}
    async with fake_server() as server, Client(server.url) as client:
        good = await client.start(format="pcm_s16le")
        await asyncio.sleep(0.02)
        server.behaviour.refuse = refusal
        bad = await client.start(voice="x")
        with pytest.raises(ServerError) as raised:
            await collect(bad)
        assert (raised.value.code, raised.value.field, raised.value.limit) == (
            "unknown_voice",
            "voice",
            "slt, kathleen",
        )
        assert not raised.value.retryable
        for late in (bad.send("x"), bad.end(), bad.cancel()):
            with pytest.raises(ServerError):
                await late
        await good.send("fine")
        await good.end()
        assert np.array_equal(pcm_of(await collect(good)), speech(1, 24000))


@pytest.mark.asyncio
async def test_an_error_in_the_middle_comes_after_what_was_heard() -> None:
    async with fake_server(fail_after_messages=4) as server, Client(server.url) as client:
        context = await client.start(format="pcm_s16le")
        await context.send(TEXT + " ")
        heard: list[Event] = []
        with pytest.raises(ServerError, match="engine is gone") as raised:
            await take(context, heard)
        assert raised.value.retryable
        assert sum(isinstance(event, Audio) for event in heard) == 4


@pytest.mark.asyncio
async def test_a_server_that_vanishes_ends_every_context() -> None:
    async with fake_server() as server, Client(server.url) as client:
        idle = await client.start()
        await asyncio.sleep(0.02)
        server.behaviour.vanish_after_messages = 3
        context = await client.start()
        await context.send(TEXT + " ")
        for one in (context, idle):
            with pytest.raises(ConnectionFailed, match="connection ended"):
                await collect(one)
        with pytest.raises(ConnectionFailed):
            await idle.cancel()
        with pytest.raises(ConnectionFailed):
            await client.start()


def audio(kind: int = 1, number: int = 1, sequence: int = 0, payload: bytes = b"\xfc") -> bytes:
    return struct.pack(">BBHIQI", kind, 0, number, sequence, 0, 480) + payload


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\x01\x00", "header"),
        (audio(payload=b""), "header"),
        (audio(kind=9), "kind"),
        (audio(number=2), "no context"),
        (audio(sequence=7), "was due"),
        (audio(payload=b"\xff\xff\xff"), "Opus"),
    ],
)
async def test_malformed_audio_is_said_so(message: bytes, complaint: str) -> None:
    async with fake_server(garbled=message) as server, Client(server.url) as client:
        context = await client.start()
        await context.send("a b c ")
        with pytest.raises(WireError, match=complaint):
            await collect(context)


@pytest.mark.asyncio
async def test_a_context_that_nobody_takes_fails_alone() -> None:
    async with fake_server() as server, Client(server.url, queue_messages=8) as client:
        forgotten = await client.start(format="pcm_s16le")
        await forgotten.send(TEXT + " ")
        await asyncio.sleep(0.2)
        assert forgotten.over
        heard: list[Event] = []
        with pytest.raises(QueueOverflow):
            await take(forgotten, heard)
        assert len(heard) == 8
        other = await client.start(format="pcm_s16le")
        await other.send("a ")
        async with asyncio.timeout(2):
            assert isinstance(await anext(other), Started)
        assert len(server.said("cancel")) == 1


@pytest.mark.asyncio
async def test_closing_ends_what_runs_and_leaves_no_task() -> None:
    async with fake_server() as server:
        before = asyncio.all_tasks()
        async with Client(server.url) as client:
            context = await client.start()
            waiting = asyncio.create_task(collect(context))
            await asyncio.sleep(0.02)
        with pytest.raises(ConnectionFailed, match="client was closed"):
            await waiting
        await asyncio.sleep(0.05)
        assert {task for task in asyncio.all_tasks() - before if "_serve" not in repr(task)} == set()


@pytest.mark.asyncio
async def test_no_server_is_said_so() -> None:
    async with fake_server() as server:
        url = server.url
    with pytest.raises(Unreachable, match="cannot connect"):
        async with Client(url):
            pass


@pytest.mark.asyncio
async def test_a_server_that_greets_with_an_error() -> None:
    async with fake_server() as server:
        server.hello = {"type": "error", "code": "overloaded", "message": "full", "retryable": True}
        with pytest.raises(ServerError, match="full"):
            async with Client(server.url):
                pass
