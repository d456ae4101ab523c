"""Who runs in a step: pure decisions over sequences, slots and the time it is told; no torch, no clock of its own.

An underrun is heard, a start 20 ms later is not: so sound goes first to whom it would run out for.  A sequence's
*lead* is how long its listener can play on with what it was given.  In a step

1. every running sequence that has text and credit decodes one token, the shortest lead first, unless all of them rest:
   one that is `lead_s` ahead rests until it has fallen REST_S behind that, so that rests end together and batches fill;
   where chunks are long, it rests so late that the next one is whole COMFORT_S before its sound is wanted;
2. waiting ones take free slots and are prefilled, fewer while somebody's lead is short;
3. the vocoder is given the tokens of whoever is due: a first chunk as soon as it can be, then chunks that at most
   double and never outgrow what the lead allows at the pace of the steps; others who hold tokens ride along.

The order of work and the law of chunk sizes are those of a simulation in which rigid schedules underran.  A slot is a
row of every cache and belongs to one sequence from prefill to its last sound.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from stream_server.engine.sequence import Sequence, Status
from stream_server.models.plan import ChunkPlan
from stream_server.text.word import Word

REST_S = 0.32  # a rest's length: long enough that a burst fills a large chunk
MARGIN_S = 0.02  # what sound needs from here to the player, beside the steps
FORGET = 0.95  # of the slowest recent step, each step: after a second of steps it counts for little
MAX_ROWS = 64  # sequences that decode in one step
BRISK_ROWS = 8  # ... at least, while somebody's lead is shorter than HURRY_S: beyond it those short of COMFORT_S
HURRY_S, COMFORT_S = 0.25, 0.6
PRESSED, FEW = 0.25, 4  # share of the room, and at least so many: where more are in a hurry, nobody else is let in
MAX_VOCODED = 64  # tokens the vocoder is given in one step, but for those who cannot wait
BRISK_VOCODED = 16  # ... while somebody waits for a first sound
RIDES = 2  # tokens with which a sequence rides along


@dataclass(frozen=True)
class Vocode:
    """Give the vocoder the first `tokens` that `sequence` holds; `final` lets go of its tail."""

    sequence: Sequence
    tokens: int
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
    def __init__(self, num_slots: int, max_waiting: int, max_prefill: int, chunk: Callable[[int], ChunkPlan]) -> None:
        self.num_slots = num_slots
        self.max_waiting = max_waiting
        self.max_prefill = max_prefill  # sequences prefilled in one step
        self.chunk = chunk
        self.free = list(range(num_slots))
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}  # by id, in order of arrival
        self.pace = 0.0  # s: the slowest recent step

    def add(self, sequence: Sequence) -> bool:
        """False where the queue is full: the caller says so at once."""
        if len(self.waiting) >= self.max_waiting:
            return False
        self.waiting.append(sequence)
        return True

    def find(self, id: int) -> Sequence | None:
        return self.running.get(id) or next((s for s in self.waiting if s.id == id), None)

    def schedule(self, now: float) -> StepPlan:
        plan = StepPlan()
        plan.extend = [take_words(s) for s in self.running.values() if self.has_news(s)]
        plan.decode = self.choose_decode(now)
        for _ in range(self.room_for_prefill(now)):
            plan.prefill.append(take_words(self.admit(self.waiting.popleft())))
        plan.vocode = self.choose_vocode(now, {s.id for s in plan.decode})
        return plan

    def took(self, seconds: float) -> None:
        """A step has taken so long."""
        self.pace = max(seconds, self.pace * FORGET)

    def wakes_at(self, now: float) -> float | None:
        """When the first of those who rest will have rested enough; None where nobody rests."""
        resting = [s for s in self.running.values() if s.resting and self.may_decode(s)]
        left = [s.ahead(now) - self.enough_s(s) + rest(s) for s in resting]
        return now + max(0.0, min(left)) if left else None

    # Decoding.

    def choose_decode(self, now: float) -> list[Sequence]:
        ahead = {s.id: s.ahead(now) for s in self.running.values() if self.may_decode(s)}
        able = [self.running[id] for id in ahead]
        for s in able:
            s.resting = ahead[s.id] >= self.enough_s(s) - (rest(s) if s.resting else 0.0)
        if all(s.resting for s in able):
            return []
        joining = [s for s in able if not s.resting or ahead[s.id] < self.enough_s(s) - rest(s) / 2]
        joining.sort(key=lambda s: ahead[s.id])
        most = MAX_ROWS
        if ahead[joining[0].id] < HURRY_S:  # a short step for whom every step counts; the others have time
            most = max(BRISK_ROWS, sum(ahead[s.id] < COMFORT_S for s in joining))
        chosen = joining[:most]
        return sorted(chosen, key=lambda s: s.slot or 0)  # rows that are neighbours need not be gathered

    def may_decode(self, sequence: Sequence) -> bool:
        return sequence.status is Status.RUNNING and sequence.has_credit(self.shortest_chunk(sequence))

    def enough_s(self, sequence: Sequence) -> float:
        """How far ahead it rests.  Tokens that are no chunk yet are no sound: nobody must run dry on them."""
        chunk_s = self.shortest_chunk(sequence) * sequence.token_lasts
        return max(sequence.lead_s, chunk_s + min(sequence.lead_s, COMFORT_S) + rest(sequence))

    def has_news(self, sequence: Sequence) -> bool:
        return sequence.status in (Status.RUNNING, Status.STARVED) and (bool(sequence.words) or sequence.closing)

    # Starting.

    def room_for_prefill(self, now: float) -> int:
        pressed = any(s.chunks and s.status is Status.RUNNING and self.presses(s, now) for s in self.running.values())
        return min(len(self.waiting), len(self.free), 1 if pressed else self.max_prefill)

    def admit(self, sequence: Sequence) -> Sequence:
        sequence.slot = self.free.pop(self.free.index(min(self.free)))  # neighbouring rows are cheapest to read
        sequence.status = Status.RUNNING
        self.running[sequence.id] = sequence
        return sequence

    # Sounding.

    def choose_vocode(self, now: float, decoding: set[int]) -> list[Vocode]:
        holders = [(s, s.undecoded + (s.id in decoding)) for s in self.running.values()]
        due = {s.id for s, tokens in holders if self.is_due(s, tokens, now)}
        if not due:
            return []
        starting = any(s.chunks == 0 and s.status is Status.RUNNING for s in self.running.values())
        room = BRISK_VOCODED if starting else MAX_VOCODED
        chosen: list[Vocode] = []
        for s, held in sorted(holders, key=lambda holder: holder[0].lead(now)):
            tokens = min(held, self.largest_chunk(s))
            wanted = s.id in due or self.may_ride(s, held)
            if wanted and (tokens <= room or not chosen or (s.id in due and self.presses(s, now))):
                chosen.append(Vocode(s, tokens, final=s.status is Status.DRAINING and tokens == held))
                room -= tokens
        return chosen

    def shortest_chunk(self, sequence: Sequence) -> int:
        """The fewest tokens that the vocoder takes next."""
        plan = self.chunk(sequence.chunks)
        return plan.least + (plan.lookahead if sequence.chunks == 0 else 0)

    def largest_chunk(self, sequence: Sequence) -> int:
        """However many it holds: nobody's sound is so long in the making that others run dry meanwhile."""
        plan = self.chunk(sequence.chunks)
        return plan.most + (plan.lookahead if sequence.chunks == 0 else 0)

    def is_due(self, sequence: Sequence, tokens: int, now: float) -> bool:
        if sequence.status is Status.DRAINING:
            return True
        if sequence.status is Status.STARVED:
            return tokens > 0
        return tokens >= self.chunk_size(sequence, now)

    def chunk_size(self, sequence: Sequence, now: float) -> int:
        """Tokens to wait for: the first time as few as a steady start allows, then as many as the lead does."""
        plan = self.chunk(sequence.chunks)
        if sequence.chunks == 0:
            steady = -(-2 * self.pace // sequence.token_lasts)
            return min(max(plan.least, int(steady)), plan.most) + plan.lookahead
        pace = max(self.pace, 1e-3)
        affordable = int((sequence.lead(now) - pace - MARGIN_S) / pace)
        return max(plan.least, min(2 * sequence.chunk, plan.most, affordable))

    def presses(self, sequence: Sequence, now: float) -> bool:
        """Whether the listener would run dry if the sound came two steps later."""
        return sequence.lead(now) < 2 * self.pace + MARGIN_S

    def may_ride(self, sequence: Sequence, tokens: int) -> bool:
        return sequence.chunks > 0 and tokens >= max(RIDES, self.chunk(sequence.chunks).least)

    def release(self, sequence: Sequence) -> None:
        """Its slot is free from this moment on."""
        sequence.status = Status.FINISHED
        if sequence.slot is not None:
            self.free.append(sequence.slot)
            sequence.slot = None
            del self.running[sequence.id]
        elif sequence in self.waiting:
            self.waiting.remove(sequence)

    def is_pressed(self, now: float, capacity: int) -> bool:
        """Whether so many who hear sound already are short of it that this machine serves fewer than was reckoned.

        Newcomers are short for a moment; with time to spare the scheduler sees to them first.
        """
        heard = (s for s in self.running.values() if s.chunks and s.status is Status.RUNNING)
        return sum(s.lead(now) < HURRY_S for s in heard) > max(FEW, PRESSED * capacity)

    def check_integrity(self) -> None:
        """Every slot is free or owned by exactly one running sequence."""
        owned = [sequence.slot for sequence in self.running.values()]
        assert sorted(self.free + owned) == list(range(self.num_slots)), (self.free, owned)  # type: ignore[type-var]
        assert all(sequence.status is Status.WAITING for sequence in self.waiting)


def rest(sequence: Sequence) -> float:
    """Seconds by which it falls back before it decodes again."""
    return min(REST_S, sequence.lead_s / 4)


def take_words(sequence: Sequence) -> Reading:
    reading = Reading(sequence, tuple(sequence.words), sequence.final)
    sequence.words, sequence.closing = [], False
    return reading
