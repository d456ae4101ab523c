"""One utterance on a socket: its client's messages → commands, its events → messages."""

from collections.abc import Iterator

from stream_server.events import Command, End, Event, Flush, Flushed, PushText, SetSpeed, Settings, Start
from stream_server.protocols.elevenlabs import messages
from stream_server.protocols.elevenlabs.alignment import Aligner
from stream_server.protocols.elevenlabs.messages import Incoming, Options
from stream_server.protocols.elevenlabs.tags import Tags


class Speech:
    """`name` is ours, `context` the client's where it has one."""

    def __init__(self, name: str, options: Options, pending_flushes: int, context: str | None = None) -> None:
        self.name = name
        self.context = context
        self.is_flushed = True  # nothing was typed since the last flush
        self._options = options
        self._tags = Tags(options.markup)
        self._aligner = Aligner()
        self._pending_flushes = pending_flushes
        self._flushes = 0  # that the session has not answered yet
        self._flush_due = False

    def start(self, message: Incoming) -> Iterator[Command]:
        """The first message.  Where its text is blank, it only opens."""
        seed = message.generation_config.seed
        if seed is None:
            seed = self._options.seed if message.seed is None else message.seed
        speed = message.voice_settings.our_speed() or Settings.speed
        yield Start(self.name, Settings(self._options.voice, self._options.format, seed=seed, speed=speed))
        if message.text and not message.text.isspace():
            yield from self._push(message)

    def say(self, message: Incoming) -> Iterator[Command]:
        if (speed := message.voice_settings.our_speed()) is not None:
            yield SetSpeed(self.name, speed)
        yield from self._push(message)

    def end(self) -> Iterator[Command]:
        yield from self._text(self._tags.flush())
        yield End(self.name)

    def _push(self, message: Incoming) -> Iterator[Command]:
        if message.text:
            self._aligner.push(message.text)
            self.is_flushed = self.is_flushed and message.text.isspace()
            yield from self._text(self._tags.push(message.text))
        if message.flush:
            self.is_flushed = True
            yield from self._text(self._tags.flush())
            yield from self._flush()

    def _text(self, text: str) -> Iterator[Command]:
        if text:
            yield PushText(self.name, text)

    def _flush(self) -> Iterator[Command]:
        """No more at a time than a session takes: the others wait, and one does for all of them."""
        self._flush_due = self._flushes >= self._pending_flushes
        if not self._flush_due:
            self._flushes += 1
            yield Flush(self.name)

    def tell(self, event: Event) -> Iterator[str | Command]:
        """Sound and alignment; how an utterance ends is the sockets' to say."""
        if isinstance(event, Flushed):
            self._flushes -= 1
            if self._flush_due:
                yield from self._flush()
        elif (piece := self._aligner.hear(event)) is not None:
            yield messages.sound(piece, self._aligner.sample_rate, self.context)
