"""A context with a fake engine: order, exact barge-in, backpressure, timing that adds up.  No sockets, no model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from stream_server.audio.format import AudioFormat
from stream_server.engine.messages import Controls, Finished, Frame, ModelSpec, SequenceStats, Spoken, WordStart
from stream_server.errors import InvalidSetting, ProtocolError, TextTooLong
from stream_server.events import Audio, Cancelled, Done, Event, Failed, Flushed, Mark, Settings, Started
from stream_server.limits import Limits
from stream_server.session import Session
from stream_server.text.word import Word

BLOCK = 480
PCM = AudioFormat("pcm_s16le")
WORD = 10 * BLOCK


@dataclass
class FakeEngine:
    """Keeps what it is asked; speaks when the test says so: WORD samples for every word."""

    streaming: bool = True
    speeds: bool = True
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    words: dict[int, list[Word]] = field(default_factory=dict)
    final: dict[int, bool] = field(default_factory=dict)
    controls: dict[int, Controls] = field(default_factory=dict)
    listener: Any = None
    spoken: int = 0
    inside: int = 0
    pacing: dict[int, tuple[float, float | None, int]] = field(default_factory=dict)
    carry_tokens: int = 0
    pasts: dict[int, tuple[Spoken, ...]] = field(default_factory=dict)
    submitted_at: float = 0.0
    clock: Callable[[], float] = lambda: 0.0

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec(
            "fake",
            ("one", "two"),
            (24_000, 32_000),
            25.0,
            1000,
            self.streaming,
            ("aa1",),
            self.speeds,
            carry_tokens=self.carry_tokens,
        )

    def enter(self) -> None:
        self.inside += 1

    def leave(self, stay_s: float) -> None:
        self.inside -= 1

    def submit(
        self,
        listener: Any,
        words: tuple[Word, ...],
        final: bool,
        controls: Controls,
        *,
        credit: int,
        lead_s: float,
        plays_at: float | None,
        begin: int,
        past: tuple[Spoken, ...],
    ) -> int:
        id = len(self.words) + 1
        self.words[id], self.final[id], self.controls[id], self.listener = list(words), final, controls, listener
        self.asked.append(("submit", id, credit))
        self.pacing[id] = (lead_s, plays_at, begin)
        self.pasts[id] = past
        self.spoken, self.submitted_at = 0, self.clock()
        return id

    def extend(self, id: int, words: tuple[Word, ...] = (), final: bool = False, speed: float | None = None) -> None:
        self.words[id] += words
        self.final[id] |= final
        self.asked.append(("extend", id, speed))

    def playback(self, id: int, plays_at: float) -> None:
        self.asked.append(("playback", id, plays_at))

    def credit(self, id: int, samples: int) -> None:
        self.asked.append(("credit", id, samples))

    def abort(self, id: int) -> None:
        self.asked.append(("abort", id))
        self.listener = None

    def speak(self, count: int | None = None) -> None:
        """Sound for the next words of the last sequence, and its end when all final words are spoken."""
        id = len(self.words)
        for index in range(self.spoken, len(self.words[id]) if count is None else self.spoken + count):
            pcm = np.full(WORD, 0.1, np.float32)
            self.listener.frame(Frame(id, index * WORD, pcm, (WordStart(index, index * WORD),)))
            self.spoken += 1
        if self.final[id] and self.spoken == len(self.words[id]):
            at = self.submitted_at
            stats = SequenceStats(at, at + 0.1, at + 0.2, at + 0.3, at + 0.6, at + 1.0, at + 2, 9, self.spoken * WORD)
            tokens = tuple(range(10 * id, 10 * id + 9)) if self.controls[id].carry_over else ()
            self.listener.finished(Finished(id, "done", stats, tokens=tokens))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make(
    engine: FakeEngine,
    clock: Clock | None = None,
    format: AudioFormat = PCM,
    carry_over: bool = False,
    **limits: Any,
) -> Session:
    engine.clock = clock or Clock()
    settings = Settings(format=format, seed=1, carry_over=carry_over)
    session = Session("a", 1, settings, engine, Limits(**limits), engine.clock, lambda: None)  # type: ignore[arg-type]
    assert isinstance(session.next_event(), Started)
    return session


def take(session: Session) -> list[Event]:
    events = []
    while (event := session.next_event()) is not None:
        events.append(event)
    return events


def audio(events: list[Event]) -> int:
    return sum(event.duration for event in events if isinstance(event, Audio))


def test_a_streaming_family_is_given_the_sentence_while_it_is_typed() -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text("One tw")
    assert [word.source for word in engine.words[1]] == ["One"] and not engine.final[1]
    session.push_text("o three. Fo")
    assert [word.source for word in engine.words[1]] == ["One", "two", "three."] and engine.final[1]
    assert len(engine.words) == 1  # the next sentence waits for this one
    session.push_text("ur ")
    engine.speak()
    assert [word.source for word in engine.words[2]] == ["Four"] and not engine.final[2]


def test_another_family_is_given_whole_sentences_only() -> None:
    engine = FakeEngine(streaming=False)
    session = make(engine)
    session.push_text("One two ")
    assert not engine.words
    session.push_text("three. Four ")
    assert engine.final[1] and len(engine.words) == 1
    engine.speak()
    assert len(engine.words) == 1
    session.end()
    assert [word.source for word in engine.words[2] if word.source] == ["Four"] and engine.final[2]


def test_positions_run_through_sentences_and_the_end_is_told_once() -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text("One two. Three.")
    session.end()
    engine.speak()
    engine.speak()
    events = take(session)
    assert [(e.word, e.pts) for e in events if isinstance(e, Mark)] == [
        ("One", 0),
        ("two.", WORD),
        ("Three.", 2 * WORD),
    ]
    chunks = [e for e in events if isinstance(e, Audio)]
    assert [c.pts for c in chunks] == list(range(0, 3 * WORD, BLOCK))
    assert [c.sequence for c in chunks] == list(range(len(chunks)))
    assert isinstance(events[-1], Done) and events[-1].samples == 3 * WORD and events[-1].words == 3
    assert session.is_over


def test_a_mark_comes_before_the_sound_it_marks() -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text("One two.")
    engine.speak()
    heard = 0
    for event in take(session):
        if isinstance(event, Mark):
            assert heard <= event.pts
        elif isinstance(event, Audio):
            heard += event.duration


@pytest.mark.parametrize("text", ["One two", "One two ", "One two."])
def test_a_flush_ends_the_sentence_however_it_was_typed(text: str) -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text(text)
    session.flush()
    assert engine.final[1] and engine.words[1][-1].pause == "."
    session.push_text("Three.")
    session.end()
    engine.speak()
    engine.speak()
    assert isinstance(take(session)[-1], Done)


def test_each_flush_is_told_of_once_all_before_it_has_been_spoken() -> None:
    engine = FakeEngine()
    session = make(engine)
    session.flush()  # of nothing
    session.push_text("One. Two")
    session.flush()
    session.push_text(" three.")
    session.flush()
    session.end()
    told: list[list[int]] = []
    for _ in range(3):
        told.append([event.pts for event in take(session) if isinstance(event, Flushed)])
        engine.speak()
    told.append([event.pts for event in take(session) if isinstance(event, Flushed)])
    assert told == [[0], [], [2 * WORD], [3 * WORD]]


def test_a_flush_is_told_of_behind_all_of_its_sound_however_much_is_gathered() -> None:
    engine = FakeEngine()
    session = make(engine, format=AudioFormat("pcm_s16le", chunk_s=0.3))
    session.push_text("One two.")
    session.flush()
    engine.speak()
    *before, flushed = take(session)
    assert isinstance(flushed, Flushed)
    assert sum(event.duration for event in before if isinstance(event, Audio)) == flushed.pts == 2 * WORD


def test_a_context_that_does_nothing_but_flush_meets_a_bound() -> None:
    session = make(FakeEngine(), pending_flushes=2)
    session.push_text("One.")
    session.flush()
    session.flush()
    with pytest.raises(ProtocolError) as refused:
        session.flush()
    assert refused.value.limit == 2


def test_cancel_says_what_was_sent_and_splits_the_text_at_what_was_heard() -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text("One, two three four.")
    engine.speak(3)
    taken = [session.next_event() for _ in range(16)]
    sent = audio([event for event in taken if event])
    session.cancel(played=WORD + 1)
    (last,) = take(session)
    assert last == Cancelled("a", sent, WORD + 1, "One, two", " three four.")
    assert engine.asked[-1] == ("abort", 1)
    assert session.is_over
    session.cancel()
    assert take(session) == []


@pytest.mark.parametrize(
    ("played", "heard"), [(0, ""), (1, "One"), (WORD, "One"), (WORD + 1, "One two"), (10**9, "One two three.")]
)
def test_heard_to_the_word(played: int, heard: str) -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text("One two three. Four.")
    engine.speak()
    events = take(session)
    session.cancel(played=played)
    (last,) = take(session)
    assert isinstance(last, Cancelled)
    assert (last.played, last.heard) == (min(played, audio(events)), heard)


def test_without_a_position_nothing_is_claimed_and_an_earlier_report_counts() -> None:
    for reported, expected in ((None, None), (WORD + 1, "One two")):
        engine = FakeEngine()
        session = make(engine)
        session.push_text("One two three.")
        engine.speak()
        take(session)
        if reported is not None:
            session.report_played(reported)
        session.cancel()
        (last,) = take(session)
        assert isinstance(last, Cancelled) and last.heard == expected


def test_what_the_listener_takes_the_engine_may_make_again() -> None:
    engine = FakeEngine()
    session = make(engine, unsent_s=2.0)
    session.push_text("One two three red.")
    session.end()
    assert engine.asked[0] == ("submit", 1, 48_000)
    engine.speak(3)
    taken = audio(take(session))
    granted = sum(samples for kind, _, samples in engine.asked if kind == "credit")
    assert 0 <= taken - granted < 12_000 and granted > 0  # in pieces of half a second


def test_the_next_sentence_is_wanted_when_the_one_before_has_been_played() -> None:
    engine, clock = FakeEngine(), Clock()
    session = make(engine, clock, lead_s=1.5)
    session.push_text("One two. Three.")
    session.end()
    assert engine.pacing[1] == (1.5, None, 0)
    clock.now += 0.3
    engine.speak(1)
    take(session)  # playback is taken to begin here
    clock.now += 0.1
    engine.speak()
    assert engine.pacing[2] == pytest.approx((1.5, 100.3 + 2 * WORD / 24_000, 0))


def test_the_players_own_word_moves_the_engines_clock() -> None:
    engine, clock = FakeEngine(), Clock()
    session = make(engine, clock)
    session.push_text("One two three.")
    engine.speak(2)
    take(session)
    clock.now += 0.2
    session.report_played(4800)  # just what was assumed: no news
    assert not [asked for asked in engine.asked if asked[0] == "playback"]
    clock.now += 0.2
    session.report_played(4800)  # the player stands still
    assert engine.asked[-1] == ("playback", 1, pytest.approx(100.4 - 4800 / 24_000))


@pytest.mark.parametrize(("late", "expected"), [(0.0, 0), (0.5, 1)])
def test_silence_is_an_underrun_where_the_text_was_there(late: float, expected: int) -> None:
    engine, clock = FakeEngine(), Clock()
    session = make(engine, clock)
    session.push_text("One two.")
    session.end()
    clock.now += 0.1
    engine.speak(1)
    take(session)
    clock.now += WORD / 24_000 + late
    engine.speak()
    (done,) = [event for event in take(session) if isinstance(event, Done)]
    assert done.underruns == expected


def test_bytes_that_hold_no_speech_yet_start_nobody_s_clock() -> None:
    engine, clock = FakeEngine(), Clock()
    session = make(engine, clock, format=AudioFormat("mp3"))
    session.push_text("One two.")
    session.end()
    clock.now += 0.1
    pcm = np.full(WORD, 0.1, np.float32)
    engine.listener.frame(Frame(1, 0, pcm[:1_500], ()))
    (lead_in,) = take(session)
    assert isinstance(lead_in, Audio) and lead_in.data and lead_in.duration == 0
    clock.now += 0.5
    engine.listener.frame(Frame(1, 1_500, pcm[1_500:], ()))
    engine.spoken = 1
    engine.speak()
    events = take(session)
    done = events[-1]
    assert isinstance(done, Done) and done.underruns == 0
    assert audio(events) == done.samples


def test_silence_for_want_of_text_is_nobodys_fault() -> None:
    engine, clock = FakeEngine(), Clock()
    session = make(engine, clock)
    session.push_text("One tw")
    engine.speak(1)
    take(session)
    clock.now += 60
    session.push_text("o.")
    session.end()
    clock.now += 0.05
    engine.speak()
    (done,) = [event for event in take(session) if isinstance(event, Done)]
    assert done.underruns == 0


def test_a_new_engine_is_given_the_sentence_and_what_was_heard_of_it() -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text("One. Two three fo")
    engine.speak()
    engine.speak(2)
    take(session)
    session.resume()
    assert [word.source for word in engine.words[3]] == ["Two", "three"] and not engine.final[3]
    assert engine.pacing[3][2] == 2 * WORD
    session.push_text("ur.")
    session.end()
    engine.spoken = 2
    engine.speak()
    events = take(session)
    assert audio(events) == WORD and isinstance(events[-1], Done) and events[-1].samples == 4 * WORD


def test_a_context_counts_from_its_first_words_to_its_end() -> None:
    engine = FakeEngine()
    session = make(engine)
    assert engine.inside == 0
    session.push_text("One. Two.")
    assert engine.inside == 1
    engine.speak()
    session.end()
    assert engine.inside == 1
    engine.speak()
    assert engine.inside == 0
    interrupted = make(engine)
    interrupted.push_text("One.")
    interrupted.cancel()
    interrupted.cancel()
    assert engine.inside == 0


def test_the_parts_of_the_time_to_first_audio_add_up() -> None:
    engine, clock = FakeEngine(), Clock()
    session = make(engine, clock)
    session.push_text("On")
    clock.now += 5
    session.push_text("e two. ")
    session.end()
    clock.now += 1.5
    engine.speak()
    clock.now += 0.25
    done = take(session)[-1]
    assert isinstance(done, Done)
    timing = done.timing
    assert timing.text_wait == pytest.approx(5.1)
    assert (timing.queue, timing.prefill, timing.first_token, timing.vocoder) == pytest.approx((0.1, 0.1, 0.3, 0.4))
    assert (timing.encode, timing.send) == pytest.approx((0.5, 0.25))
    assert timing.ttfa == pytest.approx(6.75)


@pytest.mark.parametrize(
    ("reason", "code", "retryable"),
    [("failed", "sequence_failed", False), ("overloaded", "overloaded", True), ("engine_dead", "engine_dead", True)],
)
def test_what_goes_wrong_in_the_engine_is_the_last_word(reason: str, code: str, retryable: bool) -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text("One two.")
    engine.speak(1)
    engine.listener.finished(Finished(1, reason, SequenceStats(), "why"))
    last = take(session)[-1]
    assert isinstance(last, Failed) and (last.code, last.retryable) == (code, retryable)
    assert session.is_over


def test_bounds_and_order_are_kept() -> None:
    session = make(FakeEngine(), text_chars_per_context=5)
    with pytest.raises(TextTooLong) as refused:
        session.push_text("too long")
    assert (refused.value.field, refused.value.limit) == ("text", 5)
    session.end()
    with pytest.raises(ProtocolError):
        session.push_text("x")


def test_speed_reaches_the_sequence_that_speaks_and_those_after_it() -> None:
    engine = FakeEngine()
    session = make(engine)
    session.push_text("One. Two.")
    session.set_speed(1.5)
    session.end()
    assert ("extend", 1, 1.5) in engine.asked
    engine.speak()
    assert engine.controls[2].speed == 1.5


def test_a_model_with_a_speed_of_its_own_says_so() -> None:
    session = make(FakeEngine(speeds=False))
    session.set_speed(1.0)
    with pytest.raises(InvalidSetting) as refused:
        session.set_speed(1.5)
    assert refused.value.field == "speed"


def carried(engine: FakeEngine, id: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(" ".join(word.source for word in spoken.words), spoken.tokens) for spoken in engine.pasts[id]]


def test_a_sentence_is_spoken_on_from_those_before_as_far_back_as_the_model_looks() -> None:
    engine = FakeEngine(streaming=False, carry_tokens=20)
    session = make(engine, carry_over=True)
    session.push_text("One here. Two. Three. Four.")
    session.end()
    for _ in range(4):
        engine.speak()
        take(session)
    told = {id: tuple(range(10 * id, 10 * id + 9)) for id in range(1, 5)}
    assert [carried(engine, id) for id in range(1, 5)] == [
        [],
        [("One here.", told[1])],
        [("One here.", told[1]), ("Two.", told[2])],
        [("Two.", told[2]), ("Three.", told[3])],  # with the first they would be 27
    ]
    assert session.is_over


def test_an_engine_that_was_lost_is_told_the_same_past_again() -> None:
    engine = FakeEngine(streaming=False, carry_tokens=20)
    session = make(engine, carry_over=True)
    session.push_text("One. Two two. Three.")
    session.end()
    engine.speak()
    engine.speak(1)
    session.resume()
    assert carried(engine, 3) == carried(engine, 2) == [("One.", tuple(range(10, 19)))]


def test_without_carrying_over_every_sentence_begins_anew() -> None:
    engine = FakeEngine(streaming=False, carry_tokens=20)
    session = make(engine)
    session.push_text("One. Two.")
    session.end()
    engine.speak()
    engine.speak()
    assert carried(engine, 1) == carried(engine, 2) == []
