"""The flow against the original's own numbers, and at other shapes against the plain one beside this file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.dit import shape_of
from stream_server.models.glm_tts.flow import Flow, Prompt, load_flow, mask_frames, visible_lengths
from stream_server.models.glm_tts.flow_config import flow_config, read_flow_config
from stream_server.nn.rope import rotate_pairs
from tests.models.glm_tts import plain_flow
from tests.models.glm_tts.make_flow import SMALL, make_config, make_flow, make_tensors

GOLDEN = Path(__file__).parent / "golden/flow"
CLOSE = 1.5e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return {name: torch.from_numpy(each) for name, each in np.load(GOLDEN / "golden.npz").items()}


@pytest.fixture(scope="module")
def flow() -> Flow:
    return load_flow(read_flow_config(GOLDEN / "config.json"), load_file(GOLDEN / "model.safetensors"))


@pytest.fixture(scope="module")
def prompt(golden: dict[str, Tensor]) -> Prompt:
    return Prompt(golden["prompt_token"], golden["prompt_feat"], golden["embedding"])


def near(found: Tensor, wanted: Tensor, atol: float = CLOSE) -> None:
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0)


@torch.inference_mode()
def test_intermediate_values(flow: Flow, golden: dict[str, Tensor], prompt: Prompt) -> None:
    every = torch.cat([prompt.tokens, golden["token"]])
    near(flow.estimator.time_embed(torch.tensor([0.3]))[0], golden["time_emb_t0p3"])
    near(flow.features(flow.stretch(every, 86))[0], golden["text_emb"])
    near(flow.times(10), golden["t_span_cosine_10"], atol=1e-7)
    near(rotate_pairs(golden["rope_in"], *flow.estimator.rotation(torch.arange(6))), golden["rope_out"], atol=1e-6)


@torch.inference_mode()
def test_one_pass_with_and_without_the_condition(flow: Flow, golden: dict[str, Tensor], prompt: Prompt) -> None:
    mel = torch.zeros(86, 80)
    mel[:25] = prompt.mel
    unit = torch.nn.functional.normalize(prompt.speaker, dim=0)
    told = flow.estimator.modulation(torch.tensor([0.3, 0.3]), torch.stack([unit, torch.zeros(192)]))
    features = flow.features(flow.stretch(torch.cat([prompt.tokens, golden["token"]]), 86))
    x = flow.estimator.embed(golden["est_x"].expand(2, -1, -1), flow.condition(mel, prompt.speaker), features)
    found, _ = flow.estimator.velocity(x, told, flow.estimator.rotation(torch.arange(86)))
    near(found, torch.stack([golden["est_cond_out"], golden["est_uncond_out"]]))


@pytest.mark.parametrize(
    ("name", "steps", "token_cfg"),
    [("offline_mel_n10", 10, False), ("offline_mel_n4", 4, False), ("offline_mel_tokencfg", 10, True)],
)
def test_whole(golden: dict[str, Tensor], prompt: Prompt, name: str, steps: int, token_cfg: bool) -> None:
    config = replace(read_flow_config(GOLDEN / "config.json"), token_cfg=token_cfg)
    flow = load_flow(config, load_file(GOLDEN / "model.safetensors"))
    found = flow.sample(prompt, golden["token"], golden["offline_noise"], steps)
    near(found.mel, golden[name])
    assert found.states.shape == (steps, 86, 80)


def test_the_block_mask(flow: Flow, golden: dict[str, Tensor], prompt: Prompt) -> None:
    pattern = golden["causal_pattern_tokens"].tolist()
    assert mask_frames(pattern) == golden["causal_block_frames"].tolist()
    visible = visible_lengths(pattern, 86)
    assert visible.tolist() == golden["causal_visible_len"].tolist()
    for name, first in (("", []), ("_prompt1", [1]), ("_prompt137", [137])):
        assert visible_lengths([*first, 25, 50, 200], 600).tolist() == golden["visible_default" + name].tolist()
    near(flow.sample(prompt, golden["token"], golden["causal_noise"], visible=visible).mel, golden["causal_mel"])


def test_the_step_cache(flow: Flow, golden: dict[str, Tensor], prompt: Prompt) -> None:
    visible = visible_lengths(golden["causal_pattern_tokens"].tolist(), 86)
    first = flow.sample(prompt, golden["token"][:12], golden["chunk1_noise"], visible=visible[:50].clamp(max=50))
    near(first.mel, golden["chunk1_mel"])
    fixed = first.states[:, : golden["chunk2_override_len"].item()]
    second = flow.sample(prompt, golden["token"], golden["chunk2_noise"], visible=visible, fixed=fixed)
    near(second.mel, golden["chunk2_mel"])
    assert torch.equal(second.states[:, : fixed.shape[1]], fixed)


def test_frames_are_counted_as_the_model_was_run(flow: Flow) -> None:
    short = [tokens for tokens in range(1, 200) if flow.frames(tokens) != 2 * tokens]
    assert short == [29, 57, 58, 113, 114, 115, 116]
    assert all(flow.frames(tokens) == 2 * tokens - 1 for tokens in short)
    assert flow.config.ratio == 2


SHAPES = {
    "small": SMALL,
    "one head, no text blocks": replace(SMALL, width=48, heads=1, head_dim=48, text_blocks=0, text_hidden=0,
                                        text_kernel=1, position_kernel=7, position_groups=4),
    "heads wider than the model": replace(SMALL, width=32, heads=3, head_dim=16, mlp=40, text_kernel=5, times=32),
    "speaker beside the mel": replace(SMALL, speaker=0, concat=20, depth=1),
    "both, and another mel": replace(SMALL, mel=20, concat=10, speaker=192, position_kernel=15),
}  # fmt: skip


@pytest.mark.parametrize("tokens", [5, 23])  # 28 and, one frame short, … 29 of 46
@pytest.mark.parametrize("name", SHAPES)
def test_other_shapes(name: str, tokens: int) -> None:
    shape, generator = SHAPES[name], torch.Generator().manual_seed(1)
    tensors = make_tensors(shape)
    settings = {"speech_token_cfg": tokens == 5, "t_scheduler": "linear" if tokens == 5 else "cosine"}
    flow = load_flow(flow_config(make_config(shape, **settings)), tensors)
    ids = torch.randint(0, shape.vocabulary, (6 + tokens,), generator=generator)
    mel, speaker = torch.randn(11, shape.mel, generator=generator), torch.randn(192, generator=generator)
    noise = torch.randn(flow.frames(6 + tokens), shape.mel, generator=generator)
    found = flow.sample(Prompt(ids[:6], mel, speaker), ids[6:], noise, 3).mel
    config = flow.config
    wanted = plain_flow.sample(
        tensors, ids[:6].tolist(), ids[6:].tolist(), mel, speaker, noise, 3, 0.7, config.token_cfg, tokens != 5
    )
    near(found, wanted[11:].T, atol=1e-4)
    assert noise.shape[0] == (22 if tokens == 5 else 57)


def test_a_prompt_longer_than_the_whole_gives_its_last_frames(golden: dict[str, Tensor], flow: Flow) -> None:
    mel = torch.randn(40, 80)
    noise = torch.randn(8, 80)
    long = flow.sample(Prompt(golden["token"][:2], mel, golden["embedding"]), golden["token"][2:4], noise, 2)
    cut = flow.sample(Prompt(golden["token"][:2], mel[-8:], golden["embedding"]), golden["token"][2:4], noise, 2)
    assert torch.equal(long.states, cut.states)


def test_the_release_s_yaml_is_read_without_building_anything(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "rate: 25\n"
        "flow: !new:flow.flow.Flow\n"
        "  input_frame_rate: !ref <rate>\n"
        "  mel_framerate: !ref <other[frames]>\n"
        "  spkr_emb_adaLN: true\n"
        "  remove_spkr_concat_condition: !!python/object/apply:builtins.bool [true]\n"
        "other: !apply:os.system\n"
        "  frames: 50\n"
    )
    with pytest.raises(ConfigError, match="remove_spkr_concat_condition"):
        read_flow_config(tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text().replace("!!python/object/apply:builtins.bool [true]", "true")
    (tmp_path / "config.yaml").write_text(text)
    config = read_flow_config(tmp_path / "config.yaml")
    assert (config.token_rate, config.mel_rate, config.steps, config.cfg_rate) == (25, 50, 10, 0.7)
    assert config.speaker_modulates and config.speaker_removed and config.token_cfg


def test_a_made_checkpoint_is_read_back(tmp_path: Path) -> None:
    make_flow(tmp_path)
    flow = load_flow(read_flow_config(tmp_path / "config.yaml"), load_file(tmp_path / "model.safetensors"))
    assert flow.shape == SMALL


def test_what_does_not_fit_is_named() -> None:
    tensors = make_tensors(SMALL)
    config = flow_config(make_config(SMALL))
    lacking = {name: each for name, each in tensors.items() if "to_k.bias" not in name}
    with pytest.raises(ConfigError, match=r"lacks estimator.transformer_blocks.0.attn.to_k.bias"):
        load_flow(config, lacking)
    with pytest.raises(ConfigError, match=r"has unknown estimator.extra"):
        load_flow(config, tensors | {"estimator.extra": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r"another shape estimator.proj_out.bias|another shape .*proj_out"):
        load_flow(config, tensors | {"estimator.proj_out.weight": torch.zeros(3, 64)})
    with pytest.raises(ConfigError, match="heads is 7"):
        load_flow(flow_config(make_config(SMALL) | {"dit": {"heads": 7}}), tensors)
    with pytest.raises(ConfigError, match="remove_spkr_concat_condition"):
        load_flow(flow_config(make_config(SMALL, remove_spkr_concat_condition=False)), tensors)
    with pytest.raises(ConfigError, match=r"lacks estimator.proj_out.weight"):
        shape_of({})


@pytest.mark.parametrize(
    ("key", "value"), [("mel_framerate", None), ("input_frame_rate", "25"), ("t_scheduler", "sine"), ("n_timesteps", 0)]
)
def test_a_bad_setting_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        flow_config(make_config(SMALL, **{key: value}))


def test_half_precision_keeps_the_state_of_the_steps(golden: dict[str, Tensor], prompt: Prompt) -> None:
    config, tensors = read_flow_config(GOLDEN / "config.json"), load_file(GOLDEN / "model.safetensors")
    flow = load_flow(config, tensors, torch.bfloat16)
    found = flow.sample(prompt, golden["token"], golden["offline_noise"])
    assert found.states.dtype == torch.float32 and found.mel.dtype == torch.float32
    assert flow.estimator.rotary_embed.inv_freq.dtype == torch.float32
    wanted = golden["offline_mel_n10"]
    assert (found.mel - wanted).norm() < 0.05 * wanted.norm()
