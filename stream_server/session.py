"""One listener's context: text in, events out.  Knows no wire format and no model.

Text becomes words, words become sentences, and one sentence at a time is a sequence in the engine; while a model takes
text as it decodes, the sentence being spoken is the one still being typed.  The encoder and the position (`pts`) run
through sentences without a seam.  How far ahead of the listener's playback the engine may run is told to it with each
sentence; what the transport has not taken bounds it too, so that a peer that does not read costs waiting, not memory.
A context counts as a stream from its first words to its end.
"""

import math
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from stream_server.audio.encoders import Chunk, make_encoder
from stream_server.carried import Carried
from stream_server.engine.client import Engine
from stream_server.engine.messages import Controls, Finished, Frame, ModelSpec, SequenceStats
from stream_server.errors import InvalidSetting, Overloaded, ProtocolError, StreamServerError, TextTooLong
from stream_server.events import Audio, Cancelled, Done, Event, Failed, Flushed, Mark, Settings, Started, Timing
from stream_server.limits import Limits
from stream_server.playback import PlaybackClock
from stream_server.text.reader import make_reader
from stream_server.text.word import Word, full_stop

# A sequence's reason → is it worth a retry?
FAILURES = {"overloaded": True, "engine_dead": True, "failed": False, "unknown_voice": False}
CODES = {"failed": "sequence_failed"}
OF_REFERENCE = "reference"  # what a voice is called that has no name
GRANT_S = 0.5  # credit goes back to the engine in pieces of this
NEWS_S = 0.02  # a player's word that differs by less from what was thought is no news


def controls_of(settings: Settings, spec: ModelSpec) -> Controls:
    """Settings checked at the protocol's door → what the engine is told, what it does not say filled in."""
    return Controls(
        voice=settings.voice or spec.voices[0],
        seed=secrets.randbits(31) if settings.seed is None else settings.seed,
        speed=settings.speed,
        sample_rate=settings.sample_rate or spec.sample_rates[0],
        temperature=settings.temperature,
        top_k=settings.top_k,
        use_cache=settings.use_cache,
        carry_over=spec.carry_over if settings.carry_over is None else settings.carry_over,
    )


class Session:
    """States: open → ending (no more text) → over (Done, Cancelled or Failed is its last event).

    `wake` is called whenever there is something for `next_event`.  One that `awaits_voice` takes text and is silent
    until it `has_voice`.
    """

    def __init__(
        self,
        context: str,
        number: int,
        settings: Settings,
        engine: Engine,
        limits: Limits,
        clock: Callable[[], float],
        wake: Callable[[], None],
        awaits_voice: bool = False,
    ) -> None:
        self.context = context
        self.number = number
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._wake = wake
        self._controls = controls_of(settings, engine.spec)
        self._encoder = make_encoder(settings.format, self._controls.sample_rate)
        self._reader = make_reader(
            engine.spec.reader, engine.spec.phones, limits.segment_chars, settings.pronunciations
        )
        self._text: list[str] = []
        self._text_length = 0
        self._sentences: deque[list[Word]] = deque()  # of words not yet submitted; the last may still grow
        self._complete_sentences = 0  # that were typed to their end
        self._spoken_sentences = 0
        self._flushes: deque[int] = deque()  # for each flush not yet told of: how many were complete at it
        self._speaking: list[Word] = []  # words of the sequence in the engine
        self._carried = Carried(engine.spec.carry_tokens)
        self._last_word: Word | None = None
        self._sequence: int | None = None
        self._sequence_open = False  # the sequence in the engine still waits for words
        self._ending = False
        self._over = False
        self._awaits_voice = awaits_voice
        self.on_over: Callable[[], None] = lambda: None
        self._events: deque[Event] = deque()
        self._marks: list[Mark] = []
        self._chunks = 0
        self._base = 0  # samples spoken before the sequence in the engine
        self._samples = 0  # samples the engine has given
        self._sent = 0  # samples handed to the transport
        self._playback = PlaybackClock(self._controls.sample_rate)
        self._paced = settings.paced
        self._owed = 0  # samples taken and not yet granted again
        self._text_complete_at: float | None = None  # since when the sentence being spoken has had all its words
        self._underruns = 0
        self._entered: float | None = None  # when this context was admitted
        self._first_text = 0.0
        self._first_stats: SequenceStats | None = None
        self._first_encoded = 0.0
        self._first_sent = 0.0
        self._tokens = 0
        self._truncated = False
        self._emit(
            Started(
                context,
                number,
                OF_REFERENCE if awaits_voice else self._controls.voice,
                settings.format.codec,
                self._controls.sample_rate,
                self._controls.seed,
                self._encoder.pre_skip,
            )
        )

    # What the listener does.

    def push_text(self, text: str) -> None:
        """Raises `TextTooLong`, `InvalidPronunciation` or, after `end`, `ProtocolError`."""
        if self._ending:
            raise ProtocolError("text after end", field="type")
        if self._text_length + len(text) > self._limits.text_chars_per_context:
            raise TextTooLong("the context's text is too long", field="text", limit=self._limits.text_chars_per_context)
        self._first_text = self._first_text or self._clock()
        self._text.append(text)
        self._text_length += len(text)
        self._queue(self._reader.push(text))

    def flush(self) -> None:
        """What was typed is a whole sentence, whatever its last character; `Flushed` tells when it has been spoken."""
        if self._ending:
            return
        if len(self._flushes) >= self._limits.pending_flushes:
            raise ProtocolError("too many flushes at once", field="type", limit=self._limits.pending_flushes)
        self._finish_sentence()
        self._flushes.append(self._complete_sentences)
        self._tell_flushed()

    def end(self) -> None:
        if self._ending:
            return
        self._finish_sentence()
        self._ending = True
        self._advance()

    def cancel(self, played: int | None = None) -> None:
        """Barge-in: drop what was not sent, say where it stopped.  Nothing of this context follows."""
        if self._over:
            return
        if self._sequence is not None:
            self._engine.abort(self._sequence)
        if played is not None:
            self._playback.report(played, self._clock())
        heard, unheard = self._split_text(self._playback.reported)
        self._finish(Cancelled(self.context, self._sent, self._playback.reported, heard, unheard), drop=True)

    def report_played(self, played: int) -> None:
        """The player's own word takes the place of the assumed clock."""
        before = self._playback.plays_at(self._base) if self._playback.has_begun else None
        self._playback.report(played, self._clock())
        plays_at = self._playback.plays_at(self._base)
        if self._sequence is not None and (before is None or abs(plays_at - before) > NEWS_S):
            self._engine.playback(self._sequence, plays_at)

    def set_speed(self, speed: float) -> None:
        """Raises `InvalidSetting` where the model has its own."""
        if speed != 1.0 and not self._engine.spec.speeds:
            raise InvalidSetting("this model speaks at its own speed", field="speed", limit=1.0)
        self._controls = replace(self._controls, speed=speed)
        if self._sequence is not None:
            self._engine.extend(self._sequence, speed=speed)

    def has_voice(self, voice: str) -> None:
        """The one that was awaited is there: what was typed meanwhile is spoken."""
        if not self._over:
            self._controls = replace(self._controls, voice=voice)
            self._awaits_voice = False
            self._advance()

    def fail(self, error: StreamServerError) -> None:
        if self._sequence is not None:
            self._engine.abort(self._sequence)
        self._finish(Failed.of(error, self.context), drop=True)

    # What the transport takes.

    @property
    def is_over(self) -> bool:
        """Whether every event has been taken and none will follow."""
        return self._over and not self._events

    @property
    def is_speaking(self) -> bool:
        return self._sequence is not None or bool(self._events) or (self._awaits_voice and not self._over)

    def next_event(self) -> Event | None:
        """The next thing to tell the listener; taking it is what counts as sent."""
        if not self._events:
            return None
        event = self._events.popleft()
        if isinstance(event, Audio):
            self._took(event)
        elif isinstance(event, Done):
            wall = self._clock() - self._first_text if self._first_text else 0.0
            return replace(event, timing=self._timing(), wall=wall, underruns=self._underruns)
        return event

    def _took(self, audio: Audio) -> None:
        now = self._clock()
        self._first_sent = self._first_sent or now
        if not audio.duration:  # a codec's lead-in: nothing to play yet
            return
        dry_since = self._playback.ends_at() if self._playback.has_begun else now
        if self._playback.took(audio.pts + audio.duration, now) and self._was_to_be_spoken(dry_since):
            self._underruns += 1
        self._sent = audio.pts + audio.duration
        self._owed += audio.duration
        if self._sequence is not None and self._owed >= GRANT_S * self._controls.sample_rate:
            self._engine.credit(self._sequence, self._owed)
            self._owed = 0

    def _was_to_be_spoken(self, when: float) -> bool:
        """Whether silence at that time was the server's doing, and not the text's that had not come."""
        return self._text_complete_at is not None and self._text_complete_at < when

    # What the engine says.

    def frame(self, frame: Frame) -> None:
        for start in frame.words:
            word = self._speaking[start.index]
            if not word.source:
                continue
            mark = Mark(self.context, word.source, word.start, word.end, self._base + start.offset)
            self._marks.append(mark)
            self._emit(mark)
        self._samples = self._base + frame.offset + len(frame.pcm)
        self._send_chunks(self._encoder.encode(frame.pcm))

    def resume(self) -> None:
        """The engine was lost with the sentence it was speaking, and is back: same words, same seed, same samples."""
        if self._sequence is not None:
            self._speak()

    def finished(self, finished: Finished) -> None:
        self._sequence = None
        if finished.reason in FAILURES:
            code = CODES.get(finished.reason, finished.reason)
            failure = Failed(self.context, code, finished.message, retryable=FAILURES[finished.reason])
            return self._finish(failure, drop=False)
        self._first_stats = self._first_stats or finished.stats
        self._tokens += finished.stats.tokens
        self._carried.add(self._speaking, finished.tokens)
        self._truncated = self._truncated or finished.reason == "truncated"
        self._base = self._samples
        self._spoken_sentences += 1
        self._tell_flushed()
        self._advance()

    # Between the two.

    def _finish_sentence(self) -> None:
        words = self._reader.flush()
        last = words[-1] if words else self._last_word
        if last is not None and not last.ends_sentence:
            words.append(full_stop(last.end))
        self._queue(words)

    def _queue(self, words: list[Word]) -> None:
        for word in words:
            self._last_word = word
            if not self._sentences or self._sentences[-1][-1].ends_sentence:
                self._sentences.append([])
            self._complete_sentences += word.ends_sentence
            self._sentences[-1].append(word)
        self._advance()

    def _tell_flushed(self) -> None:
        while self._flushes and not self._over and self._flushes[0] <= self._spoken_sentences:
            self._flushes.popleft()
            self._send_chunks(self._encoder.release())
            self._emit(Flushed(self.context, self._samples))

    def _advance(self) -> None:
        """Give the engine what it may have: more of the open sentence, or the next one, or the end."""
        if self._over or self._awaits_voice:
            return
        if self._sequence is not None:
            if self._sequence_open and self._sentences:
                self._extend()
        elif self._sentences and (self._engine.spec.text_streaming or self._sentences[0][-1].ends_sentence):
            self._submit()
        elif self._ending and not self._sentences:
            self._complete()

    def _submit(self) -> None:
        if self._entered is None:
            try:
                self._engine.enter()
            except Overloaded as refusal:
                return self.fail(refusal)
            self._entered = self._clock()
        words = self._sentences.popleft()
        self._speaking = words
        self._note_end_of(words)
        self._speak()

    def _speak(self) -> None:
        """Hand the engine the sentence, whose sound goes on behind what there is of it already."""
        window = int(self._limits.unsent_s * self._controls.sample_rate)
        self._owed = 0
        self._sequence = self._engine.submit(
            self,
            tuple(self._speaking),
            not self._sequence_open,
            self._controls,
            credit=max(0, window - (self._base - self._sent)),
            lead_s=self._limits.lead_s if self._paced else math.inf,
            plays_at=self._playback.plays_at(self._base) if self._playback.has_begun else None,
            begin=self._samples - self._base,
            past=self._carried.past,
        )

    def _extend(self) -> None:
        assert self._sequence is not None
        words = self._sentences.popleft()
        self._speaking += words
        self._note_end_of(words)
        self._engine.extend(self._sequence, tuple(words), final=not self._sequence_open)

    def _note_end_of(self, words: list[Word]) -> None:
        self._sequence_open = not words[-1].ends_sentence
        self._text_complete_at = None if self._sequence_open else self._clock()

    def _complete(self) -> None:
        self._send_chunks(self._encoder.finish())
        reason = "truncated" if self._truncated else "done"
        self._finish(
            Done(
                self.context,
                self._samples,
                self._tokens,
                len(self._marks),
                self._controls.seed,
                reason,
            ),
            drop=False,
        )

    def _send_chunks(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self._first_encoded = self._first_encoded or self._clock()
            self._emit(Audio(self.context, self.number, self._chunks, chunk.pts, chunk.duration, chunk.data))
            self._chunks += 1

    def _finish(self, last: Event, drop: bool) -> None:
        if self._over:
            return
        if drop:
            self._events.clear()
        self._over, self._ending, self._sequence = True, True, None
        if self._entered is not None:
            self._engine.leave(self._clock() - self._entered)
        self._sentences.clear()
        self.on_over()
        self._emit(last)

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        self._wake()

    def _split_text(self, played: int | None) -> tuple[str | None, str | None]:
        """What was heard and what was not: a word is heard once it has begun."""
        if played is None:
            return None, None
        text = "".join(self._text)
        end = max((mark.end for mark in self._marks if mark.pts < played), default=0)
        return text[:end], text[end:]

    def _timing(self) -> Timing:
        stats = self._first_stats
        if stats is None or not stats.first_frame:
            return Timing()
        return Timing(
            text_wait=(stats.submitted - self._first_text) + (stats.first_step - stats.prefilled),
            queue=stats.slotted - stats.submitted,
            prefill=stats.prefilled - stats.slotted,
            first_token=stats.decoded - stats.first_step,
            vocoder=stats.first_frame - stats.decoded,
            encode=self._first_encoded - stats.first_frame,
            send=self._first_sent - self._first_encoded,
        )
