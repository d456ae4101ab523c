"""The engine's inner loop.  Knows sequences, slots and a model; no listeners, no sockets, no asyncio."""

import contextlib
import logging
import queue
import time
from collections.abc import Callable
from dataclasses import replace

from stream_server.engine.costs import Costs
from stream_server.engine.memory import measure
from stream_server.engine.messages import (
    AbortSequence,
    AddSequence,
    AddVoice,
    Command,
    EngineLoad,
    ExtendSequence,
    Finished,
    Frame,
    GrantCredit,
    Ping,
    Playback,
    Ready,
    RemoveVoice,
    SequenceStats,
    Stop,
    Tick,
    VoiceChanged,
    WordStart,
)
from stream_server.engine.runner import Runner, SoundResult, StepResult, TokenResult
from stream_server.engine.scheduler import Scheduler, StepPlan, Vocode
from stream_server.engine.sequence import Sequence, Status
from stream_server.errors import BrokenVoice, CannotClone, StreamServerError
from stream_server.models.interface import SpeechModel, TakesVoices
from stream_server.voices.stored import StoredVoice

log = logging.getLogger(__name__)
FADING = 0.999  # a step: what was one hiccup is forgotten within a minute of speech


class EngineCore:
    """`put` may be called from any thread; everything else belongs to the one that calls `step`."""

    def __init__(
        self,
        model: SpeechModel,
        num_slots: int = 32,
        max_waiting: int = 64,
        max_prefill: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        spec = model.spec
        self.spec = spec
        self.runner = Runner(model, num_slots, clock)
        self.token_s = 1 / spec.token_rate
        self.scheduler = Scheduler(num_slots, max_waiting, max_prefill, model.vocoder.chunk)
        self.costs: Costs | None = None  # unknown until `calibrate`: then every slot counts as a stream
        self.clock = clock
        self.inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self.finished: list[Finished] = []
        self.unlisted: set[str] = set()  # voices beside those of the spec
        self.changed: list[VoiceChanged] = []
        self.pinged = False
        self.timings: list[tuple[int, int, float]] | None = None  # of steps, for whoever calibrates
        self.steps = 0
        self.longest_s = 0.0  # of its steps, those long past fading
        self.stopped = False

    def put(self, command: Command) -> None:
        self.inbox.put(command)

    @property
    def load(self) -> EngineLoad:
        slots, running = self.scheduler.num_slots, len(self.scheduler.running)
        capacity = slots if self.costs is None else min(slots, self.costs.capacity(self.token_s, running))
        if self.costs is not None and self.scheduler.is_pressed(self.clock(), capacity):
            capacity = min(capacity, running)
        costs = {} if self.costs is None else self.costs.by_part
        return EngineLoad(slots, running, len(self.scheduler.waiting), self.steps, capacity, self.longest_s, costs)

    def run(self, emit: Callable[[Ready | Tick], None]) -> None:
        """Step until told to stop; sleeps while there is nothing to do."""
        emit(Ready(self.spec, self.load, measure(self.runner)))
        while not self.stopped:
            tick = self.step()
            if tick is not None:
                emit(tick)
            elif not self.stopped:  # the step itself may have read the word to stop
                self.wait()

    def wait(self) -> None:
        """For a command, or for the first of those who rest."""
        now = self.clock()
        wakes_at = self.scheduler.wakes_at(now)
        with contextlib.suppress(queue.Empty):
            self.apply(self.inbox.get(timeout=None if wakes_at is None else max(0.0, wakes_at - now)))

    def step(self) -> Tick | None:
        """One turn: schedule, run, postprocess.  None where there was nothing to do."""
        self.drain()
        began = self.clock()
        plan = self.scheduler.schedule(began)
        if plan.is_empty and not (self.finished or self.changed or self.pinged):
            return None
        self.steps += 1
        result = self.run_plan(plan)
        self.drain()  # a barge-in that came during the forward wins
        tick = self.postprocess(plan, result)
        self.account(plan, result, self.clock() - began)
        return tick

    def account(self, plan: StepPlan, result: StepResult, seconds: float) -> None:
        if plan.is_empty:
            return
        self.scheduler.took(seconds)
        self.longest_s = max(self.longest_s * FADING, seconds)
        seconds -= result.reading_s  # no part of the line that `Costs` knows
        if self.costs is not None:
            self.costs.note(len(plan.decode), result.vocoded, seconds)
        if self.timings is not None:
            self.timings.append((len(plan.decode), result.vocoded, seconds))

    def run_plan(self, plan: StepPlan) -> StepResult:
        now = self.clock()
        for reading in plan.prefill:
            reading.sequence.stamp(slotted=now)
        for sequence in plan.decode:
            if not sequence.stats.first_step:
                sequence.stamp(first_step=now)
        try:
            return self.runner.run(plan)
        except Exception as error:  # the model broke: these sequences are lost, the engine and all others live
            log.exception("step failed", extra={"sequences": [s.id for s in plan.sequences]})
            for sequence in plan.sequences:
                self.finish(sequence, "failed", f"the model failed: {type(error).__name__}")
            return StepResult()

    def postprocess(self, plan: StepPlan, result: StepResult) -> Tick:
        now = self.clock()
        self.note_tokens([reading.sequence for reading in plan.prefill], result.prefilled, prefilled=result.tokens_at)
        self.note_tokens([reading.sequence for reading in plan.extend], result.extended)
        self.note_tokens(plan.decode, result.decoded)
        frames = [
            frame
            for vocode in plan.vocode
            if vocode.sequence.id in result.sounds
            for frame in self.note_sound(vocode, result.sounds[vocode.sequence.id], result.tokens_at, now)
        ]
        finished, self.finished, self.pinged = self.finished, [], False
        changed, self.changed = self.changed, []
        spec = self.spec if changed else None
        return Tick(tuple(frames), tuple(finished), self.load, tuple(changed), spec, made_at=self.clock())

    def note_tokens(self, sequences: list[Sequence], results: dict[int, TokenResult], **times: float) -> None:
        for sequence in sequences:
            if sequence.id not in results or sequence.status is Status.FINISHED:
                continue
            token = results[sequence.id]
            sequence.stamp(**times)
            if token.broken:
                self.finish(sequence, "failed", "the model could not go on with this text")
                continue
            if token.got_token:
                sequence.undecoded += 1
                if sequence.controls.carry_over:
                    sequence.tokens.append(token.token)
                sequence.stamp(tokens=sequence.stats.tokens + 1)
            if sequence.stats.tokens >= self.spec.max_tokens:
                sequence.truncated = not token.ended
                sequence.status = Status.DRAINING
            elif token.ended:
                sequence.status = Status.DRAINING
            else:
                sequence.status = Status.STARVED if token.starved else Status.RUNNING

    def note_sound(self, vocode: Vocode, sound: SoundResult, tokens_at: float, now: float) -> list[Frame]:
        sequence = vocode.sequence
        if sequence.status is Status.FINISHED:
            return []
        sequence.chunk = min(vocode.tokens, sequence.undecoded)
        sequence.undecoded -= sequence.chunk
        sequence.chunks += 1
        offset = sequence.stats.samples
        end = offset + len(sound.pcm)
        if end > max(offset, sequence.begin):
            sequence.played_dry(now)
        if len(sound.pcm) and not offset:
            sequence.stamp(decoded=tokens_at, first_frame=now)
        sequence.stamp(samples=end)
        if vocode.final:
            self.finish(sequence, "truncated" if sequence.truncated else "done")
        begin = max(offset, sequence.begin)
        words = tuple(WordStart(w.index, offset + w.offset) for w in sound.words if offset + w.offset >= begin)
        return [Frame(sequence.id, begin, sound.pcm[begin - offset :], words)] if end > begin else []

    def finish(self, sequence: Sequence, reason: str, message: str = "") -> None:
        if sequence.status is Status.FINISHED:
            return
        if sequence.slot is not None:
            self.runner.forget(sequence)
        self.scheduler.release(sequence)
        sequence.stamp(finished=self.clock())
        self.finished.append(Finished(sequence.id, reason, sequence.stats, message, tuple(sequence.tokens)))

    def drain(self) -> None:
        while True:
            try:
                self.apply(self.inbox.get_nowait())
            except queue.Empty:
                return

    def apply(self, command: Command) -> None:
        if isinstance(command, Stop):
            self.stopped = True
        elif isinstance(command, Ping):
            self.pinged = True
        elif isinstance(command, AddSequence):
            self.add(command)
        elif isinstance(command, AddVoice | RemoveVoice):
            self.change_voice(command)
        elif (sequence := self.scheduler.find(command.id)) is None:
            return  # it has ended meanwhile: its Finished is on its way
        elif isinstance(command, AbortSequence):
            self.finish(sequence, "aborted")
        elif isinstance(command, GrantCredit):
            sequence.credit += command.samples
        elif isinstance(command, Playback):
            sequence.plays_at = command.plays_at
        elif isinstance(command, ExtendSequence):
            self.extend(sequence, command)

    def add(self, command: AddSequence) -> None:
        stats = SequenceStats(submitted=self.clock())
        if command.controls.voice not in self.spec.voices and command.controls.voice not in self.unlisted:
            self.finished.append(Finished(command.id, "unknown_voice", stats, "there is no such voice any more"))
            return
        sequence = Sequence(
            command.id,
            command.controls,
            command.credit,
            self.token_s,
            command.lead_s,
            command.plays_at,
            command.begin,
            command.past,
            words=list(command.words),
            final=command.final,
            stats=stats,
        )
        if not self.scheduler.add(sequence):
            self.finished.append(Finished(command.id, "overloaded", stats, "the queue is full"))

    def extend(self, sequence: Sequence, command: ExtendSequence) -> None:
        sequence.words += command.words
        if command.final:
            sequence.closing = sequence.closing or (not sequence.final and sequence.status is not Status.WAITING)
            sequence.final = True
        if command.speed is None:
            return
        sequence.controls = replace(sequence.controls, speed=command.speed)
        if sequence.slot is not None:
            self.runner.set_speed(sequence, command.speed)

    def change_voice(self, command: AddVoice | RemoveVoice) -> None:
        """What is wrong with a voice, or with a model that meets it, is the voice's own fault and stops nobody."""
        error: StreamServerError | None = None
        try:
            if not isinstance(self.runner.model, TakesVoices):
                raise CannotClone("this model has voices of its own alone", field="voice")
            if isinstance(command, AddVoice):
                self.add_voice(self.runner.model, command.voice, command.listed)
            else:
                self.remove_voice(self.runner.model, command.name)
        except StreamServerError as refusal:
            error = refusal
        except Exception as defect:
            log.exception("voice failed")
            error = BrokenVoice(f"the model cannot take this voice: {type(defect).__name__}", field="voice")
        self.changed.append(VoiceChanged(command.id, error))

    def add_voice(self, model: TakesVoices, voice: StoredVoice, listed: bool) -> None:
        model.take_voice(voice)
        if not listed:
            self.unlisted.add(voice.name)
        elif voice.name not in self.spec.voices:
            self.spec = replace(self.spec, voices=(*self.spec.voices, voice.name))

    def remove_voice(self, model: TakesVoices, name: str) -> None:
        """Whoever waits for a slot to speak in it fails; whoever has one holds all that it needs."""
        model.drop_voice(name)
        self.unlisted.discard(name)
        self.spec = replace(self.spec, voices=tuple(other for other in self.spec.voices if other != name))
        for sequence in [each for each in self.scheduler.waiting if each.controls.voice == name]:
            self.finish(sequence, "unknown_voice", "there is no such voice any more")
