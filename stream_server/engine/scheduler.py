"""Who runs in a step: pure decisions over sequences and slots, no torch, no clock of its own.

Order of work: every running sequence that has text and credit decodes one token; the oldest waiting ones take free
slots and are prefilled; whoever holds a full chunk, has ended, or waits for text hands its tokens to the vocoder.
A slot is a row of every cache and belongs to one sequence from prefill to its last sound.

Does not know yet whose listener would run dry first: everyone decodes in every step.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from stream_server.engine.messages import EngineLoad
from stream_server.engine.sequence import Sequence, Status
from stream_server.models.plan import ChunkPlan
from stream_server.text.word import Word


@dataclass(frozen=True)
class Vocode:
    """Give the vocoder all tokens that `sequence` holds; `final` lets go of its tail."""

    sequence: Sequence
    final: bool


@dataclass(frozen=True)
class Reading:
    """Words for the model to read now; they have left the sequence, whose own list may fill up meanwhile."""

    sequence: Sequence
    words: tuple[Word, ...]
    final: bool


@dataclass
class StepPlan:
    prefill: list[Reading] = field(default_factory=list)
    extend: list[Reading] = field(default_factory=list)  # running ones with new words
    decode: list[Sequence] = field(default_factory=list)
    vocode: list[Vocode] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.prefill or self.extend or self.decode or self.vocode)

    @property
    def sequences(self) -> list[Sequence]:
        readings = [reading.sequence for reading in (*self.prefill, *self.extend)]
        every = [*readings, *self.decode, *(vocode.sequence for vocode in self.vocode)]
        return list({sequence.id: sequence for sequence in every}.values())


class Scheduler:
    def __init__(
        self,
        num_slots: int,
        max_waiting: int,
        max_prefill: int,
        samples_per_token: int,
        chunk: Callable[[int], ChunkPlan],
    ) -> None:
        self.num_slots = num_slots
        self.max_waiting = max_waiting
        self.max_prefill = max_prefill  # sequences prefilled in one step
        self.samples_per_token = samples_per_token
        self.chunk = chunk
        self.free = list(range(num_slots))[::-1]
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}  # by id, in order of arrival

    def add(self, sequence: Sequence) -> bool:
        """False where the queue is full: the caller says so at once."""
        if len(self.waiting) >= self.max_waiting:
            return False
        self.waiting.append(sequence)
        return True

    def find(self, id: int) -> Sequence | None:
        return self.running.get(id) or next((s for s in self.waiting if s.id == id), None)

    def schedule(self) -> StepPlan:
        plan = StepPlan()
        plan.extend = [take_words(s) for s in self.running.values() if self.has_news(s)]
        plan.decode = [s for s in self.running.values() if self.may_decode(s)]
        while self.waiting and self.free and len(plan.prefill) < self.max_prefill:
            plan.prefill.append(take_words(self.admit(self.waiting.popleft())))
        decoding = {s.id for s in plan.decode}
        plan.vocode = [
            Vocode(s, final=s.status is Status.DRAINING)
            for s in self.running.values()
            if self.may_vocode(s, s.undecoded + (s.id in decoding))
        ]
        return plan

    def admit(self, sequence: Sequence) -> Sequence:
        sequence.slot = self.free.pop()
        sequence.status = Status.RUNNING
        self.running[sequence.id] = sequence
        return sequence

    def has_news(self, sequence: Sequence) -> bool:
        return sequence.status in (Status.RUNNING, Status.STARVED) and (bool(sequence.words) or sequence.closing)

    def may_decode(self, sequence: Sequence) -> bool:
        return sequence.status is Status.RUNNING and not sequence.paced(self.samples_per_token)

    def may_vocode(self, sequence: Sequence, tokens: int) -> bool:
        if sequence.status is Status.DRAINING:
            return True
        if sequence.status is Status.STARVED:
            return tokens > 0
        plan = self.chunk(sequence.chunks)
        return tokens >= plan.emit + (plan.lookahead if sequence.chunks == 0 else 0)

    def release(self, sequence: Sequence) -> None:
        """Its slot is free from this moment on."""
        sequence.status = Status.FINISHED
        if sequence.slot is not None:
            self.free.append(sequence.slot)
            sequence.slot = None
            del self.running[sequence.id]
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def load(self, steps: int) -> EngineLoad:
        return EngineLoad(self.num_slots, len(self.running), len(self.waiting), steps)

    def check_integrity(self) -> None:
        """Every slot is free or owned by exactly one running sequence."""
        owned = [sequence.slot for sequence in self.running.values()]
        assert sorted(self.free + owned) == list(range(self.num_slots)), (self.free, owned)  # type: ignore[type-var]
        assert all(sequence.status is Status.WAITING for sequence in self.waiting)


def take_words(sequence: Sequence) -> Reading:
    reading = Reading(sequence, tuple(sequence.words), sequence.final)
    sequence.words, sequence.closing = [], False
    return reading
