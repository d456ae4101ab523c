"""`/v1/text-to-speech/{voice}/stream-input`: one text, as it is written; the socket ends with it."""

from collections.abc import Callable

from stream_server.events import Done, Event, Failed
from stream_server.limits import Limits
from stream_server.protocols.dialect import Act, Close
from stream_server.protocols.elevenlabs.messages import Options, final, last_words
from stream_server.protocols.elevenlabs.socket import Socket
from stream_server.protocols.elevenlabs.speech import Speech

CONTEXT = "speech"


class Single(Socket):
    """The first message opens, an empty text ends; what comes behind that is passed over."""

    def __init__(self, options: Options, limits: Limits, opens: Callable[..., bool], keyed: bool) -> None:
        super().__init__(options, limits, opens, keyed)
        self._speech = Speech(CONTEXT, options, limits.pending_flushes)
        self._begun = False
        self._ended = False

    def receive(self, message: str | bytes) -> list[Act]:
        incoming = self._read(message)
        if self._ended or (not self._begun and incoming.text is None):
            return []
        acts: list[Act] = [*(self._speech.say(incoming) if self._begun else self._speech.start(incoming))]
        self._begun = True
        if incoming.text == "" and not incoming.flush:
            self._ended = True
            acts += self._speech.end()
        return acts

    def tell(self, event: Event) -> list[Act]:
        if isinstance(event, Failed):
            return [*last_words(event)]
        acts: list[Act] = [*self._speech.tell(event)]
        return [*acts, final(), Close()] if isinstance(event, Done) else acts
