"""Voices for one context: made of the recording that came with it, gone with the last context that came with the same.

Such a voice's name is drawn by chance and told to nobody, so that nobody else can ask for it.  Whoever brings the same
recording and the same words shares it, and learns nothing by that.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass, replace
from functools import partial

from stream_server.audio.reference import FIELD, read_reference
from stream_server.engine.client import Engine
from stream_server.errors import Overloaded, StreamServerError
from stream_server.events import Recording
from stream_server.limits import Limits
from stream_server.session import OF_REFERENCE, Session
from stream_server.studio.workshop import Workshop
from stream_server.voices.stored import check_words

log = logging.getLogger(__name__)
RETRY_AFTER_S = 2.0


@dataclass
class Guest:
    name: str
    ready: asyncio.Task[None]
    sessions: int = 0


class Guests:
    def __init__(self, engine: Engine, workshop: Workshop, limits: Limits) -> None:
        self._engine, self._workshop, self._limits = engine, workshop, limits
        self._guests: dict[str, Guest] = {}  # by what was brought
        self._reading = asyncio.Semaphore(limits.uploads)  # each by a process of its own

    def invite(self, session: Session, recording: Recording) -> None:
        """`session`, which awaits its voice, gets it once it is made, or fails; either way not yet.

        Raises `Overloaded`, or a `ClientError` for words that cannot be.
        """
        check_words(recording.text, "", self._limits)
        brought = recording.digest
        guest = self._guests.get(brought) or self._begin(brought, recording)
        guest.sessions += 1
        session.on_over = partial(self._leave, brought, guest)
        guest.ready.add_done_callback(partial(introduce, session, guest))

    def _begin(self, brought: str, recording: Recording) -> Guest:
        if len(self._guests) >= self._limits.guests:
            raise Overloaded(
                "too many recordings came with requests",
                field="guests",
                limit=self._limits.guests,
                retry_after=RETRY_AFTER_S,
            )
        name = f"~{secrets.token_hex(16)}"  # no name that a kept voice could have
        guest = Guest(name, asyncio.create_task(self._make(brought, name, recording), name="guest"))
        self._guests[brought] = guest
        return guest

    async def _make(self, brought: str, name: str, recording: Recording) -> None:
        try:
            async with self._reading:
                heard = await asyncio.to_thread(read_reference, recording.file, self._limits)
            voice = await self._workshop.make(OF_REFERENCE, recording.text, heard, "")
            await self._engine.add_voice(replace(voice, name=name), listed=False)
        except BaseException as error:
            self._engine.forget_guest(name)
            if (guest := self._guests.get(brought)) is not None and guest.name == name:
                del self._guests[brought]  # whoever brings it next has it tried again
            if isinstance(error, StreamServerError) and error.field == FIELD:
                error.field = "reference"
            raise

    def _leave(self, brought: str, guest: Guest) -> None:
        guest.sessions -= 1
        if guest.sessions:
            return
        if self._guests.get(brought) is guest:
            del self._guests[brought]
        guest.ready.cancel()
        self._engine.forget_guest(guest.name)


def introduce(session: Session, guest: Guest, ready: asyncio.Task[None]) -> None:
    if ready.cancelled():
        return
    error = ready.exception()
    if error is None:
        session.has_voice(guest.name)
    elif isinstance(error, StreamServerError):
        session.fail(error)
    else:
        log.error("guest not made", exc_info=error)
        session.fail(StreamServerError("something broke in the server"))
