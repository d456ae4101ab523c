"""The scheduler on paper: no model, no torch, a clock that is a number, results made up by hand."""

from dataclasses import replace

import pytest

from stream_server.engine.messages import Controls, SequenceStats
from stream_server.engine.scheduler import BRISK_VOCODED, COMFORT_S, REST_S, Scheduler
from stream_server.engine.sequence import Sequence, Status
from stream_server.models.plan import ChunkPlan
from tests.fakes import words

SPT, RATE, TOKEN_S = 960, 24_000, 0.04
FREE = 1 << 40
NOW = 1000.0


def make(slots: int = 2, waiting: int = 8, prefill: int = 2) -> Scheduler:
    return Scheduler(slots, waiting, prefill, lambda index: ChunkPlan(1, 8, 1))


def sequence(id: int, lead_s: float = 1e9, credit: int = FREE) -> Sequence:
    stats = SequenceStats(submitted=NOW)
    return Sequence(id, Controls("one"), credit, TOKEN_S, lead_s, words=list(words("a b")), final=True, stats=stats)


def running(scheduler: Scheduler, *sequences: Sequence) -> None:
    """All of them with a slot and their text read."""
    for s in sequences:
        assert scheduler.add(s)
    while scheduler.waiting:
        scheduler.schedule(NOW)


def heard(s: Sequence, seconds: float, left: float, chunk: int = 8) -> Sequence:
    """It has given `seconds` of sound, of which `left` have not been played at NOW."""
    s.stamp(samples=int(seconds * RATE))
    s.plays_at, s.chunks, s.chunk = NOW + left - seconds, 3, chunk
    return s


def ids(sequences: list[Sequence]) -> list[int]:
    return [s.id for s in sequences]


def vocoded(scheduler: Scheduler, now: float = NOW) -> list[tuple[int, bool]]:
    return [(v.sequence.id, v.final) for v in scheduler.schedule(now).vocode]


def test_slots_go_to_the_oldest_and_the_rest_waits() -> None:
    scheduler = make()
    for id in (1, 2, 3):
        assert scheduler.add(sequence(id))
    plan = scheduler.schedule(NOW)
    assert ids([reading.sequence for reading in plan.prefill]) == [1, 2]
    assert plan.decode == [] and plan.vocode == []
    assert ids(list(scheduler.waiting)) == [3]
    scheduler.check_integrity()
    assert ids(scheduler.schedule(NOW).decode) == [1, 2]


def test_words_leave_the_sequence_once_and_late_ones_are_news() -> None:
    scheduler, one = make(), sequence(1)
    one.final = False
    scheduler.add(one)
    (reading,) = scheduler.schedule(NOW).prefill
    assert (len(reading.words), reading.final, one.words) == (2, False, [])
    assert scheduler.schedule(NOW).extend == []
    one.words += words("c")
    (news,) = scheduler.schedule(NOW).extend
    assert [word.source for word in news.words] == ["c"] and not news.final
    one.final = one.closing = True
    (last,) = scheduler.schedule(NOW).extend
    assert last.words == () and last.final
    assert scheduler.schedule(NOW).extend == []


def test_a_full_queue_says_no() -> None:
    scheduler = make(slots=1, waiting=2)
    assert [scheduler.add(sequence(id)) for id in (1, 2, 3)] == [True, True, False]


def test_no_credit_means_no_step_until_some_is_granted() -> None:
    scheduler, bounded = make(), sequence(1, credit=2 * SPT)
    running(scheduler, bounded)
    bounded.undecoded = 2
    assert scheduler.schedule(NOW).decode == []
    bounded.credit += SPT
    assert ids(scheduler.schedule(NOW).decode) == [1]


def test_who_is_far_ahead_rests_and_tells_when_it_will_have_rested() -> None:
    scheduler, one = make(), sequence(1, lead_s=2.0)
    running(scheduler, one)
    heard(one, seconds=5, left=2.1)
    assert scheduler.schedule(NOW).decode == []
    wakes_at = scheduler.wakes_at(NOW)
    assert wakes_at is not None and abs(wakes_at - (NOW + 0.1 + REST_S)) < 1e-6
    assert scheduler.schedule(wakes_at - 0.01).decode == []
    assert ids(scheduler.schedule(wakes_at + 0.01).decode) == [1]


def test_who_has_rested_half_joins_those_who_must_step() -> None:
    scheduler = make(slots=3)
    awake, half, fresh = (sequence(id, lead_s=2.0) for id in (1, 2, 3))
    running(scheduler, awake, half, fresh)
    for s, left in ((half, 2.0), (fresh, 2.0)):
        heard(s, seconds=5, left=left)
    heard(awake, seconds=5, left=1.0)
    scheduler.schedule(NOW)
    heard(half, seconds=5, left=2.0 - 0.7 * REST_S)
    heard(fresh, seconds=5, left=2.0 - 0.2 * REST_S)
    assert ids(scheduler.schedule(NOW).decode) == [1, 2]


def test_the_first_chunk_goes_out_with_the_first_token_that_allows_it() -> None:
    scheduler, one = make(), sequence(1)
    running(scheduler, one)
    assert vocoded(scheduler) == []  # this step's token is the first: the vocoder wants to see one more
    one.undecoded = 1
    assert vocoded(scheduler) == [(1, False)]


def test_where_steps_are_slow_the_first_chunk_is_larger() -> None:
    scheduler, one = make(), sequence(1)
    running(scheduler, one)
    scheduler.took(0.035)
    one.undecoded = 1
    assert vocoded(scheduler) == []
    one.undecoded = 2
    assert vocoded(scheduler) == [(1, False)]


def test_chunks_at_most_double() -> None:
    scheduler, one = make(), sequence(1)
    running(scheduler, one)
    scheduler.took(0.002)
    heard(one, seconds=1, left=0.5, chunk=2)
    for held, due in ((2, False), (3, True)):  # this step brings one more
        one.undecoded = held
        assert bool(vocoded(scheduler)) is due


def test_a_short_lead_cuts_the_chunk_and_a_long_one_lets_it_grow() -> None:
    scheduler, one = make(), sequence(1)
    running(scheduler, one)
    scheduler.took(0.03)
    one.undecoded = 2
    heard(one, seconds=1, left=1.0)
    assert vocoded(scheduler) == []
    heard(one, seconds=1, left=0.13)
    assert vocoded(scheduler) == [(1, False)]


def test_ends_and_starvation_are_sounded_at_once() -> None:
    scheduler, one = make(), sequence(1)
    running(scheduler, one)
    heard(one, seconds=1, left=5.0)
    one.undecoded, one.status = 1, Status.STARVED
    assert vocoded(scheduler) == [(1, False)]
    one.undecoded = 0
    assert vocoded(scheduler) == []
    one.status = Status.DRAINING
    assert vocoded(scheduler) == [(1, True)]


def test_who_holds_tokens_rides_along_but_never_calls() -> None:
    scheduler = make()
    caller, rider = sequence(1), sequence(2)
    running(scheduler, caller, rider)
    heard(caller, seconds=1, left=0.5)
    heard(rider, seconds=1, left=1.5)
    rider.undecoded = 3
    assert vocoded(scheduler) == []
    caller.undecoded = 7
    assert vocoded(scheduler) == [(1, False), (2, False)]


def test_while_one_waits_for_its_first_sound_only_the_pressed_are_served_beside_it() -> None:
    scheduler = make(slots=40, waiting=40, prefill=40)
    crowd = [sequence(id) for id in range(1, 31)]
    running(scheduler, *crowd)
    for s in crowd:
        heard(s, seconds=1, left=1.0)
        s.undecoded = 7
    heard(crowd[3], seconds=1, left=0.0)
    newcomer = sequence(99)
    running(scheduler, newcomer)
    newcomer.undecoded = 1
    chosen = vocoded(scheduler)
    assert {4, 99} <= {id for id, _ in chosen}
    assert sum(8 for id, _ in chosen if id not in (4, 99)) <= BRISK_VOCODED
    newcomer.chunks = 1
    assert len(vocoded(scheduler)) > len(chosen)


def test_a_newcomer_is_read_slowly_while_somebody_is_about_to_run_dry() -> None:
    scheduler = make(slots=8, prefill=3)
    pressed = sequence(1)
    running(scheduler, pressed)
    heard(pressed, seconds=1, left=0.0)
    for id in range(2, 8):
        scheduler.add(sequence(id))
    assert len(scheduler.schedule(NOW).prefill) == 1
    heard(pressed, seconds=1, left=1.0)
    assert len(scheduler.schedule(NOW).prefill) == 3


def test_release_gives_the_slot_back_from_every_state() -> None:
    scheduler = make(slots=1)
    first, second = sequence(1), sequence(2)
    scheduler.add(first)
    scheduler.add(second)
    scheduler.schedule(NOW)
    scheduler.release(second)
    scheduler.check_integrity()
    assert not scheduler.waiting
    scheduler.release(first)
    scheduler.check_integrity()
    assert scheduler.free == [0] and scheduler.schedule(NOW).is_empty


def test_a_heap_of_tokens_is_sounded_piece_by_piece() -> None:
    scheduler, one = make(), sequence(1)
    running(scheduler, one)
    heard(one, seconds=1, left=5.0)
    one.undecoded, one.status = 20, Status.DRAINING
    sizes = []
    while one.undecoded:
        (vocode,) = scheduler.schedule(NOW).vocode
        sizes.append((vocode.tokens, vocode.final))
        one.undecoded -= vocode.tokens
    assert sizes == [(8, False), (8, False), (4, True)]


def paced(speed: float, plan: ChunkPlan, seconds: float, credit_s: float | None = None) -> tuple[float, float, float]:
    """A sequence whose steps take 10 ms, played as it comes: → its shortest and its longest lead, and its sound in s.

    credit_s: what its listener's transport takes at most, given back as it is played.
    """
    scheduler = Scheduler(1, 1, 1, lambda index: plan)
    one = sequence(1, lead_s=2.0)
    one.controls = replace(one.controls, speed=speed)
    running(scheduler, one)
    now, leads = NOW, []
    while now < NOW + seconds:
        if credit_s is not None:
            one.credit = int((credit_s + (now - one.plays_at if one.plays_at else 0.0)) * RATE)
        step = scheduler.schedule(now)
        one.undecoded += len(step.decode)
        for vocode in step.vocode:
            one.undecoded -= vocode.tokens
            one.chunks, one.chunk = one.chunks + 1, vocode.tokens
            leads.append(one.lead(now) if one.plays_at else 0.0)
            one.played_dry(now)
            one.stamp(samples=one.stats.samples + int(vocode.tokens * TOKEN_S / speed * RATE))
            leads.append(one.lead(now))
        now += 0.01
    return min(leads[1:]), max(leads[1:]), one.stats.samples / RATE


@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("credit_s", [None, 3.0])
def test_who_speaks_in_long_chunks_rests_and_never_runs_dry(speed: float, credit_s: float | None) -> None:
    """Even where one chunk is longer than the lead it is to keep."""
    shortest, longest, made = paced(speed, ChunkPlan(50, 50, 0), 60.0, credit_s)
    chunk_s = 50 * TOKEN_S / speed
    assert made > 60 - chunk_s and shortest > COMFORT_S - 0.2
    assert longest < chunk_s + max(2.0, COMFORT_S + REST_S)


def test_who_speaks_in_short_chunks_rests_at_its_lead_at_any_speed() -> None:
    for speed in (0.5, 1.0, 2.0):
        shortest, longest, _ = paced(speed, ChunkPlan(1, 8, 0), 20.0)
        assert shortest > 0 and 1.5 < longest < 2.0 + 2 * TOKEN_S / speed
