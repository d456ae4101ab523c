"""A mel at another pace: whole, cut anywhere and in company the same; the pitch goes with the place."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from stream_server.engine.messages import Controls
from stream_server.models.glm_tts.flow import load_flow
from stream_server.models.glm_tts.flow_config import flow_config
from stream_server.models.glm_tts.hift import HiFT, load_hift
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.models.glm_tts.hift_stream import HiFTStream
from stream_server.models.glm_tts.pace import Pace
from stream_server.models.glm_tts.vocoder import GLMVocoder, VocoderState
from stream_server.models.glm_tts.voice import Voice
from tests.models.glm_tts import make_flow, make_hift

SPEEDS = (0.5, 0.73, 1.0, 1.37, 2.0)
CODES = 13  # of the voice, and a frame fewer than they have: its first is heard before the text
LEAD = 1
PACE = Pace()


def mel_of(length: int, seed: int = 0) -> Tensor:
    return torch.randn(length, 80, generator=torch.Generator().manual_seed(seed))


def walked(mel: Tensor, speed: float, cuts: tuple[int, ...] = ()) -> Tensor:
    state = PACE.allocate(2, mel)
    PACE.reset(1, speed, state)
    edges = [0, *cuts, len(mel)]
    pieces = [PACE.walk(1, mel[a:b], False, state)[0] for a, b in pairwise(edges)]
    return torch.cat([*pieces, PACE.walk(1, mel[:0], True, state)[0]])


@pytest.mark.parametrize("speed", SPEEDS)
def test_as_long_as_the_speed_says_and_on_the_line_between_frames(speed: float) -> None:
    ramp = torch.arange(100.0)[:, None].expand(-1, 80)
    found = walked(ramp, speed)
    assert len(found) == -(-100 * 100 // round(speed * 100))
    wanted = (torch.arange(len(found)) * speed).clamp(max=99)[:, None].expand(-1, 80)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("speed", SPEEDS)
def test_cut_anywhere_to_the_bit(speed: float) -> None:
    mel, rng = mel_of(90), random.Random(round(speed * 100))
    whole = walked(mel, speed)
    for _ in range(5):
        cuts = tuple(sorted(rng.choices(range(91), k=rng.randint(1, 30))))
        assert torch.equal(walked(mel, speed, cuts), whole)


def test_at_speed_1_the_mel_itself() -> None:
    mel = mel_of(50)
    assert torch.equal(walked(mel, 1.0, (0, 1, 17)), mel)


def test_another_speed_holds_from_the_first_frame_not_walked_over() -> None:
    ramp = torch.arange(60.0)[:, None].expand(-1, 80)
    state = PACE.allocate(1, ramp)
    PACE.reset(0, 1.0, state)
    pieces = []
    for speed, piece in ((1.0, ramp[:20]), (0.5, ramp[20:30]), (1.0, ramp[30:40]), (1.25, ramp[40:])):
        PACE.set_speed(0, speed, state)
        pieces.append(PACE.walk(0, piece, len(piece) == 20 and speed > 1, state)[0][:, 0])
    steps = torch.cat(pieces).diff()
    found = [round(float(step), 4) for step in steps]
    assert found == [1.0] * 20 + [0.5] * 19 + [1.0] * 10 + [1.25] * 15 + [0.75]  # the last frame is held


class Speaker:
    """The vocoder half of a checkpoint, with one voice."""

    def __init__(self) -> None:
        flow = load_flow(flow_config(make_flow.make_config(make_flow.SMALL)), make_flow.make_tensors(make_flow.SMALL))
        self.hift = load_hift(HiFTConfig(), make_hift.make_tensors())
        self.vocoder = GLMVocoder(flow, self.hift)
        random = torch.Generator().manual_seed(0)
        codes, speaker = torch.randint(0, 64, (CODES,), generator=random), torch.randn(192, generator=random)
        mel = torch.randn(2 * CODES - LEAD, 80, generator=random)
        self.vocoder.add_voice("one", Voice(torch.zeros(1, dtype=torch.int64), codes, mel, speaker))

    def begin(self, slot: int, state: VocoderState, speed: float, rate: int = 24_000, seed: int = 1) -> None:
        self.vocoder.reset(slot, Controls("one", seed=seed, speed=speed, sample_rate=rate), state)

    def say(
        self, codes: Tensor, speed: float, rate: int = 24_000, pieces: int = 3
    ) -> tuple[np.ndarray, list[tuple[int, int]]]:
        state = self.vocoder.allocate(1)
        self.begin(0, state, speed, rate)
        sounds, starts, given = [], [], 0
        for at in range(0, len(codes) + pieces, pieces):
            new = codes[at : at + pieces, None]
            (sound,) = self.vocoder.decode([0], [new], [at >= len(codes)], state)
            assert all(0 <= offset < len(sound.pcm) for _, offset in sound.starts)
            starts += [(token, given + offset) for token, offset in sound.starts]
            sounds.append(sound.pcm)
            given += len(sound.pcm)
        return np.concatenate(sounds), starts


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker()


def codes_of(count: int, seed: int) -> Tensor:
    return torch.randint(0, 64, (count,), generator=torch.Generator().manual_seed(seed))


def test_at_speed_1_the_sound_of_flow_and_vocoder_alone(speaker: Speaker) -> None:
    codes, seed = codes_of(33, 1), 1 ^ 0x5EED
    flow, hift = speaker.vocoder.flow, HiFTStream(speaker.hift, trim=2)
    mels, sounds = flow.allocate(1), hift.allocate(1)
    flow.reset(0, speaker.vocoder.voices["one"], seed, mels)
    hift.reset(0, seed, sounds)
    wanted = []
    for piece, end in ((codes[:19], False), (codes[19:], False), (codes[:0], True)):
        chunks = flow.decode([0], [piece], [end], mels)[0]
        wanted += [hift.decode([0], [mel], [end], sounds)[0] for mel in chunks]
    state = speaker.vocoder.allocate(1)
    speaker.begin(0, state, 1.0)
    found = [
        speaker.vocoder.decode([0], [piece[:, None]], [end], state)[0].pcm
        for piece, end in ((codes[:19], False), (codes[19:], False), (codes[:0], True))
    ]
    np.testing.assert_array_equal(np.concatenate(found), torch.cat(wanted).numpy())


@pytest.mark.parametrize("rate", [24_000, 32_000])
@pytest.mark.parametrize("speed", [0.5, 1.0, 1.37, 2.0])
def test_length_and_every_token_s_place(speaker: Speaker, speed: float, rate: int) -> None:
    pcm, starts = speaker.say(codes_of(40, 2), speed, rate)
    frames, frame = 2 * 40 + LEAD, rate / 50
    assert abs(len(pcm) - frames * frame / speed) <= frame
    assert [token for token, _ in starts] == list(range(40))
    for token, place in starts:
        assert 0 <= place - (LEAD + 2 * token) * frame / speed < frame


def test_in_company_of_other_speeds(speaker: Speaker) -> None:
    speeds = {0: 0.5, 1: 1.0, 2: 1.37, 3: 1.37}
    codes = {slot: codes_of(24, slot) for slot in speeds}
    state = speaker.vocoder.allocate(4)
    for slot, speed in speeds.items():
        speaker.begin(slot, state, speed)
    together = speaker.vocoder.decode(list(codes), [each[:, None] for each in codes.values()], [True] * 4, state)
    for slot, speed in speeds.items():
        alone, _ = speaker.say(codes[slot], speed, pieces=24)
        np.testing.assert_array_equal(together[slot].pcm, alone)


def f0_of(hift: HiFT, mel: Tensor) -> Tensor:
    with torch.inference_mode():
        return hift.f0_predictor(mel.mT[None])[0]


@pytest.mark.parametrize("speed", [0.5, 0.8, 1.25, 2.0])
def test_the_pitch_is_that_of_the_place_at_any_pace(speaker: Speaker, speed: float) -> None:
    """A voice gliding from one frame's pitch to another's, as slow as speech that is drawn out."""
    one, other = 4 * mel_of(2, seed=3)
    part = torch.linspace(0, 1, 200)[:, None]
    mel = one * (1 - part) + other * part
    was, found = f0_of(speaker.hift, mel), f0_of(speaker.hift, walked(mel, speed))
    inner = slice(10, len(found) - 10)
    wanted = was[(torch.arange(len(found)) * speed).round().long().clamp(max=199)]
    assert was[10:190].max() > 1.05 * was[10:190].min()  # it does glide
    assert ((found / wanted)[inner] - 1).abs().max() < 0.01
