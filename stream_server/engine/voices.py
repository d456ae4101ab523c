"""Voices as they come and go, on the front's side: asked for, answered, and told again to an engine that comes back.

Knows no sequences; `Engine` sends what it is given here.
"""

import asyncio
from collections.abc import Callable

from stream_server.engine.messages import AddVoice, Command, RemoveVoice, VoiceChanged
from stream_server.errors import StreamServerError
from stream_server.voices.stored import StoredVoice


class VoiceChanges:
    def __init__(self, send: Callable[[Command], None], new_id: Callable[[], int]) -> None:
        self._send, self._new_id = send, new_id
        self.guests: dict[str, StoredVoice] = {}  # voices that no new engine would find by itself
        self._asked: dict[int, tuple[Command, asyncio.Future[None]]] = {}  # not yet answered

    async def add(self, voice: StoredVoice, listed: bool) -> None:
        await self._ask(AddVoice(self._new_id(), voice, listed))

    async def remove(self, name: str) -> None:
        await self._ask(RemoveVoice(self._new_id(), name))

    def forget_guest(self, name: str) -> None:
        """Without waiting for an answer."""
        if self.guests.pop(name, None) is not None:
            self._send(RemoveVoice(self._new_id(), name))

    async def _ask(self, command: AddVoice | RemoveVoice) -> None:
        """Waits for the answer, if need be a new engine's."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked[command.id] = (command, answer)
        try:
            self._send(command)
            await answer
        finally:
            del self._asked[command.id]

    def restore(self) -> None:
        """To a new engine: before anybody speaks in them."""
        for voice in self.guests.values():
            self._send(AddVoice(self._new_id(), voice, listed=False))
        for command, _ in self._asked.values():
            self._send(command)

    def answer(self, changed: VoiceChanged) -> None:
        if (asked := self._asked.get(changed.id)) is not None:
            settle(asked[1], changed.error)

    def refuse(self, error: StreamServerError) -> None:
        for _, answer in self._asked.values():
            settle(answer, error)


def settle(answer: asyncio.Future[None], error: StreamServerError | None) -> None:
    """Unless whoever waited for it has gone."""
    if answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)
