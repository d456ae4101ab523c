"""Flow and vocoder behind each other: however tokens arrive, the same samples, as many as there are frames."""

import random

import torch
from torch import Tensor

from stream_server.models.glm_tts.chunks import schedule
from stream_server.models.glm_tts.flow import load_flow
from stream_server.models.glm_tts.flow_config import flow_config
from stream_server.models.glm_tts.flow_stream import FlowStream
from stream_server.models.glm_tts.hift import load_hift
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.models.glm_tts.hift_stream import HiFTStream
from tests.models.glm_tts import make_flow, make_hift
from tests.models.glm_tts.test_flow_stream import prompt_of, tokens_of

ROUNDING = 1e-3  # a mel's last bit moves F0, and F0 the phases


class Speaker:
    def __init__(self) -> None:
        settings = flow_config(make_flow.make_config(make_flow.SMALL))
        flow = load_flow(settings, make_flow.make_tensors(make_flow.SMALL))
        self.flow = FlowStream(flow, schedule("early"), 3, window=60, keep=True)
        self.hift = HiFTStream(load_hift(HiFTConfig(), make_hift.make_tensors()), trim=2)
        self.mels, self.sounds = self.flow.allocate(1), self.hift.allocate(1)

    def begin(self, seed: int) -> None:
        self.flow.reset(0, self.flow.voice(prompt_of(0)), seed, self.mels)
        self.hift.reset(0, seed, self.sounds)

    def say(self, tokens: Tensor, final: bool) -> Tensor:
        mels = self.flow.decode([0], [tokens], [final], self.mels)
        return self.hift.decode([0], [torch.cat([torch.zeros(0, 80), *mels[0]])], [final], self.sounds)[0]


def test_tokens_in_any_pieces_are_the_same_sound() -> None:
    speaker, tokens, rng = Speaker(), tokens_of(70, 1), random.Random(0)
    speaker.begin(5)
    whole = speaker.say(tokens, True)
    assert len(whole) == 480 * (2 * (7 + 70) - 13)
    speaker.begin(5)
    pieces, at, first = [], 0, None
    while at < 70:
        size = rng.choice((1, 1, 3))
        pieces.append(speaker.say(tokens[at : at + size], False))
        at += size
        first = at if first is None and len(pieces[-1]) else first
    pieces.append(speaker.say(tokens[70:], True))
    torch.testing.assert_close(torch.cat(pieces), whole, atol=ROUNDING, rtol=0)
    plan = schedule("early").plan(0)
    assert first is not None and plan.most + plan.lookahead <= first < plan.most + plan.lookahead + 3
