"""What the flow computes of a voice, kept: as much as was asked for, told as memory, and the same sound in company."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from stream_server.config import load_config
from stream_server.engine.core import EngineCore
from stream_server.engine.memory import measure
from stream_server.errors import ConfigError
from stream_server.models import registry
from stream_server.models.glm_tts.loading import load_model
from tests.models.glm_tts.interleave import all_at_once, alone, requests_of

pytestmark = pytest.mark.skipif(find_spec("tiktoken") is None, reason="needs the extra glm")


@pytest.fixture(scope="module")
def folder(tiny: Callable[[Sequence[int]], Path]) -> Path:
    return tiny((10, 11, 12, 13))


def test_company_moves_no_bit_and_it_is_not_the_sound_of_a_flow_that_keeps_nothing(folder: Path) -> None:
    kept, plain = load_model(folder, kept_voices=2), load_model(folder)
    core = EngineCore(kept, 4, max_prefill=4)
    requests = requests_of(core, ("oh, no.",), 4)
    for request, pcm in zip(requests, all_at_once(core, requests)):
        assert np.array_equal(pcm, alone(kept, request).pcm)
        assert not np.array_equal(pcm, alone(plain, request).pcm)


def test_of_so_many_voices_and_the_memory_is_told(folder: Path) -> None:
    core, told = EngineCore(load_model(folder, kept_voices=2), 4), []
    vocoder = core.runner.model.vocoder
    for request in requests_of(core, ("a.",), 4):
        all_at_once(core, [request])
        told.append(measure(core.runner).weights["voices"])
    assert list(vocoder.voices.latest) == ["voice2", "voice3"]
    assert told[0] > vocoder.flow.kept_bytes * 19  # frames of the first one's recording
    assert told[0] < told[1] and told[3] < told[1] * 1.5
    assert (
        vocoder.flow.kept_bytes == 2 * 1 * 2 * 2 * 16 * 4
    )  # steps, layers, keys and values, both passes, width, bytes


def test_none_are_kept_where_nobody_asked(folder: Path) -> None:
    assert not load_model(folder).vocoder.flow.keep and load_config().kept_voices == 0


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ConfigError, match="lark") as refused:
        registry.load("lark", kept_voices=1)
    assert refused.value.field == "kept_voices"
    with pytest.raises(ConfigError) as refused:
        load_config(kept_voices=65)
    assert refused.value.field == "kept_voices"
