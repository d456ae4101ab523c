"""The vocoder against the original's numbers, at other shapes against the plain one, cut anywhere and in company."""

import random
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.hift import HiFT, HiFTShape, load_hift
from stream_server.models.glm_tts.hift_config import HiFTConfig, hift_config, read_hift_config
from stream_server.models.glm_tts.hift_stream import HiFTStream
from stream_server.nn.noise import gaussian
from tests.models.glm_tts import plain_hift
from tests.models.glm_tts.make_hift import SMALL, make_hift, make_tensors

GOLDEN = Path(__file__).parent / "golden/hift"
CUT = 1e-5  # of full scale
FUSED = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # as the machine that made the golden numbers


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {name: torch.from_numpy(each) for name, each in np.load(GOLDEN / "golden.npz").items()}


@pytest.fixture(scope="module")
def hift() -> HiFT:
    return load_hift(read_hift_config(GOLDEN / "config.json"), load_file(GOLDEN / "model.safetensors"))


def near(found: Tensor, wanted: Tensor, atol: float) -> None:
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0)


@torch.inference_mode()
def test_the_golden_numbers(hift: HiFT, golden: dict[str, Tensor]) -> None:
    mel = golden["mel"][None]
    near(hift.f0_predictor(mel)[0], golden["f0"], 4e-3)
    made = hift.source(golden["f0"][None], golden["sine_noise"][None], as_trained=True)
    near(made[0], golden["source"], 1e-6 if FUSED else 3e-4)
    radians = hift.m_source.phases_as_trained(golden["f0"][None])[0].flatten(0, 1)
    sines = 0.1 * radians.sin() * golden["uv"][:, None] + 0.003 * golden["sine_noise"]
    near(sines[:, 0], golden["sine_waves_harm0"], 1e-6 if FUSED else 3e-4)
    source = golden["source"][None]
    near(hift.spectrum(source)[0, :, :64], golden["source_stft"], 1e-5)
    near(hift.conv_pre(mel)[0], golden["conv_pre_out"], 1e-4)
    near(hift.decode(mel, source)[0], golden["wav"], 4e-5)
    near(hift.decode(mel, golden["source_with_cached_source"][None])[0], golden["wav_with_cached_source"], 4e-5)


def test_from_mel_to_sound(hift: HiFT, golden: dict[str, Tensor]) -> None:
    """In float32 and in float64, F0 is 2e-4 of 350 Hz beside what the original's machine rounded it to, which moves the
    phases of a voice this loud by more than the decoder's rounding."""
    mel, noise = golden["mel"].T[None], golden["sine_noise"][None]
    near(hift.speak(mel, noise, as_trained=True)[0], golden["wav"], 2e-3)
    near(hift.speak(mel, noise)[0], golden["wav"], 2e-3)


class SummedAsThere(TorchFunctionMode):
    """Products are summed in the order that the machine had which made the golden numbers: from the first input on,
    each product and its sum rounded once; 192 at a time, or halves of fewer than twice as many; of a single output,
    each product and each sum rounded."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Tensor, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear:
            x, weight, bias = args
            return in_turn(weight, x[0].T, fused=False).T[None] + bias
        if func is torch.conv1d:
            x, weight, bias = args[:3]
            kernel = weight.shape[2]
            inputs = F.unfold(x[:, :, None], (1, kernel), padding=(0, kernel // 2))[0]
            weight, most = weight.flatten(1), 192
            part = most if not most < len(inputs) < 2 * most else len(inputs) // 2
            sums = [in_turn(*each, fused=True) for each in zip(weight.split(part, 1), inputs.split(part))]
            return reduce(torch.add, sums, bias[:, None])[None]
        return func(*args, **(kwargs or {}))


def in_turn(weight: Tensor, inputs: Tensor, fused: bool) -> Tensor:
    """[M, K] and [K, N] → [M, N], K after K."""
    found = inputs.new_zeros(len(weight), inputs.shape[1])
    for left, right in zip(weight.T[:, :, None], inputs):
        found = (found.double() + left.double() * right.double()).float() if fused else found + left * right
    return found


@pytest.mark.skipif(
    not FUSED, reason="this machine's vectors round otherwise than those of the golden numbers' machine"
)
def test_from_mel_to_sound_summed_as_the_original_was(hift: HiFT, golden: dict[str, Tensor]) -> None:
    mel, noise = golden["mel"].T[None], golden["sine_noise"][None]
    with torch.inference_mode(), SummedAsThere():
        f0 = hift.f0_predictor.as_trained(mel.mT)
        assert torch.equal(hift.conv_pre(mel.mT)[0], golden["conv_pre_out"])
    assert torch.equal(f0[0], golden["f0"])
    source = hift.source(f0, noise, as_trained=True)
    near(hift.decode(mel.mT, source)[0], golden["wav"], 4e-5)


ODD = HiFTConfig(
    sampling_rate=16_000, upsample_rates=(4, 3), istft_hop=2, resblock_dilation_sizes=((1, 2), (1, 4)),
    source_resblock_dilation_sizes=((1, 3), (2,)), nsf_voiced_threshold=200, lrelu_slope=0.2, audio_limit=0.5,
)  # fmt: skip
SHAPES: dict[str, tuple[HiFTShape, HiFTConfig]] = {
    "small": (SMALL, HiFTConfig()),
    "two stages": (
        HiFTShape(mel=20, channels=(24, 12, 8), pre_kernel=5, post_kernel=3, up_kernels=(8, 7), kernels=(3, 5),
                  source_kernels=(3, 5), down=((6, 3), (1, 1)), n_fft=8, harmonics=4, f0_channels=8, f0_kernel=3),
        ODD,
    ),
    "four stages": (
        replace(SMALL, channels=(32, 16, 8, 8, 4), up_kernels=(8, 5, 4, 4), source_kernels=(3, 3, 3, 3),
                down=((24, 12), (8, 4), (4, 2), (1, 1)), n_fft=8, f0_kernel=5),
        HiFTConfig(upsample_rates=(4, 3, 2, 2), istft_hop=2, source_resblock_dilation_sizes=((1,),) * 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("spelling", ["new", "old"])
@pytest.mark.parametrize("name", SHAPES)
@torch.inference_mode()
def test_other_shapes(name: str, spelling: str) -> None:
    shape, config = SHAPES[name]
    tensors = make_tensors(shape, config, seed=1, spelling=spelling)
    hift = load_hift(config, tensors)
    assert hift.shape == shape
    mel = torch.randn(5, shape.mel, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(5 * config.hop, shape.harmonics, generator=torch.Generator().manual_seed(3))
    f0 = plain_hift.pitch(tensors, mel.T)
    near(hift.f0_predictor(mel.T[None])[0], f0, 1e-2)
    source = plain_hift.source(tensors, config, f0, noise)
    near(hift.source(f0[None], noise[None])[0], source, 1e-4)
    near(hift.source(f0[None], noise[None], as_trained=True)[0], source, 1e-3)
    wanted = plain_hift.decode(tensors, config, mel.T, source)
    near(hift.decode(mel.T[None], source[None])[0], wanted, 4e-5)
    assert wanted.abs().max() > 0.05


def whole_of(hift: HiFT, mel: Tensor, seed: int) -> Tensor:
    harmonics = hift.shape.harmonics
    numbers = torch.arange(len(mel) * hift.hop * harmonics)
    return hift.speak(mel[None], gaussian(torch.tensor(seed), numbers).view(1, -1, harmonics))[0]


def mel_of(length: int, channels: int, seed: int) -> Tensor:
    return torch.randn(length, channels, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", SHAPES)
def test_cut_anywhere(name: str, seed: int) -> None:
    shape, config = SHAPES[name]
    hift, rng = load_hift(config, make_tensors(shape, config)), random.Random(seed)
    stream = HiFTStream(hift)
    mel, state = mel_of(70, shape.mel, seed), stream.allocate(2)
    stream.reset(1, seed, state)
    pieces, at = [], 0
    while at < 70:
        size = min(rng.choice((0, 1, 2, 5, 12, 30)), 70 - at)
        pieces += stream.decode([1], [mel[at : at + size]], [False], state)
        at += size
        assert sum(map(len, pieces)) == max(0, at - stream.hold) * hift.hop
    pieces += stream.decode([1], [mel[70:]], [True], state)
    near(torch.cat(pieces), whole_of(hift, mel, seed), CUT)


def test_the_golden_voice_cut(hift: HiFT, golden: dict[str, Tensor]) -> None:
    stream, mel = HiFTStream(hift), golden["mel"].T.repeat(3, 1)
    state = stream.allocate(1)
    stream.reset(0, 7, state)
    pieces = [stream.decode([0], [mel[at : at + 7]], [at + 7 >= 60], state)[0] for at in range(0, 60, 7)]
    near(torch.cat(pieces), whole_of(hift, mel, 7), CUT)


def test_no_frame_beyond_the_reach_matters_and_the_last_within_it_does(hift: HiFT) -> None:
    """What is held back is as little as exactness allows; seen in float64, where nothing is rounded away."""
    exact = load_hift(hift.config, load_file(GOLDEN / "model.safetensors")).double()
    hold, at = HiFTStream(exact).hold, 20
    generator = torch.Generator().manual_seed(0)
    mel = torch.randn(1, 45, 80, generator=generator, dtype=torch.float64)
    noise = torch.randn(1, 45 * 480, 9, generator=generator, dtype=torch.float64)

    def gap(ahead: int) -> float:
        other = mel.clone()
        other[:, at + ahead :] += 5
        moved = exact.speak(other, noise) - exact.speak(mel, noise)
        return moved[0, : (at + 1) * 480].abs().max().item()

    assert hold == 20
    assert gap(hold + 1) == 0 < gap(hold)
    assert gap(hold - 1) < 1e-7 < gap(hold - 3)  # so two frames may be trimmed


def test_trimmed(hift: HiFT) -> None:
    stream, mel = HiFTStream(hift, trim=2), mel_of(60, 80, 0)
    state = stream.allocate(1)
    stream.reset(0, 7, state)
    pieces = [stream.decode([0], [mel[at : at + 4]], [at + 4 == 60], state)[0] for at in range(0, 60, 4)]
    assert stream.hold == 18 and len(pieces[4]) == 2 * 480
    near(torch.cat(pieces), whole_of(hift, mel, 7), CUT)


@pytest.mark.parametrize("together", [False, True])
def test_alone_or_in_company(together: bool) -> None:
    hift, rng = load_hift(HiFTConfig(), make_tensors()), random.Random(4)
    stream = HiFTStream(hift, together=together)
    state = stream.allocate(4)
    mels = {slot: mel_of(length, 80, slot) for slot, length in ((0, 70), (1, 64), (3, 40))}
    at, sounds = dict.fromkeys(mels, 0), {slot: [torch.zeros(0)] for slot in mels}
    for slot in mels:
        stream.reset(slot, slot + 10, state)
    live = list(mels)
    while live:
        here = rng.sample(live, rng.randint(1, len(live)))
        sizes = [rng.choice((6, 6, 17)) for _ in here]
        pieces = [mels[slot][at[slot] : at[slot] + size] for slot, size in zip(here, sizes)]
        ends = [at[slot] + size >= len(mels[slot]) for slot, size in zip(here, sizes)]
        for slot, size, end, sound in zip(here, sizes, ends, stream.decode(here, pieces, ends, state)):
            at[slot] += size
            sounds[slot].append(sound)
            if end:
                live.remove(slot)
    for slot, mel in mels.items():
        near(torch.cat(sounds[slot]), whole_of(hift, mel, slot + 10), CUT)


def test_cut_at_the_same_places_company_moves_no_bit() -> None:
    stream = HiFTStream(load_hift(HiFTConfig(), make_tensors()))
    mels, state = {slot: mel_of(60, 80, slot) for slot in range(3)}, stream.allocate(3)
    sounds: list[dict[int, Tensor]] = []
    for groups in ([[0], [1], [2]], [[2, 0, 1]]):
        sounds.append({slot: torch.zeros(0) for slot in mels})
        for slots in groups:
            for slot in slots:
                stream.reset(slot, slot, state)
            for at in range(0, 60, 12):
                pieces = [mels[slot][at : at + 12] for slot in slots]
                for slot, sound in zip(slots, stream.decode(slots, pieces, [at == 48] * len(slots), state)):
                    sounds[-1][slot] = torch.cat([sounds[-1][slot], sound])
    assert all(torch.equal(sounds[0][slot], sounds[1][slot]) for slot in mels)


def test_a_slot_used_again_remembers_nothing() -> None:
    stream = HiFTStream(load_hift(HiFTConfig(), make_tensors()))
    state, mel = stream.allocate(1), mel_of(30, 80, 0)
    takes = []
    for _ in range(2):
        stream.reset(0, 3, state)
        takes.append(stream.decode([0], [mel], [True], state)[0])
        stream.decode([0], [mel_of(50, 80, 1)], [False], state)
    assert torch.equal(*takes)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    make_hift(tmp_path)
    config, tensors = read_hift_config(tmp_path / "config.json"), load_file(tmp_path / "model.safetensors")
    assert config == HiFTConfig() and load_hift(config, tensors).shape == SMALL
    with pytest.raises(ConfigError, match=r"lacks ups.1.bias"):
        load_hift(config, {name: each for name, each in tensors.items() if name != "ups.1.bias"})
    with pytest.raises(ConfigError, match=r"unknown extra"):
        load_hift(config, tensors | {"extra": torch.zeros(1)})
    with pytest.raises(ConfigError, match="upsample_rates"):
        load_hift(replace(config, upsample_rates=(7, 5, 3)), tensors)
    with pytest.raises(ConfigError, match="nsf_sigma"):
        hift_config({"hift": {"nsf_sigma": "loud"}})
    with pytest.raises(ConfigError, match=r"lacks ups.0"):
        load_hift(config, {n: e for n, e in tensors.items() if n != "ups.0.parametrizations.weight.original1"})
