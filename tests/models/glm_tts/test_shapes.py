"""Networks of shapes drawn at random against the plain ones beside this file: nothing is fixed but what must be."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor

from stream_server.models.glm_tts import lm as glm
from stream_server.models.glm_tts.dit import DiTShape
from stream_server.models.glm_tts.flow import Prompt, load_flow
from stream_server.models.glm_tts.flow_config import flow_config
from stream_server.models.glm_tts.hift import HiFTShape, load_hift
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.models.glm_tts.hift_stream import HiFTStream
from stream_server.models.glm_tts.speech_tokenizer import load_speech_tokenizer
from stream_server.nn.noise import gaussian
from tests.models.glm_tts import make_flow, make_hift, plain_flow, plain_hift, plain_speech_tokenizer
from tests.models.glm_tts.make_lm import make_lm
from tests.models.glm_tts.make_speech_tokenizer import make_speech_tokenizer
from tests.models.glm_tts.plain_lm import PlainLM
from tests.models.glm_tts.test_lm import follow

SEEDS = range(4)
TRAP = (29, 57, 58, 113, 114, 115, 116)  # tokens of which the release makes a frame less than two each


def near(found: Tensor, wanted: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found, wanted, atol=atol, rtol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
@torch.inference_mode()
def test_the_language_model(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    kv_heads = rng.randint(1, 3)
    tokens = make_lm(
        tmp_path,
        width=rng.randint(5, 40),
        layers=rng.randint(1, 3),
        heads=kv_heads * rng.randint(1, 4),
        kv_heads=kv_heads,
        head_dim=2 * rng.randint(1, 12),
        hidden=rng.randint(3, 60),
        codes=rng.randint(2, 90),
        text=rng.randint(5, 50),
        theta=rng.choice((100.0, 10_000.0, 5e5)),
        eps=rng.choice((1e-6, 1e-5, 1e-3)),
        tied=rng.choice((True, False, None)),
        shards=rng.randint(1, 3),
        prefix=rng.choice(("", "llama.")),
        seed=seed,
    )
    lm, plain = glm.load(tmp_path, tokens), PlainLM(tmp_path)
    ids = [rng.randrange(tokens.last + 1) for _ in range(90)]
    wanted = plain.logits(ids)[79:, [*range(tokens.first, tokens.last + 1), tokens.stop]]
    near(follow(lm, ids[:80], ids[80:], 1, lm.allocate(3)), wanted)


def flow_shape(rng: Random) -> DiTShape:
    groups, blocks = rng.randint(1, 4), rng.randint(0, 3)
    return DiTShape(
        mel=rng.randint(3, 30),
        width=groups * rng.randint(3, 9),
        depth=rng.randint(1, 3),
        heads=rng.randint(1, 4),
        head_dim=2 * rng.randint(1, 8),
        mlp=rng.randint(5, 50),
        vocabulary=rng.randint(3, 50),
        text=2 * rng.randint(2, 12),
        text_blocks=blocks,
        text_hidden=rng.randint(3, 30) if blocks else 0,
        text_kernel=rng.choice((1, 3, 5, 9)) if blocks else 1,
        position_kernel=rng.choice((1, 3, 7, 21)),
        position_groups=groups,
        times=2 * rng.randint(2, 20),
        speaker=rng.choice((0, 7, 33)),
        concat=rng.choice((0, 5, 12)),
    )


@pytest.mark.parametrize("seed", range(8))
def test_the_flow(seed: int) -> None:
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    shape, token_cfg, cosine = flow_shape(rng), rng.random() < 0.5, rng.random() < 0.5
    settings = {
        "speech_token_cfg": token_cfg,
        "t_scheduler": "cosine" if cosine else "linear",
        "inference_cfg_rate": rng.choice((0.0, 0.7, 2.5)),
        "input_frame_rate": rng.choice((12.5, 25)),
        "mel_framerate": rng.choice((50, 75, 100)),
    }
    tensors = make_flow.make_tensors(shape, seed)
    tensors["estimator.rotary_embed.inv_freq"] = torch.rand(shape.head_dim // 2, generator=generator)
    flow = load_flow(flow_config(make_flow.make_config(shape, **settings)), tensors)
    assert flow.shape == shape
    ids = torch.randint(0, shape.vocabulary, (17,), generator=generator)
    mel = torch.randn(9, shape.mel, generator=generator)
    speaker = torch.randn(shape.speaker or 192, generator=generator)
    noise = torch.randn(flow.frames(17), shape.mel, generator=generator)
    found = flow.sample(Prompt(ids[:5], mel, speaker), ids[5:], noise, 3).mel
    wanted = plain_flow.sample(
        tensors, ids[:5].tolist(), ids[5:].tolist(), mel, speaker, noise, 3, settings["inference_cfg_rate"],
        token_cfg, cosine,
    )  # fmt: skip
    near(found, wanted[9:].T)


@pytest.mark.parametrize("tokens", TRAP)
def test_the_flow_where_frames_fall_one_short(tokens: int) -> None:
    shape = replace(make_flow.SMALL, width=32, depth=1, heads=2, head_dim=4, mlp=16, text_blocks=1, mel=6)
    generator = torch.Generator().manual_seed(tokens)
    tensors = make_flow.make_tensors(shape)
    flow = load_flow(flow_config(make_flow.make_config(shape)), tensors)
    assert flow.frames(tokens) == 2 * tokens - 1
    ids = torch.randint(0, shape.vocabulary, (tokens,), generator=generator)
    mel, speaker = torch.randn(7, shape.mel, generator=generator), torch.randn(192, generator=generator)
    noise = torch.randn(2 * tokens - 1, shape.mel, generator=generator)
    found = flow.sample(Prompt(ids[:4], mel, speaker), ids[4:], noise, 1).mel
    near(found, plain_flow.sample(tensors, ids[:4].tolist(), ids[4:].tolist(), mel, speaker, noise, 1, 0.7)[7:].T)


def hift_shape(rng: Random) -> tuple[HiFTShape, HiFTConfig]:
    stages, kernels = rng.randint(1, 3), rng.randint(1, 3)
    rates = tuple(rng.randint(2, 5) for _ in range(stages))
    strides = [int(np.prod(rates[stage + 1 :])) for stage in range(stages)]
    hop = rng.randint(1, 4)

    def dilations(count: int) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(rng.randint(1, 5) for _ in range(rng.randint(1, 3))) for _ in range(count))

    config = HiFTConfig(
        sampling_rate=rng.choice((8_000, 16_000, 24_000, 32_000)),
        upsample_rates=rates,
        istft_hop=hop,
        resblock_dilation_sizes=dilations(kernels),
        source_resblock_dilation_sizes=dilations(stages),
        nsf_alpha=rng.choice((0.1, 0.3)),
        nsf_sigma=rng.choice((0.003, 0.05)),
        nsf_voiced_threshold=rng.choice((10.0, 180.0)),
        lrelu_slope=rng.choice((0.1, 0.3)),
        audio_limit=rng.choice((0.99, 0.2)),
    )
    shape = HiFTShape(
        mel=rng.randint(3, 30),
        channels=tuple(rng.randint(3, 20) for _ in range(stages + 1)),
        pre_kernel=rng.choice((1, 3, 7)),
        post_kernel=rng.choice((1, 5, 7)),
        up_kernels=tuple(rate + 2 * rng.randint(0, 4) for rate in rates),
        kernels=tuple(rng.choice((3, 5, 7, 11)) for _ in range(kernels)),
        source_kernels=tuple(rng.choice((3, 7, 9)) for _ in range(stages)),
        down=tuple((2 * stride if stride > 1 else 1, stride) for stride in strides),
        n_fft=2 * hop * rng.randint(1, 4),
        harmonics=rng.randint(1, 6),
        f0_channels=rng.randint(2, 12),
        f0_kernel=rng.choice((1, 3, 5)),
        f0_layers=rng.choice((1, 3, 5)),
    )
    return shape, config


@pytest.mark.parametrize("seed", range(8))
@torch.inference_mode()
def test_the_vocoder(seed: int) -> None:
    rng, generator = Random(seed), torch.Generator().manual_seed(seed)
    shape, config = hift_shape(rng)
    tensors = make_hift.make_tensors(shape, config, seed, spelling=rng.choice(("new", "old")))
    hift = load_hift(config, tensors)
    assert hift.shape == shape
    frames = rng.randint(4, 9)
    mel = torch.randn(frames, shape.mel, generator=generator)
    noise = torch.randn(frames * config.hop, shape.harmonics, generator=generator)
    f0 = plain_hift.pitch(tensors, mel.T)
    near(hift.f0_predictor(mel.T[None])[0], f0, 1e-2)
    source = plain_hift.source(tensors, config, f0, noise)
    near(hift.source(f0[None], noise[None])[0], source)
    wanted = plain_hift.decode(tensors, config, mel.T, source)
    near(hift.decode(mel.T[None], source[None])[0], wanted)
    assert wanted.shape == (frames * config.hop,) and wanted.abs().max() > 1e-3


@pytest.mark.parametrize("seed", range(12))
def test_the_vocoder_cut_anywhere(seed: int) -> None:
    rng = Random(seed)
    shape, config = hift_shape(rng)
    tensors = make_hift.make_tensors(shape, config, seed)
    tensors["f0_predictor.classifier.weight"] *= 0.2  # harmonics stay below the rate, where a phase is what it seems
    hift = load_hift(config, tensors)
    stream, mel = HiFTStream(hift), torch.randn(60, shape.mel, generator=torch.Generator().manual_seed(seed))
    state = stream.allocate(1)
    stream.reset(0, seed, state)
    pieces, at = [], 0
    while at < 60:
        size = rng.choice((0, 1, 2, 7, 19))
        pieces += stream.decode([0], [mel[at : at + size]], [at + size >= 60], state)
        at += size
    numbers = torch.arange(60 * hift.hop * shape.harmonics)
    noise = gaussian(torch.tensor(seed), numbers).view(1, -1, shape.harmonics)
    near(torch.cat(pieces), hift.speak(mel[None], noise)[0], 2e-5)


@pytest.mark.parametrize("seed", SEEDS)
@torch.inference_mode()
def test_the_speech_tokenizer(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    heads, layers, pooling = rng.randint(1, 4), rng.randint(1, 4), rng.choice((1, 2, 3, 4))
    settings = {
        "d_model": heads * rng.randint(2, 8),
        "encoder_layers": layers + rng.randint(0, 2),
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": rng.randint(3, 40),
        "num_mel_bins": rng.randint(5, 90),
        "max_source_positions": 60,
        "pooling_kernel_size": pooling if pooling > 1 else None,
        "pooling_type": rng.choice(("avg", "max")),
        "pooling_position": rng.randint(1, layers) if pooling > 1 else None,
        "quantize_vocab_size": rng.randint(5, 70),
        "quantize_position": layers,
        "quantize_causal_block_size": rng.choice((None, 4, 12, 50)),
        "encoder_causal_convolution": rng.random() < 0.5,
    }
    tensors = make_speech_tokenizer(tmp_path, seed, **settings)
    tokenizer = load_speech_tokenizer(tmp_path)
    frames, valid = 60, 47
    picture = torch.randn(frames, settings["num_mel_bins"], generator=torch.Generator().manual_seed(seed))
    heard = torch.arange(frames) < valid
    found = tokenizer(picture[None], heard[None])[0]
    config = json.loads((tmp_path / "config.json").read_text())
    wanted = plain_speech_tokenizer.before_codebook(tensors, config, picture.double().numpy(), valid)
    count = int(tokenizer.pooled_mask(heard[None, ::2]).sum())
    near(found[:count], torch.from_numpy(wanted[:count]).float())
    rows = tensors["codebook.weight"].double().numpy()
    codes = plain_speech_tokenizer.nearest(rows, wanted[:count])
    assert tokenizer.nearest(found[:count]).tolist() == codes.tolist()
