"""A directory of voices, one safetensors file each: whole or not there at all, whoever else is at work in it.

A file is written beside its place, flushed to the disk and then renamed; writers, in this process or another, take
turns by a lock that ends with its holder.  The name of a voice is its file's and stands nowhere else, so a new name
leaves the file untouched.  A damaged file is an error that names it, and hides no other.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from stream_server.errors import BrokenVoice, TooManyVoices, UnknownVoice, VoiceExists
from stream_server.voices.stored import NAME, About, StoredVoice, check_name

FOLDER = "voices"  # of a checkpoint
ENDING, PARTIAL, LOCK = ".safetensors", ".partial", ".lock"
FORMAT = "stream-server voice 1"
MAX_BYTES = 16 << 20  # of one file; half a minute of mel has half a megabyte
Mark = tuple[int, int]
Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Listed:
    name: str
    about: About | None  # None: its file is damaged


class VoiceStore:
    def __init__(self, directory: Path, most: int = 1_000) -> None:
        """directory: made where it is not there, for its owner alone; most: how many voices it may hold."""
        self.directory, self.most = directory, most
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def names(self) -> list[str]:
        found = (path.name.removesuffix(ENDING) for path in self.directory.glob(f"*{ENDING}"))
        return sorted(name for name in found if NAME.fullmatch(name))

    def marks(self) -> dict[str, Mark]:
        """What each voice's file is: the same for the same content, whatever it is called."""
        found = {}
        for name in self.names():
            with suppress(FileNotFoundError):  # deleted since it was seen
                stat = self._path(name).stat()
                found[name] = (stat.st_ino, stat.st_mtime_ns)
        return found

    def list(self) -> list[Listed]:
        """Every voice, the oldest first, without reading what it consists of; those that are damaged last."""
        found = [each for name in self.names() if (each := self.find(name)) is not None]
        return sorted(found, key=lambda each: (each.about is None, each.about.created if each.about else "", each.name))

    def get(self, name: str) -> StoredVoice:
        """Raises `UnknownVoice`, or `BrokenVoice` where its file is damaged."""
        path = self._path(name)
        with reading(path, name) as file:
            about = about_of(file.metadata())
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping, whatever it looks like
            if digest(about, arrays) != file.metadata()["digest"]:
                raise ValueError
        return StoredVoice(name, about, arrays)

    def save(self, voice: StoredVoice) -> None:
        """Raises `VoiceExists` or `TooManyVoices`."""
        path = self._path(check_name(voice.name))
        told = {"format": FORMAT, "about": json.dumps(asdict(voice.about)), "digest": digest(voice.about, voice.arrays)}
        data = save({key: np.ascontiguousarray(each) for key, each in voice.arrays.items()}, told)
        with self._alone():
            if path.exists():
                raise VoiceExists("there is a voice of that name", field="name")
            if len(self.names()) >= self.most:
                raise TooManyVoices("there are as many voices as may be", field="stored_voices", limit=self.most)
            self._write(path, data)

    def rename(self, name: str, new: str) -> None:
        """Raises `UnknownVoice` or `VoiceExists`."""
        source, target = self._path(name), self._path(check_name(new))
        with self._alone():
            if not source.exists():
                raise unknown()
            if target.exists():
                raise VoiceExists("there is a voice of that name", field="name")
            os.rename(source, target)
            self._flush_directory()

    def delete(self, name: str) -> None:
        """Raises `UnknownVoice`; what is damaged can be deleted as well."""
        path = self._path(name)
        with self._alone():
            if not path.exists():
                raise unknown()
            path.unlink()
            self._flush_directory()

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise unknown()
        return self.directory / f"{name}{ENDING}"

    def find(self, name: str) -> Listed | None:
        try:
            with reading(self._path(name), name) as file:
                return Listed(name, about_of(file.metadata()))
        except UnknownVoice:  # deleted since it was seen
            return None
        except BrokenVoice:
            return Listed(name, None)

    def _write(self, path: Path, data: bytes) -> None:
        """All of it or nothing; only while this writer is alone, so that whatever lies half written is a dead one's."""
        for left in self.directory.glob(f".*{PARTIAL}"):
            left.unlink(missing_ok=True)
        partial = self.directory / f".{path.name}{PARTIAL}"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, path)
        self._flush_directory()

    def _flush_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self.directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def reading(path: Path, name: str) -> Iterator[Any]:
    """An open file; whatever is wrong with it is a `BrokenVoice` that names it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError
        with safe_open(path, "np") as file:
            yield file
    except FileNotFoundError:
        raise unknown() from None
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError):
        raise broken(name) from None


def about_of(metadata: Mapping[str, str] | None) -> About:
    """Raises ValueError, TypeError or KeyError where that is no voice's."""
    if metadata is None or metadata["format"] != FORMAT:
        raise ValueError
    told = json.loads(metadata["about"])
    kinds = {
        each.name: (dict if each.name == "details" else float if each.name == "source_s" else str)
        for each in fields(About)
    }
    if set(told) != set(kinds) or any(type(told[name]) is not kind for name, kind in kinds.items()):
        raise ValueError
    return About(**told)


def digest(about: About, arrays: Arrays) -> str:
    """Of all that a voice is but its name."""
    found = hashlib.sha256(json.dumps(asdict(about), sort_keys=True).encode())
    for key, each in sorted(arrays.items()):
        found.update(f"\n{key} {each.dtype} {each.shape}\n".encode())
        found.update(np.ascontiguousarray(each).tobytes())
    return found.hexdigest()


def unknown() -> UnknownVoice:
    return UnknownVoice("no such voice here", field="voice")


def broken(name: str) -> BrokenVoice:
    return BrokenVoice(f"the file of voice {name} is damaged: delete the voice and make it again", field="voice")
