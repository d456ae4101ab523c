"""Voices of the flow: computed when they are wanted, the latest kept, those of a new recording computed anew."""

from pathlib import Path

import pytest
import torch

from stream_server.models.glm_tts.chunks import schedule
from stream_server.models.glm_tts.flow import Prompt, load_flow
from stream_server.models.glm_tts.flow_config import read_flow_config
from stream_server.models.glm_tts.flow_stream import FlowStream
from stream_server.models.glm_tts.flow_voices import FlowVoices
from stream_server.models.glm_tts.loading import FLOW_PART, load_part
from tests.models.glm_tts.make_flow import make_flow


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> FlowStream:
    folder = tmp_path_factory.mktemp("ckpt")
    make_flow(folder / "flow")
    loaded = load_flow(read_flow_config(folder / "flow" / "config.yaml"), load_part(Path(folder), FLOW_PART))
    return FlowStream(loaded.eval(), schedule("early"), steps=2)


def prompt(seed: int) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    mel = torch.randn(9, 80, generator=generator)
    return Prompt(torch.arange(5), mel, torch.randn(192, generator=generator))


def test_the_latest_are_kept(flow: FlowStream) -> None:
    voices = FlowVoices(flow, kept=2)
    for seed, name in enumerate("abc"):
        voices[name] = prompt(seed)
    a, b = voices["a"], voices["b"]
    assert voices["a"] is a and len(voices["c"].prompt.mel) == 9
    assert voices["a"] is a and voices["b"] is not b and len(voices.latest) == 2


def test_another_of_the_name_is_another_and_one_that_was_removed_is_none(flow: FlowStream) -> None:
    voices = FlowVoices(flow)
    voices["a"] = prompt(0)
    before = voices["a"]
    voices["a"] = prompt(1)
    assert not torch.equal(before.prompt.mel, voices["a"].prompt.mel)
    voices.remove("a")
    voices.remove("a")
    with pytest.raises(KeyError):
        voices["a"]
