"""Chunks of the flow: tokens may arrive in any pieces and in any company, what was given out never changes."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stream_server.models.glm_tts.chunks import Schedule
from stream_server.models.glm_tts.flow import Flow, Prompt, load_flow
from stream_server.models.glm_tts.flow_config import flow_config
from stream_server.models.glm_tts.flow_stream import REFERENCE_SEED, FlowStream, FlowVoice, Window
from stream_server.nn.noise import gaussian
from tests.models.glm_tts.make_flow import SMALL, make_config, make_tensors

STEPS = 3
SCHEDULE = Schedule((5,), (3,), growth=1.5, most=12, furthest=6)
WHOLE = Schedule((10_000,), (0,))
POINTWISE = replace(SMALL, text_blocks=0, text_hidden=0, text_kernel=1)  # features without neighbours
WAYS = {"computed again": (30, False), "kept": (30, True), "all of the past": (None, False)}


def flow_of(shape=SMALL, **settings) -> Flow:  # type: ignore[no-untyped-def]
    return load_flow(flow_config(make_config(shape, **settings)), make_tensors(shape))


@pytest.fixture(scope="module")
def flow() -> Flow:
    return flow_of()


def prompt_of(seed: int, tokens: int = 7, frames: int = 13) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    return Prompt(
        torch.randint(0, 64, (tokens,), generator=generator),
        torch.randn(frames, 80, generator=generator),
        torch.randn(192, generator=generator),
    )


def tokens_of(count: int, seed: int) -> Tensor:
    return torch.randint(0, 64, (count,), generator=torch.Generator().manual_seed(seed))


def noise_of(frames: int, reference: int, seed: int) -> Tensor:
    """By place, as streams draw it."""
    places = torch.arange(frames * 80).view(frames, 80)
    seeds = torch.full((frames, 1), seed)
    seeds[:reference] = REFERENCE_SEED
    return gaussian(seeds, places)


def at_once(stream: FlowStream, voice: FlowVoice, tokens: Tensor, seed: int) -> Tensor:
    state = stream.allocate(1)
    stream.reset(0, voice, seed, state)
    return torch.cat([torch.zeros(0, 80), *stream.decode([0], [tokens], [True], state)[0]])


def near(found: Tensor, wanted: Tensor, atol: float = 2e-5) -> None:
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0)


@pytest.mark.parametrize("settings", [{}, {"speech_token_cfg": True}])
def test_one_chunk_of_everything_is_the_whole(settings: dict[str, bool]) -> None:
    flow, prompt, tokens = flow_of(**settings), prompt_of(0), tokens_of(18, 1)
    stream = FlowStream(flow, WHOLE, STEPS)
    wanted = flow.sample(prompt, tokens, noise_of(50, 13, 5), STEPS).mel.T
    near(at_once(stream, stream.voice(prompt), tokens, 5), wanted)


def test_frames_are_whole_multiples_of_tokens_where_the_whole_falls_one_short(flow: Flow) -> None:
    stream, prompt = FlowStream(flow, SCHEDULE, STEPS), prompt_of(0, tokens=7, frames=13)
    assert flow.frames(29) == 57
    assert len(at_once(stream, stream.voice(prompt), tokens_of(22, 1), 5)) == 58 - 13


def test_chunks_take_the_states_their_past_took() -> None:
    """Where features have no neighbours nothing but the step cache is left, and that is the whole flow's own."""
    flow, prompt, tokens = flow_of(POINTWISE), prompt_of(0), tokens_of(14, 1)
    stream = FlowStream(flow, Schedule((5,), (3,)), STEPS, window=None)
    found = at_once(stream, stream.voice(prompt), tokens, 5)
    wanted, fixed = [], None
    for upto, lasting in ((8, 5), (13, 10), (14, 14)):
        frames = 2 * (7 + upto)
        whole = flow.sample(prompt, tokens[:upto], noise_of(frames, 13, 5), STEPS, fixed=fixed)
        begin = 0 if fixed is None else fixed.shape[1] - 13
        end = 2 * (7 + lasting)
        wanted.append(whole.mel.T[begin : end - 13])
        fixed = whole.states[:, :end]
    near(found, torch.cat(wanted))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_tokens_may_arrive_in_any_pieces_and_company(flow: Flow, way: str, together: bool) -> None:
    window, keep = WAYS[way]
    stream, rng = FlowStream(flow, SCHEDULE, STEPS, window, keep, together), random.Random(3)
    voices = {0: stream.voice(prompt_of(0)), 2: stream.voice(prompt_of(1, 20, 40)), 3: stream.voice(prompt_of(2))}
    tokens = {slot: tokens_of(count, slot) for slot, count in ((0, 45), (2, 31), (3, 60))}
    state, made = stream.allocate(4), {slot: [torch.zeros(0, 80)] for slot in voices}
    for slot, voice in voices.items():
        stream.reset(slot, voice, slot + 1, state)
    at, live = dict.fromkeys(voices, 0), list(voices)
    while live:
        here = rng.sample(live, rng.randint(1, len(live)))
        ends = {slot: min(at[slot] + rng.choice((0, 1, 4, 20)), len(tokens[slot])) for slot in here}
        pieces = [tokens[slot][at[slot] : ends[slot]] for slot in here]
        final = [ends[slot] == len(tokens[slot]) and rng.random() < 0.7 for slot in here]
        for slot, end, mels in zip(here, final, stream.decode(here, pieces, final, state)):
            at[slot] = ends[slot]
            made[slot] += mels
            if end:
                live.remove(slot)
    for slot, voice in voices.items():
        wanted = at_once(stream, voice, tokens[slot], slot + 1)
        near(torch.cat(made[slot]), wanted, 1e-4 if together else 0)
        assert len(wanted) == 2 * (len(voice.prompt.tokens) + len(tokens[slot])) - len(voice.prompt.mel)


@pytest.mark.parametrize("way", WAYS)
def test_a_second_request_is_as_the_first(flow: Flow, way: str) -> None:
    stream = FlowStream(flow, SCHEDULE, STEPS, *WAYS[way])
    voice, tokens = stream.voice(prompt_of(0)), tokens_of(40, 1)
    first = at_once(stream, voice, tokens, 5)
    at_once(stream, voice, tokens_of(33, 8), 6)
    assert torch.equal(at_once(stream, voice, tokens, 5), first)
    assert not torch.equal(at_once(stream, voice, tokens, 6), first)


@pytest.mark.parametrize("keep", [False, True])
def test_work_and_memory_do_not_grow_with_the_text(flow: Flow, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = FlowStream(flow, Schedule((5,), (3,)), 1, window=30, keep=keep)
    state, voice = stream.allocate(1), stream.voice(prompt_of(0))
    stream.reset(0, voice, 5, state)
    looked, kept = [], []
    embed = Window.embed

    def counting(self: Window, step: int) -> Tensor:
        made = embed(self, step)
        looked.append(made.shape[1])
        return made

    monkeypatch.setattr(Window, "embed", counting)
    for _ in range(60):
        stream.decode([0], [tokens_of(5, 1)], [False], state)
        past = state.rows[0].past
        kept.append(len(past.numbers) + sum(each.shape[3] for each in past.keys))
    new = 2 * (5 + 3)
    assert set(looked[20:]) == {new if keep else 13 + 30 + new}
    assert set(kept[20:]) == {30 + 30 if keep else 13 + 30 + 30 + 30}


@pytest.mark.parametrize("keep", [False, True])
def test_chunks_come_near_the_whole(flow: Flow, keep: bool) -> None:
    """Random networks look farther and less wisely than trained ones: only the order of size is asserted."""
    prompt, tokens = prompt_of(0, 40, 80), tokens_of(60, 1)
    stream = FlowStream(flow, Schedule((20,), (10,)), STEPS, window=100, keep=keep)
    wanted = flow.sample(prompt, tokens, noise_of(200, 80, 5), STEPS).mel.T
    found = at_once(stream, stream.voice(prompt), tokens, 5)
    other = at_once(stream, stream.voice(prompt), tokens, 6)
    assert (found - wanted).norm() < 0.25 * (other - wanted).norm()
    assert (found - wanted).norm() > 0


def test_a_mel_longer_than_its_tokens_loses_its_end(flow: Flow) -> None:
    stream = FlowStream(flow, SCHEDULE, STEPS)
    voice = stream.voice(prompt_of(0, tokens=5, frames=13))
    assert len(voice.prompt.mel) == 10
    assert len(at_once(stream, voice, tokens_of(4, 1), 1)) == 8


def test_nothing_to_say_is_nothing(flow: Flow) -> None:
    stream = FlowStream(flow, SCHEDULE, STEPS)
    assert at_once(stream, stream.voice(prompt_of(0)), tokens_of(0, 1), 1).shape == (0, 80)


@pytest.mark.parametrize("keep", [False, True])
def test_half_precision_keeps_the_states_of_the_steps(flow: Flow, keep: bool) -> None:
    coarse = load_flow(flow_config(make_config(SMALL)), make_tensors(SMALL), torch.bfloat16)
    stream, fine = (FlowStream(each, SCHEDULE, STEPS, 30, keep) for each in (coarse, flow))
    state, voice, tokens = stream.allocate(1), stream.voice(prompt_of(0)), tokens_of(30, 1)
    stream.reset(0, voice, 5, state)
    pieces = stream.decode([0], [tokens], [False], state)[0]
    assert pieces[0].dtype == state.rows[0].past.states.dtype == torch.float32
    found = torch.cat(pieces + stream.decode([0], [tokens[:0]], [True], state)[0])
    assert not state.rows
    wanted = at_once(fine, fine.voice(prompt_of(0)), tokens, 5)
    assert (found - wanted).norm() < 0.1 * wanted.norm()
    assert stream.kept_bytes == fine.kept_bytes / 2
