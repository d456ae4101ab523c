"""Voices that come and go while the core steps: who may speak in them, and what becomes of those who do."""

import numpy as np
import pytest

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AbortSequence, AddSequence, AddVoice, Controls, Finished, RemoveVoice, Tick
from stream_server.errors import BrokenVoice, CannotClone
from stream_server.voices.stored import About, StoredVoice
from tests.fakes import CloningModel, FakeModel, expected_sound, words

FREE = 1 << 40


def voice(name: str, heard: float = 0.25, key: str = "heard") -> StoredVoice:
    return StoredVoice(name, About("", "", "", 1.0, "fake", "0"), {key: np.array([heard], np.float32)})


def asks(id: int, name: str, text: str = "one two three") -> AddSequence:
    return AddSequence(id, words(text), True, Controls(name, seed=id), FREE)


def run(core: EngineCore) -> list[Tick]:
    ticks = []
    while (tick := core.step()) is not None:
        ticks.append(tick)
        core.scheduler.check_integrity()
    return ticks


def sound(ticks: list[Tick], id: int) -> np.ndarray:
    return np.concatenate([frame.pcm for tick in ticks for frame in tick.frames if frame.sequence_id == id])


def ends(ticks: list[Tick]) -> dict[int, str]:
    finished: list[Finished] = [each for tick in ticks for each in tick.finished]
    return {each.sequence_id: each.reason for each in finished}


def test_a_voice_is_told_of_and_spoken_in() -> None:
    core = EngineCore(CloningModel(), 2)
    core.put(AddVoice(7, voice("ann")))
    core.put(asks(1, "ann"))
    ticks = run(core)
    [changed] = [each for tick in ticks for each in tick.voices]
    assert (changed.id, changed.error) == (7, None)
    assert next(tick.spec for tick in ticks if tick.spec).voices == ("one", "two", "ann")
    np.testing.assert_allclose(sound(ticks, 1), expected_sound(1, 3) + 0.25, atol=1e-6)


def test_one_that_is_not_listed_is_spoken_in_and_not_told_of() -> None:
    core = EngineCore(CloningModel(), 2)
    core.put(AddVoice(7, voice("~1"), listed=False))
    core.put(asks(1, "~1"))
    assert ends(run(core)) == {1: "done"} and core.spec.voices == ("one", "two")
    core.put(RemoveVoice(8, "~1"))
    core.put(asks(2, "~1"))
    assert ends(run(core)) == {2: "unknown_voice"}


def test_one_removed_in_mid_speech_ends_as_it_began_and_those_that_wait_fail() -> None:
    core = EngineCore(CloningModel(), 1)
    core.put(AddVoice(7, voice("ann")))
    for id, name in ((1, "ann"), (2, "ann"), (3, "one")):
        core.put(asks(id, name))
    ticks = [tick for _ in range(4) if (tick := core.step()) is not None]
    assert any(tick.frames for tick in ticks) and not ends(ticks)
    core.put(RemoveVoice(8, "ann"))
    ticks += run(core)
    assert ends(ticks) == {1: "done", 2: "unknown_voice", 3: "done"}
    np.testing.assert_allclose(sound(ticks, 1), expected_sound(1, 3) + 0.25, atol=1e-6)
    assert core.spec.voices == ("one", "two")


def test_a_voice_that_cannot_be_is_refused_and_disturbs_nobody() -> None:
    core = EngineCore(CloningModel(), 2)
    core.put(asks(1, "one"))
    core.step()
    core.put(AddVoice(7, voice("ann", key="other")))
    ticks = run(core)
    [changed] = [each for tick in ticks for each in tick.voices]
    assert isinstance(changed.error, BrokenVoice) and core.spec.voices == ("one", "two") and ends(ticks) == {1: "done"}


@pytest.mark.parametrize("command", [AddVoice(7, voice("ann")), RemoveVoice(7, "one")])
def test_a_model_with_voices_of_its_own_alone_says_so(command: AddVoice | RemoveVoice) -> None:
    core = EngineCore(FakeModel(), 1)
    core.put(command)
    [tick] = run(core)
    assert isinstance(tick.voices[0].error, CannotClone) and core.spec.voices == ("one", "two")


def test_nothing_of_a_voice_stays_with_whoever_has_ended() -> None:
    model = CloningModel()
    core = EngineCore(model, 2)
    core.put(AddVoice(7, voice("~1"), listed=False))
    for id in (1, 2):
        core.put(asks(id, "~1"))
    core.step()
    core.put(AbortSequence(2))
    assert len(model.heard.raised) == 2
    run(core)
    assert not model.heard.raised and not core.runner.state
