"""Who makes voices of recordings: the engine's side, as its users see it."""

from typing import Protocol

from stream_server.audio.reference import Reference
from stream_server.voices.store import Listed


class VoiceMaker(Protocol):
    """Everything it answers has been done: a voice that is told of can be spoken with, one that is deleted cannot."""

    async def make(self, name: str, text: str, audio: Reference, consent: str) -> Listed:
        """text: what is said in it, word for word.  Raises `VoiceExists`, `TooManyVoices`, `InvalidSetting`,
        `EngineDead` or `Overloaded`."""
        ...

    async def rename(self, name: str, new: str) -> Listed:
        """Raises `UnknownVoice` or `VoiceExists`."""
        ...

    async def delete(self, name: str) -> None:
        """Raises `UnknownVoice`."""
        ...
