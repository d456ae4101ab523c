"""speak(): one text, spoken and measured.

Knows when the text went out, when the speech came in, and what a listener would have heard of it.  Does not know how
any of that is shown.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from stream_client.client import DEFAULT_URL, Client
from stream_client.context import Audio, Context, Event
from stream_client.gaps import GapMeter
from stream_client.playback import Player
from stream_client.sinks import DeviceSink, Sink, Tee, WavSink
from stream_client.wire import Done, Mark, Settings, Started

Text = str | Iterable[str] | AsyncIterator[str]
ENCODED = {
    ".mp3": "mp3",
    ".flac": "flac",
    ".aac": "aac",
    ".ogg": "ogg_opus",
    ".opus": "ogg_opus",
    ".webm": "webm",
}  # a file's ending → the format that is such a file as it comes
WORD = re.compile(r"\s*\S+\s*|\s+")


@dataclass(frozen=True)
class SpeakReport:
    """What happened when.  Times are seconds since the first text was sent; None where there was no audio.

    Playback is a plain player's, computed from the arrival times; so are the gaps.
    """

    voice: str
    format: str
    sample_rate: int
    seed: int
    reason: str
    words: int
    audio_s: float
    first_audio_s: float | None
    last_text_s: float
    generation_end_s: float | None
    playback_begin_s: float | None
    playback_end_s: float | None
    underruns: int
    stall_s: float
    largest_gap_s: float
    marks: tuple[Mark, ...]
    timing: dict[str, float]  # the server's split of its own time to first audio
    output: str | None = None

    @property
    def ttfa_s(self) -> float | None:
        """Client TTFA: first text sent to first audio received."""
        return self.first_audio_s

    @property
    def rtf(self) -> float | None:
        """From the first text to the last packet, over the duration of the speech; below 1 is faster than speech."""
        return self.generation_end_s / self.audio_s if self.generation_end_s and self.audio_s else None


async def speak(
    text: Text,
    *,
    url: str = DEFAULT_URL,
    output: Path | None = None,
    play: bool = False,
    interval_s: float = 0.0,
    flush: bool = False,
    headers: Mapping[str, str] | None = None,
    on_event: Callable[[Event], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    **settings: Unpack[Settings],
) -> SpeakReport:
    """Speak `text` to a file, a loudspeaker, both or neither.

    Text given in pieces is sent as the pieces come, `interval_s` apart; a whole text is cut into words for that.
    `flush` has each piece spoken at once, without waiting for what follows it.  Where nobody listens along, it is
    spoken as fast as the server can, unless `paced` is asked for.  A file whose ending is one of ENCODED is written as
    it comes: nothing is decoded then, so nothing can be played.  Every other is a WAV file.
    """
    settings.setdefault("paced", play)
    encoded = ENCODED.get(output.suffix.lower()) if output else None
    if encoded:
        if play:
            raise ValueError(f"{encoded} is not decoded here: play it, or write a WAV file")
        settings["format"] = encoded
    sink = None if encoded else _sink(output, play)
    async with Client(url, headers=headers, clock=clock) as client:
        context = await client.start(**settings)
        take = _Take(clock, on_event)
        player = Player(context, sink) if sink else None
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(_send(context, _pieces(text, interval_s), flush, take))
                await _listen(context, player, output if encoded else None, take)
                sending.cancel()  # the server may be done before the text is
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            if player:
                player.close()
    return take.report(output)


class _Take:
    """One speaking as it is observed."""

    def __init__(self, clock: Callable[[], float], on_event: Callable[[Event], None] | None) -> None:
        self._clock = clock
        self._on_event = on_event
        self._first_text: float | None = None
        self._last_text: float | None = None
        self._first_audio: float | None = None
        self._last_audio: float | None = None
        self._samples = 0
        self._started: Started | None = None
        self._done: Done | None = None
        self._meter = GapMeter(1)
        self._marks: list[Mark] = []

    def text_sent(self) -> None:
        self._last_text = self._clock()
        if self._first_text is None:
            self._first_text = self._last_text

    def heard(self, event: Event) -> None:
        match event:
            case Started():
                self._started = event
                self._meter = GapMeter(event.sample_rate)
            case Audio():
                self._first_audio = event.arrived if self._first_audio is None else self._first_audio
                self._last_audio = event.arrived
                self._samples += event.duration
                self._meter.add(event.arrived, event.pts, event.duration)
            case Mark():
                self._marks.append(event)
            case Done():
                self._done = event
        if self._on_event:
            self._on_event(event)

    def report(self, output: Path | None) -> SpeakReport:
        assert self._started is not None, "a context that ends well began"
        assert self._done is not None, "and was done"
        return SpeakReport(
            voice=self._started.voice,
            format=self._started.format,
            sample_rate=self._started.sample_rate,
            seed=self._started.seed,
            reason=self._done.reason,
            words=self._done.words,
            audio_s=self._samples / self._started.sample_rate,
            first_audio_s=self._since(self._first_audio),
            last_text_s=self._since(self._last_text) or 0.0,
            generation_end_s=self._since(self._last_audio),
            playback_begin_s=self._since(self._meter.began),
            playback_end_s=self._since(self._meter.ended),
            underruns=self._meter.underruns,
            stall_s=self._meter.stall_s,
            largest_gap_s=self._meter.largest_gap_s,
            marks=tuple(self._marks),
            timing=self._done.timing,
            output=str(output) if output else None,
        )

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None or self._first_text is None else moment - self._first_text


async def _send(context: Context, pieces: AsyncIterator[str], flush: bool, take: _Take) -> None:
    async for piece in pieces:
        take.text_sent()
        await context.send(piece)
        if flush:
            await context.flush()
    await context.end()


async def _listen(context: Context, player: Player | None, encoded: Path | None, take: _Take) -> None:
    with contextlib.ExitStack() as files:
        file = None
        async for event in context:
            take.heard(event)
            if player and isinstance(event, Started):
                player.start(event)
            elif player and isinstance(event, Audio):
                await player.play(event)
            elif encoded and isinstance(event, Started):
                file = files.enter_context(encoded.open("wb"))  # not before the server has agreed
            elif file and isinstance(event, Audio):
                file.write(event.data)
    if player:
        await player.finish()


async def _pieces(text: Text, interval_s: float) -> AsyncIterator[str]:
    if isinstance(text, AsyncIterator):
        async for piece in text:
            yield piece
            await asyncio.sleep(interval_s)
        return
    if isinstance(text, str):
        text = WORD.findall(text) if interval_s else [text]
    for index, piece in enumerate(text):
        if index:
            await asyncio.sleep(interval_s)
        yield piece


def _sink(output: Path | None, play: bool) -> Sink | None:
    sinks: list[Sink] = [DeviceSink()] if play else []
    if output:
        sinks.append(WavSink(output))
    return Tee(*sinks) if sinks else None
