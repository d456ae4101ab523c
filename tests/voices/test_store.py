"""The directory of voices: what is saved comes back or does not exist, whatever happens on the way."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stream_server.errors import (
    BrokenVoice,
    InvalidSetting,
    StreamServerError,
    TooManyVoices,
    UnknownVoice,
    VoiceExists,
)
from stream_server.voices.store import Listed, VoiceStore
from stream_server.voices.stored import About, StoredVoice

ABOUT = About("so it is said", "by hand, 1 May", "2026-05-01T10:00:00Z", 5.5, "fake", "abc", {"rate": "24000"})
ARRAYS = {"codes": np.arange(50), "mel": np.random.default_rng(0).random((30, 4), np.float32)}


def voice(name: str = "ann") -> StoredVoice:
    return StoredVoice(name, ABOUT, ARRAYS)


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    return VoiceStore(tmp_path / "voices")


def test_a_voice_comes_back_as_it_was(store: VoiceStore) -> None:
    store.save(voice())
    found = VoiceStore(store.directory).get("ann")
    assert found.about == ABOUT and found.name == "ann"
    assert {key: each.dtype for key, each in found.arrays.items()} == {"codes": np.int64, "mel": np.float32}
    for key, each in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[key], each)
    assert store.list() == [Listed("ann", ABOUT)]


def test_it_is_its_owner_s_alone(store: VoiceStore) -> None:
    store.save(voice())
    for path, mode in ((store.directory, 0o700), (store.directory / "ann.safetensors", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_renamed_and_deleted(store: VoiceStore) -> None:
    store.save(voice())
    store.rename("ann", "bob")
    assert store.names() == ["bob"] and store.get("bob").about == ABOUT
    store.save(voice())
    with pytest.raises(VoiceExists):
        store.rename("ann", "bob")
    with pytest.raises(VoiceExists):
        store.save(voice("bob"))
    store.delete("bob")
    assert store.names() == ["ann"]
    for act in (store.get, store.delete, lambda name: store.rename(name, "x")):
        with pytest.raises(UnknownVoice):
            act("bob")


@pytest.mark.parametrize(
    "name", ["", "a" * 65, "Ann", "a b", "..", "../ann", "a/b", "a\n", "ann.safetensors", "ä", "\0"]
)
def test_names_that_are_none(name: str, store: VoiceStore) -> None:
    store.save(voice())
    outside = store.directory.parent / "ann.safetensors"
    outside.write_bytes((store.directory / "ann.safetensors").read_bytes())
    with pytest.raises(InvalidSetting):
        store.save(voice(name))
    with pytest.raises(InvalidSetting):
        store.rename("ann", name)
    for act in (store.get, store.delete):
        with pytest.raises(UnknownVoice):
            act(name)
    assert store.names() == ["ann"] and outside.exists()


def test_there_is_a_bound_on_how_many(store: VoiceStore) -> None:
    small = VoiceStore(store.directory, most=2)
    small.save(voice("a"))
    small.save(voice("b"))
    with pytest.raises(TooManyVoices) as refused:
        small.save(voice("c"))
    assert refused.value.limit == 2


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    header = int.from_bytes(data[:8], "little")
    if kind == "one bit":
        data[-3] ^= 4
    elif kind == "its text":
        data[data.index(b"so it is")] ^= 1
    elif kind == "cut":
        del data[-10:]
    elif kind == "header":
        data[:8] = (1 << 40).to_bytes(8, "little")
    elif kind == "empty":
        data.clear()
    elif kind == "another's":
        data = bytearray((8).to_bytes(8, "little") + b"{}      ")
    elif kind == "format":
        at = data.index(b"voice 1")
        data[at + 6] = ord("2")
    assert header
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["one bit", "its text", "cut", "header", "empty", "another's", "format"])
def test_a_damaged_file_is_named_and_hides_no_other(kind: str, store: VoiceStore) -> None:
    for name in ("ann", "bob"):
        store.save(voice(name))
    damage(store.directory / "ann.safetensors", kind)
    with pytest.raises(BrokenVoice, match="ann") as refused:
        store.get("ann")
    assert refused.value.field == "voice"
    assert store.get("bob").about == ABOUT
    assert sorted(each.name for each in store.list()) == ["ann", "bob"] and Listed("bob", ABOUT) in store.list()
    store.delete("ann")
    store.save(voice())
    assert store.get("ann").about == ABOUT


def test_a_file_too_large_to_be_a_voice_is_not_read(store: VoiceStore) -> None:
    with (store.directory / "ann.safetensors").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BrokenVoice):
        store.get("ann")
    assert store.list() == [Listed("ann", None)]


@pytest.mark.parametrize("moment", ["fsync", "rename"])
def test_killed_on_the_way_nothing_is_there(moment: str, store: VoiceStore) -> None:
    """The writer dies between its file and its rename: the next one finds the lock free, and clears up."""
    store.save(voice("bob"))
    code = f"""
import os
from pathlib import Path
from tests.voices.test_store import VoiceStore, voice
os.{moment} = lambda *_: os._exit(9)
VoiceStore(Path({str(store.directory)!r})).save(voice())
"""
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert killed.returncode == 9
    assert any(path.name.endswith(".partial") for path in store.directory.iterdir())
    assert store.names() == ["bob"] and store.list() == [Listed("bob", ABOUT)]
    store.save(voice())
    assert store.get("ann").about == ABOUT
    assert sorted(path.name for path in store.directory.iterdir()) == [".lock", "ann.safetensors", "bob.safetensors"]


def test_a_full_disk_leaves_nothing_behind_that_counts(store: VoiceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            store.save(voice())
    assert store.names() == []
    store.save(voice())
    assert store.names() == ["ann"]


def test_of_many_at_once_one_has_the_name(store: VoiceStore) -> None:
    def attempt(act: object) -> str:
        try:
            act()  # type: ignore[operator]
        except StreamServerError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(attempt, [lambda: VoiceStore(store.directory).save(voice())] * 8))
        assert sorted(saved) == ["done"] + ["voice_exists"] * 7
        renamed = list(pool.map(attempt, [lambda n=n: store.rename("ann", f"bob{n}") for n in range(8)]))
        assert sorted(renamed) == ["done"] + ["unknown_voice"] * 7
        small = VoiceStore(store.directory, most=3)
        counted = list(pool.map(attempt, [lambda n=n: small.save(voice(f"c{n}")) for n in range(8)]))
        assert counted.count("done") == 2 and len(store.names()) == 3


def test_reading_goes_on_while_others_write(store: VoiceStore) -> None:
    store.save(voice("bob"))

    def write(number: int) -> None:
        store.save(voice(f"v{number}"))
        store.delete(f"v{number}")

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write, number) for number in range(20)]
        while not all(each.done() for each in writing):
            assert all(each.about == ABOUT for each in store.list())
            assert store.get("bob").about == ABOUT
        for each in writing:
            each.result()
