"""The release's own dimensions give the number of tensors, and of numbers in them, that its files have."""

import math
from dataclasses import replace

import torch

from stream_server.models.glm_tts.dit import DiTShape
from stream_server.models.glm_tts.flow import Flow, flow_table
from stream_server.models.glm_tts.flow_config import flow_config
from stream_server.models.glm_tts.hift import HiFT, hift_table
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.models.glm_tts.names import own_shapes
from tests.models.glm_tts import make_flow, make_hift

FLOW = DiTShape(
    mel=80, width=768, depth=18, heads=12, head_dim=64, mlp=1536, vocabulary=100_001, text=512, text_blocks=4,
    text_hidden=1024, text_kernel=7, position_kernel=31, position_groups=16, times=256, speaker=192, concat=0,
)  # fmt: skip
HIFT = replace(make_hift.SMALL, channels=(512, 256, 128, 64), f0_channels=512)


def test_the_flow() -> None:
    config = flow_config(make_flow.make_config(FLOW))
    with torch.device("meta"):
        shapes = own_shapes(Flow(config, FLOW, 192))
    assert flow_table(config, shapes) == shapes
    assert len(shapes) == 308
    assert sum(map(math.prod, shapes.values())) == 225_299_824


def test_the_vocoder() -> None:
    with torch.device("meta"):
        plain = own_shapes(HiFT(HiFTConfig(), HIFT))
    shapes = {}
    for name, shape in plain.items():
        gain, direction = make_hift.spelt(name, shape, "new")
        shapes |= {gain: (shape[0], 1, 1), direction: shape} if gain else {name: shape}
    assert hift_table(HiFTConfig(), shapes) == shapes
    assert len(shapes) == 328
    assert sum(map(math.prod, shapes.values())) == 20_821_295


def test_how_far_the_vocoder_sees() -> None:
    with torch.device("meta"):
        reach = HiFT(HiFTConfig(), HIFT).reach()
    assert (reach.before, reach.after, reach.leans) == (15, 15, False)
