"""Voices that are kept: made by the workshop, held by the store, spoken by the engine, which follows the store.

Whatever is in the directory is spoken, whoever put it there: it is looked at after every change of our own, and now and
then for those of others.  An engine that starts anew reads the directory by itself.
"""

import asyncio
import contextlib
import logging

from stream_server.audio.reference import Reference
from stream_server.engine.client import Engine
from stream_server.errors import BrokenVoice, EngineDead, UnknownVoice, VoiceExists, VoiceInUse
from stream_server.studio.workshop import Workshop
from stream_server.voices.store import Listed, Mark, VoiceStore

log = logging.getLogger(__name__)
LOOK_S = 2.0  # from one look at the directory to the next


class Library:
    """A `VoiceMaker`."""

    def __init__(self, engine: Engine, store: VoiceStore, workshop: Workshop) -> None:
        """engine: has been started, with the voices of `store`."""
        self._engine, self._store, self._workshop = engine, store, workshop
        self._turn = asyncio.Lock()
        self._seen = store.marks()  # as the engine has them, or could not take them
        self._broken: set[str] = set()

    async def make(self, name: str, text: str, audio: Reference, consent: str) -> Listed:
        if name in await asyncio.to_thread(self._store.names):
            raise VoiceExists("there is a voice of that name", field="name")
        voice = await self._workshop.make(name, text, audio, consent)
        async with self._turn:
            await asyncio.to_thread(self._store.save, voice)
            await self._follow()
        if name in self._broken:
            raise BrokenVoice("the voice that was made cannot be spoken with", field="voice")
        return Listed(name, voice.about)

    async def rename(self, name: str, new: str) -> Listed:
        async with self._turn:
            self._check_free(name)
            await asyncio.to_thread(self._store.rename, name, new)
            await self._follow()
            listed = await asyncio.to_thread(self._store.find, new)
        if listed is None:
            raise UnknownVoice("no such voice here", field="voice")
        return listed

    async def delete(self, name: str) -> None:
        async with self._turn:
            self._check_free(name)
            await asyncio.to_thread(self._store.delete, name)
            await self._follow()

    async def watch(self) -> None:
        """Follows what others do in the directory, until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(EngineDead, OSError):  # it is looked at again
                async with self._turn:
                    await self._follow()

    @property
    def _default(self) -> str:
        return self._engine.spec.voices[0]

    def _check_free(self, name: str) -> None:
        if name == self._default:
            raise VoiceInUse("the default voice stays while it is served", field="name")

    async def _follow(self) -> None:
        """The engine gets what is new in the directory, then loses what is not there; but never its default voice."""
        there = await asyncio.to_thread(self._store.marks)
        self._broken &= there.keys()
        spoken = {*self._engine.spec.voices, *self._broken}
        for name, mark in there.items():
            if mark != self._seen.get(name) or name not in spoken:
                await self._give(name, mark)
        for name in set(self._engine.spec.voices) - there.keys() - {self._default}:
            await self._engine.remove_voice(name)
            self._seen.pop(name, None)
            log.info("voice gone", extra={"voice": name})

    async def _give(self, name: str, mark: Mark) -> None:
        self._broken.discard(name)
        try:
            await self._engine.add_voice(await asyncio.to_thread(self._store.get, name))
        except UnknownVoice:  # deleted since it was seen
            return
        except BrokenVoice:
            self._broken.add(name)
            log.warning("voice broken", extra={"voice": name})
        self._seen[name] = mark
