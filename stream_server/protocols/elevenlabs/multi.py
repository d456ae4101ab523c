"""`/v1/text-to-speech/{voice}/multi-stream-input`: many texts on one socket, each a context with the client's id.

A context opens with its first text that is not empty and ends when it is closed: it is spoken to its end where all of
it was flushed, else, or when it is closed again, it falls silent.  Either way `isFinal` is the last of it; after that
its id is free.  Where an error ended it, `isFinal` comes when the client closes it, and text that is still on its way
is passed over.  An empty text keeps the socket alive and does nothing.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

from stream_server.errors import InvalidSetting
from stream_server.events import Cancel, Cancelled, Done, Event, Failed
from stream_server.limits import Limits
from stream_server.protocols.dialect import Act, Close
from stream_server.protocols.elevenlabs.messages import Incoming, Options, failure, final
from stream_server.protocols.elevenlabs.socket import Socket
from stream_server.protocols.elevenlabs.speech import Speech

UNNAMED = "default"  # the context of messages that name none
FAILED_IDS = 64  # contexts that an error ended, and that have not been closed


class Multi(Socket):
    def __init__(self, options: Options, limits: Limits, opens: Callable[..., bool], keyed: bool) -> None:
        super().__init__(options, limits, opens, keyed)
        self._speeches: dict[str, Speech] = {}  # by the client's id
        self._names: dict[str, Speech] = {}  # by ours: an id may be used again, a name is not
        self._closing: set[str] = set()  # ids
        self._failed: deque[str] = deque(maxlen=FAILED_IDS)
        self._numbers = count(1)

    def receive(self, message: str | bytes) -> list[Act]:
        incoming = self._read(message)
        if incoming.close_socket:
            return [Close()]
        id = incoming.context_id or UNNAMED
        if len(id) > self._limits.context_name_chars:
            limit = self._limits.context_name_chars
            raise InvalidSetting("the id is too long", field="context_id", limit=limit)
        if id in self._speeches:
            return [*self._go_on(id, incoming)]
        if id in self._failed:
            if self._is_still_failed(incoming):
                return self._bury(id) if incoming.close_context else []
            self._failed.remove(id)
        return [*self._open(id, incoming)] if incoming.text else []

    def tell(self, event: Event) -> list[Act]:
        speech = None if event.context is None else self._names.get(event.context)
        if speech is None or speech.context is None:
            return []
        acts: list[Act] = [*speech.tell(event)]
        if isinstance(event, Done | Cancelled | Failed):
            acts += self._end(speech.context, event)
        return acts

    def _open(self, id: str, incoming: Incoming) -> Iterator[Act]:
        speech = Speech(str(next(self._numbers)), self._options, self._limits.pending_flushes, id)
        self._speeches[id] = self._names[speech.name] = speech
        yield from speech.start(incoming)
        if incoming.close_context:
            yield from self._close(id, speech)

    def _go_on(self, id: str, incoming: Incoming) -> Iterator[Act]:
        speech = self._speeches[id]
        if id in self._closing:
            if incoming.close_context:
                yield Cancel(speech.name)
            return
        yield from speech.say(incoming)
        if incoming.close_context:
            yield from self._close(id, speech)

    def _close(self, id: str, speech: Speech) -> Iterator[Act]:
        self._closing.add(id)
        if speech.is_flushed:
            yield from speech.end()
        else:
            yield Cancel(speech.name)

    def _is_still_failed(self, incoming: Incoming) -> bool:
        """Only a blank text, which is how clients open a context, begins it anew."""
        return incoming.close_context or not incoming.text or not incoming.text.isspace()

    def _bury(self, id: str) -> list[Act]:
        self._failed.remove(id)
        return [final(id)]

    def _end(self, id: str, event: Done | Cancelled | Failed) -> list[Act]:
        del self._names[self._speeches.pop(id).name]
        closing = id in self._closing
        self._closing.discard(id)
        failed = [failure(event, id)] if isinstance(event, Failed) else []
        if not failed or closing:
            return [*failed, final(id)]
        self._failed.append(id)
        return [*failed]
