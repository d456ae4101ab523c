"""A maker of voices that keeps them in a directory, and whose networks are the mean of the samples."""

import asyncio
import os
import signal
import time

import numpy as np

from stream_server.audio.reference import Reference
from stream_server.errors import ConfigError, InvalidAudio
from stream_server.voices.add import Make
from stream_server.voices.store import Listed, VoiceStore
from stream_server.voices.stored import About, StoredVoice


def made_of(name: str, text: str, audio: Reference, consent: str) -> StoredVoice:
    about = About(text, consent, "2026-05-01T10:00:00Z", audio.seconds, "fake", "0")
    return StoredVoice(name, about, {"heard": np.array([np.abs(audio.at(16_000).pcm).mean()], np.float32)})


def load_fake() -> Make:
    """A family's maker, for a process of its own: what it does is told by the text."""

    def make(name: str, text: str, audio: Reference, consent: str) -> StoredVoice:
        if text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith("sleep"):
            time.sleep(float(text.split()[1]))
        if text == "break":
            raise ZeroDivisionError
        if text == "unheard":
            raise InvalidAudio("nobody can be heard", field="file")
        return made_of(name, text, audio, consent)

    return make


def load_nothing() -> Make:
    raise ConfigError("no such file: campplus.onnx", field="model")


class FakeMaker:
    """`gate`, where given, must be set for a voice to be made."""

    def __init__(self, store: VoiceStore, gate: asyncio.Event | None = None) -> None:
        self.store, self.gate = store, gate

    async def make(self, name: str, text: str, audio: Reference, consent: str) -> Listed:
        if self.gate is not None:
            await self.gate.wait()
        voice = made_of(name, text, audio, consent)
        await asyncio.to_thread(self.store.save, voice)
        return Listed(name, voice.about)

    async def rename(self, name: str, new: str) -> Listed:
        self.store.rename(name, new)
        return Listed(new, self.store.get(new).about)

    async def delete(self, name: str) -> None:
        self.store.delete(name)
