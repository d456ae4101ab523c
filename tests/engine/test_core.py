"""The engine with a model that has behaviour: order, isolation, aborts, streaming text, both kinds of family."""

import random
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import (
    AbortSequence,
    AddSequence,
    Controls,
    ExtendSequence,
    Finished,
    GrantCredit,
    Spoken,
)
from tests.fakes import SAMPLES_PER_TOKEN, TOKENS_PER_WORD, FakeModel, expected_sound, words

FREE = 1 << 40


class Heard:
    """Steps an engine and keeps what it says, by sequence."""

    def __init__(self, core: EngineCore) -> None:
        self.core = core
        self.pcm: dict[int, list[np.ndarray]] = defaultdict(list)
        self.offsets: dict[int, int] = defaultdict(int)
        self.words: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.finished: dict[int, Finished] = {}

    def step(self) -> bool:
        tick = self.core.step()
        if tick is None:
            return False
        for frame in tick.frames:
            assert frame.sequence_id not in self.finished
            assert frame.offset == self.offsets[frame.sequence_id]
            self.offsets[frame.sequence_id] += len(frame.pcm)
            self.pcm[frame.sequence_id].append(frame.pcm)
            self.words[frame.sequence_id] += [(start.index, start.offset) for start in frame.words]
        for finished in tick.finished:
            self.finished[finished.sequence_id] = finished
        self.core.scheduler.check_integrity()
        return True

    def run(self) -> "Heard":
        while self.step():
            pass
        return self

    def sound(self, id: int) -> np.ndarray:
        return np.concatenate(self.pcm[id]) if self.pcm[id] else np.zeros(0, np.float32)


def add(core: EngineCore, id: int, text: str, final: bool = True, credit: int = FREE) -> None:
    core.put(AddSequence(id, words(text), final, Controls("one", seed=id), credit))


@pytest.mark.parametrize("streaming", [True, False], ids=["pointer-like", "prefix LM"])
def test_one_sequence_is_spoken_whole_and_marked(streaming: bool) -> None:
    core = EngineCore(FakeModel(streaming), 2)
    add(core, 7, "one two three")
    heard = Heard(core).run()
    np.testing.assert_array_equal(heard.sound(7), expected_sound(7, 3))
    assert heard.words[7] == [(i, i * TOKENS_PER_WORD * SAMPLES_PER_TOKEN) for i in range(3)]
    assert heard.finished[7].reason == "done"
    assert heard.finished[7].stats.tokens == 9


def test_the_stations_of_a_sequence_are_stamped_in_order() -> None:
    core = EngineCore(FakeModel(), 1)
    add(core, 1, "one two")
    stats = Heard(core).run().finished[1].stats
    stations = (stats.submitted, stats.slotted, stats.prefilled, stats.first_step, stats.decoded, stats.first_frame)
    assert all(earlier <= later for earlier, later in pairwise(stations))
    assert stations[0] > 0 and stats.first_frame <= stats.finished


@pytest.mark.parametrize("streaming", [True, False])
def test_many_join_and_leave_and_each_sounds_as_alone(streaming: bool) -> None:
    rng = random.Random(4)
    core = EngineCore(FakeModel(streaming), 3, max_waiting=100)
    heard, lengths, aborted = Heard(core), {}, set()
    for id in range(1, 40):
        lengths[id] = rng.randint(1, 9)
        add(core, id, " ".join("w" * lengths[id]))
        for _ in range(rng.randint(0, 6)):
            heard.step()
        if rng.random() < 0.3:
            victim = rng.randint(1, id)
            core.put(AbortSequence(victim))
            aborted.add(victim)
    heard.run()
    assert set(heard.finished) == set(lengths)
    for id, count in lengths.items():
        whole = expected_sound(id, count)
        if heard.finished[id].reason == "aborted":
            assert id in aborted
            np.testing.assert_array_equal(heard.sound(id), whole[: len(heard.sound(id))])
        else:
            np.testing.assert_array_equal(heard.sound(id), whole)


def test_text_may_come_piece_by_piece_and_late() -> None:
    core = EngineCore(FakeModel(), 1)
    heard = Heard(core)
    core.put(AddSequence(1, words("one"), False, Controls("one", seed=1), FREE))
    heard.run()
    assert len(heard.sound(1)) == SAMPLES_PER_TOKEN  # one token waits for text, one is the vocoder's lookahead
    core.put(ExtendSequence(1, words("two three")))
    heard.run()
    assert 1 not in heard.finished
    core.put(ExtendSequence(1, final=True))
    heard.run()
    np.testing.assert_array_equal(heard.sound(1), expected_sound(1, 3))
    assert heard.finished[1].reason == "done"


def test_text_that_comes_while_still_waiting_for_a_slot_is_not_lost() -> None:
    core = EngineCore(FakeModel(), 1)
    add(core, 1, "one two three")
    core.put(AddSequence(2, words("one"), False, Controls("one", seed=2), FREE))
    core.put(ExtendSequence(2, words("two"), final=True))
    heard = Heard(core).run()
    np.testing.assert_array_equal(heard.sound(2), expected_sound(2, 2))


def test_an_abort_frees_the_slot_within_one_step_and_silences() -> None:
    core = EngineCore(FakeModel(), 1)
    heard = Heard(core)
    add(core, 1, "a long long long long story")
    for _ in range(6):
        heard.step()
    before = len(heard.sound(1))
    core.put(AbortSequence(1))
    heard.step()
    assert core.scheduler.free == [0]
    assert len(heard.sound(1)) == before
    assert heard.finished[1].reason == "aborted"


def test_a_paced_sequence_stops_at_its_credit_and_goes_on_with_more() -> None:
    core = EngineCore(FakeModel(), 1)
    heard = Heard(core)
    add(core, 1, "one two three four", credit=4 * SAMPLES_PER_TOKEN)
    heard.run()
    assert 0 < len(heard.sound(1)) <= 4 * SAMPLES_PER_TOKEN
    core.put(GrantCredit(1, FREE))
    np.testing.assert_array_equal(heard.run().sound(1), expected_sound(1, 4))


def test_a_row_without_finite_numbers_ends_alone() -> None:
    core = EngineCore(FakeModel(fail_seed=2), 3)
    for id in (1, 2, 3):
        add(core, id, "one two three")
    heard = Heard(core).run()
    assert [heard.finished[id].reason for id in (1, 2, 3)] == ["done", "failed", "done"]
    for id in (1, 3):
        np.testing.assert_array_equal(heard.sound(id), expected_sound(id, 3))


def test_a_step_that_raises_loses_its_sequences_and_not_the_engine() -> None:
    core = EngineCore(FakeModel(raise_seed=2), 3)
    add(core, 2, "one")
    heard = Heard(core).run()
    assert heard.finished[2].reason == "failed" and "RuntimeError" in heard.finished[2].message
    add(core, 3, "one two")
    np.testing.assert_array_equal(heard.run().sound(3), expected_sound(3, 2))


def test_what_never_ends_is_truncated_and_says_so() -> None:
    core = EngineCore(FakeModel(endless_seed=1, max_tokens=50), 2)
    add(core, 1, "one")
    add(core, 2, "one two")
    heard = Heard(core).run()
    assert heard.finished[1].reason == "truncated" and heard.finished[1].stats.tokens == 50
    assert heard.finished[2].reason == "done"


def test_a_full_queue_refuses_at_once() -> None:
    core = EngineCore(FakeModel(), 1, max_waiting=1)
    for id in (1, 2, 3):
        add(core, id, "one")
    heard = Heard(core)
    heard.step()
    assert {id: f.reason for id, f in heard.finished.items()} == {2: "overloaded", 3: "overloaded"}
    heard.run()
    assert heard.finished[1].reason == "done"


def test_speed_may_change_in_mid_sequence() -> None:
    core = EngineCore(FakeModel(), 1)
    heard = Heard(core)
    add(core, 1, "one two three four")
    while len(heard.sound(1)) < 2 * SAMPLES_PER_TOKEN:
        heard.step()
    before = len(heard.sound(1))
    core.put(ExtendSequence(1, speed=2.0))
    heard.run()
    left = 4 * TOKENS_PER_WORD - before // SAMPLES_PER_TOKEN
    assert len(heard.sound(1)) == before + left * SAMPLES_PER_TOKEN // 2


def test_tokens_are_told_where_the_next_sequence_is_to_be_spoken_on_from_them() -> None:
    core = EngineCore(FakeModel(text_streaming=False, carry_tokens=100), 2)
    core.put(AddSequence(1, words("one two"), True, Controls("one", seed=1, carry_over=True), FREE))
    add(core, 2, "three")
    heard = Heard(core).run()
    assert heard.finished[1].tokens == tuple(range(2 * TOKENS_PER_WORD)) and heard.finished[2].tokens == ()
    past = (Spoken(words("one two"), heard.finished[1].tokens),)
    core.put(AddSequence(3, words("four"), True, Controls("one", seed=1, carry_over=True), FREE, past=past))
    heard.run()
    assert heard.finished[3].tokens == tuple(range(2 * TOKENS_PER_WORD, 3 * TOKENS_PER_WORD))
    np.testing.assert_array_equal(heard.sound(3), expected_sound(1, 3)[2 * TOKENS_PER_WORD * SAMPLES_PER_TOKEN :])
    assert heard.words[3] == [(0, 0)]
