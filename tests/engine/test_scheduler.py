"""The scheduler on paper: no model, no torch, results made up by hand."""

from dataclasses import replace

from stream_server.engine.messages import Controls
from stream_server.engine.scheduler import Scheduler
from stream_server.engine.sequence import Sequence, Status
from stream_server.models.plan import ChunkPlan
from tests.fakes import words

SPT = 960


def make(slots: int = 2, waiting: int = 4, prefill: int = 2) -> Scheduler:
    return Scheduler(slots, waiting, prefill, SPT, lambda index: ChunkPlan(1 if index == 0 else 2, 1))


def sequence(id: int, credit: int = 1 << 40) -> Sequence:
    return Sequence(id, Controls("one"), credit, list(words("a b")), final=True)


def ids(sequences: list[Sequence]) -> list[int]:
    return [s.id for s in sequences]


def test_slots_go_to_the_oldest_and_the_rest_waits() -> None:
    scheduler = make()
    for id in (1, 2, 3):
        assert scheduler.add(sequence(id))
    plan = scheduler.schedule()
    assert ids([reading.sequence for reading in plan.prefill]) == [1, 2]
    assert plan.decode == [] and plan.vocode == []
    assert ids(list(scheduler.waiting)) == [3]
    scheduler.check_integrity()
    assert ids(scheduler.schedule().decode) == [1, 2]


def test_words_leave_the_sequence_once_and_late_ones_are_news() -> None:
    scheduler = make()
    one = replace(sequence(1), final=False)
    scheduler.add(one)
    (reading,) = scheduler.schedule().prefill
    assert (len(reading.words), reading.final, one.words) == (2, False, [])
    assert scheduler.schedule().extend == []
    one.words += words("c")
    (news,) = scheduler.schedule().extend
    assert [word.source for word in news.words] == ["c"] and not news.final
    one.final = one.closing = True
    (last,) = scheduler.schedule().extend
    assert last.words == () and last.final
    assert scheduler.schedule().extend == []


def test_a_full_queue_says_no() -> None:
    scheduler = make(slots=1, waiting=2)
    assert [scheduler.add(sequence(id)) for id in (1, 2, 3)] == [True, True, False]


def test_no_credit_means_no_step_until_some_is_granted() -> None:
    scheduler = make()
    paced = sequence(1, credit=2 * SPT)
    scheduler.add(paced)
    scheduler.schedule()
    paced.undecoded = 2
    assert scheduler.schedule().decode == []
    paced.credit += SPT
    assert ids(scheduler.schedule().decode) == [1]


def test_the_vocoder_is_called_for_full_chunks_ends_and_starvation() -> None:
    scheduler = make()
    one = sequence(1)
    scheduler.add(one)
    scheduler.schedule()

    def vocoded() -> list[tuple[int, bool]]:
        return [(v.sequence.id, v.final) for v in scheduler.schedule().vocode]

    one.undecoded = 0
    assert vocoded() == []  # this step's token makes one: the first chunk wants one and one ahead
    one.undecoded = 1
    assert vocoded() == [(1, False)]
    one.undecoded, one.chunks = 0, 1
    assert vocoded() == []
    one.undecoded = 1
    assert vocoded() == [(1, False)]
    one.undecoded, one.status = 1, Status.STARVED
    assert vocoded() == [(1, False)]
    one.undecoded = 0
    assert vocoded() == []
    one.status = Status.DRAINING
    assert vocoded() == [(1, True)]


def test_release_gives_the_slot_back_from_every_state() -> None:
    scheduler = make(slots=1)
    running, waiting = sequence(1), sequence(2)
    scheduler.add(running)
    scheduler.add(waiting)
    scheduler.schedule()
    scheduler.release(waiting)
    scheduler.check_integrity()
    assert not scheduler.waiting
    scheduler.release(running)
    scheduler.check_integrity()
    assert scheduler.free == [0] and scheduler.schedule().is_empty


def test_prefills_are_bounded_in_one_step() -> None:
    scheduler = make(slots=8, waiting=8, prefill=3)
    for id in range(8):
        scheduler.add(sequence(id))
    assert [len(scheduler.schedule().prefill) for _ in range(4)] == [3, 3, 2, 0]
