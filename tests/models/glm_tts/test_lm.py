"""The language model beside the original's numbers and beside a plain one of any shape; alone and in company."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from stream_server.errors import ConfigError, TextTooLong
from stream_server.models.glm_tts import lm as glm
from stream_server.models.glm_tts.config import SpeechTokens
from stream_server.models.glm_tts.lm import PIECE, SpeechLM, lengths, read_blocks
from stream_server.models.glm_tts.sampling import Draw, choose
from stream_server.models.glm_tts.weights import Checkpoint
from stream_server.nn.decode_step import DecodeStep
from stream_server.nn.kv_cache import KVCache
from stream_server.nn.norm import RMSNorm
from tests.models.glm_tts.make_lm import make_lm
from tests.models.glm_tts.plain_lm import PlainLM

GOLDEN = Path(__file__).parent / "golden" / "lm"
TOLERANCE = 3e-4
SHAPES = [
    {},
    {"width": 32, "heads": 4, "kv_heads": 1, "layers": 3, "theta": 500.0},
    {"width": 40, "heads": 6, "kv_heads": 3, "head_dim": 10, "hidden": 33, "tied": False},
    {"width": 24, "heads": 3, "kv_heads": 3, "head_dim": 32, "layers": 1, "eps": 1e-2, "tied": None},
    {"width": 64, "heads": 8, "kv_heads": 2, "theta": 1e6, "codes": 300, "shards": 3, "prefix": "llama."},
]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / "golden.npz"))


@pytest.fixture(scope="module")
def tokens() -> SpeechTokens:
    ids = json.loads((GOLDEN / "special_ids.json").read_text())
    return SpeechTokens(ids["pad"], ids["eoa"], ids["boa"], ids["ats"], ids["ate"])


@pytest.fixture(scope="module")
def whole(tokens: SpeechTokens) -> SpeechLM:
    return glm.load(GOLDEN, tokens, positions=256, whole=True)


def start(lm: SpeechLM, ids: Sequence[int], slot: int, cache: KVCache) -> torch.Tensor:
    """A prompt: → the logits behind its last id."""
    at = 0
    while at < len(ids) - 1:
        at = lm.prefill(ids, slot, at, cache)
    return lm.logits(ids[-1:], [slot], [at], cache)[0].clone()


def follow(lm: SpeechLM, ids: Sequence[int], forced: Sequence[int], slot: int, cache: KVCache) -> torch.Tensor:
    """Logits [1 + forced, N]: behind the prompt, and behind each id that is then fed."""
    found = [start(lm, ids, slot, cache)]
    found += [lm.logits([i], [slot], [len(ids) + n], cache)[0].clone() for n, i in enumerate(forced)]
    return torch.stack(found)


@torch.inference_mode()
def test_the_logits_of_every_prompt_are_the_original_s(golden: dict[str, np.ndarray], whole: SpeechLM) -> None:
    ids, cache = golden["input_ids"].tolist(), whole.allocate(2)
    got = torch.stack([start(whole, ids[: n + 1], 1, cache) for n in range(len(ids))])
    assert np.abs(got.numpy() - golden["prefill_logits"]).max() < TOLERANCE


@torch.inference_mode()
def test_the_hidden_states_are_the_original_s(golden: dict[str, np.ndarray], whole: SpeechLM) -> None:
    checkpoint, width = Checkpoint(GOLDEN / "model.safetensors"), whole.config.width
    norm = RMSNorm(width, whole.config.eps)
    norm.load_state_dict({"weight": checkpoint.tensor("model.norm.weight")})
    blocks = read_blocks(whole.config, checkpoint)
    bare = SpeechLM(
        whole.config,
        whole.tokens,
        whole.table,
        DecodeStep(blocks, norm, torch.eye(width), torch.zeros(width), 64),
        "cpu",
    )
    ids, cache = golden["input_ids"].tolist(), bare.allocate(1)
    got = torch.stack([start(bare, ids[: n + 1], 0, cache) for n in range(len(ids))])
    assert np.abs(got.numpy() - golden["prefill_hidden_last"]).max() < TOLERANCE


@torch.inference_mode()
def test_with_the_cache_the_logits_keys_and_values_are_the_original_s(
    golden: dict[str, np.ndarray], tokens: SpeechTokens, whole: SpeechLM
) -> None:
    ids, forced = golden["input_ids"].tolist(), golden["forced_ids"].tolist()
    cache = whole.allocate(3)
    got = follow(whole, ids, forced, 2, cache)
    assert np.abs(got[1:].numpy() - golden["decode_logits"]).max() < TOLERANCE
    length = len(ids) + len(forced)
    keys, values = cache.keys[0, 2, ..., :length].transpose(1, 2), cache.values[0, 2, :, :length]
    keys = keys.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)  # ours lie in the pairs that turn together
    assert np.abs(keys.numpy() - golden["kv_layer0_key"]).max() < TOLERANCE
    assert np.abs(values.numpy() - golden["kv_layer0_value"]).max() < TOLERANCE
    narrow = glm.load(GOLDEN, tokens, positions=256)
    speech = follow(narrow, ids, forced, 0, narrow.allocate(1))
    columns = [*range(tokens.first, tokens.last + 1), tokens.stop]
    assert np.abs(speech[1:].numpy() - golden["decode_logits"][:, columns]).max() < TOLERANCE


@torch.inference_mode()
def test_greedy_decoding_gives_the_original_s_tokens(golden: dict[str, np.ndarray], whole: SpeechLM) -> None:
    ids, tokens = golden["input_ids"].tolist(), whole.tokens
    text, expected = len(golden["text_ids"]), golden["greedy_codes"].tolist()
    least, most = int(2 * text), int(6 * text)
    cache = whole.allocate(1)
    logits, got = start(whole, ids, 0, cache), []
    while len(got) < most:
        draw = Draw(0, len(got), top_k=1, may_stop=len(got) >= least)
        (chosen,), (broken,) = choose(logits[None], [draw], tokens.stop)
        assert not broken
        if chosen == tokens.stop:
            break
        got.append(chosen - tokens.first)
        logits = whole.logits([chosen], [0], [len(ids) + len(got) - 1], cache)[0]
    assert got == expected


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.inference_mode()
def test_a_model_of_any_shape_is_what_the_plain_one_is(shape: dict, tmp_path: Path) -> None:
    tokens = make_lm(tmp_path, **shape)
    lm, plain = glm.load(tmp_path, tokens), PlainLM(tmp_path)
    ids = torch.randint(0, tokens.last, (2 * PIECE + 21,), generator=torch.Generator().manual_seed(3)).tolist()
    prompt = 2 * PIECE + 9
    expected = plain.logits(ids)[prompt - 1 :, [*range(tokens.first, tokens.last + 1), tokens.stop]]
    got = follow(lm, ids[:prompt], ids[prompt:], 1, lm.allocate(2))
    assert lm.stop == tokens.codes == got.shape[1] - 1
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="other BLAS libraries were not measured")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@torch.inference_mode()
def test_a_row_s_logits_are_the_same_alone_and_in_company(shape: dict, tmp_path: Path) -> None:
    tokens = make_lm(tmp_path, **shape)
    lm = glm.load(tmp_path, tokens)
    lengths_of = {2: 90, 1: 17, 0: 1}  # by slot
    alone, among = lm.allocate(4), lm.allocate(4)
    lone = start(lm, range(5, 95), 2, alone)
    behind = {slot: start(lm, range(5, 5 + n), slot, among) for slot, n in lengths_of.items()}
    assert torch.equal(behind[2], lone)
    for tick in range(12):
        ids = [(7 * tick + row) % tokens.last for row in range(3)]
        positions = [n + tick for n in lengths_of.values()]
        one = lm.logits(ids[:1], [2], positions[:1], alone)[0].clone()
        many = lm.logits(ids, [*lengths_of], positions, among)
        assert torch.equal(many[0], one)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.2), (torch.float16, 0.02)], ids=str)
@torch.inference_mode()
def test_sixteen_bit_weights_come_near_the_original(
    dtype: torch.dtype, tolerance: float, golden: dict[str, np.ndarray], tokens: SpeechTokens
) -> None:
    lm = glm.load(GOLDEN, tokens, dtype, positions=256, whole=True)
    got = follow(lm, golden["input_ids"].tolist(), golden["forced_ids"].tolist(), 0, lm.allocate(1))
    error = np.abs(got[1:].numpy() - golden["decode_logits"]).max()
    assert got.dtype == torch.float32 and TOLERANCE < error < tolerance * golden["decode_logits"].std()


@torch.inference_mode()
def test_positions_beyond_a_row_are_refused(tokens: SpeechTokens) -> None:
    lm = glm.load(GOLDEN, tokens, positions=20)
    cache = lm.allocate(1)
    lm.logits([1], [0], [19], cache)
    with pytest.raises(ValueError, match="position 20 of a row of 20"):
        lm.logits([1], [0], [20], cache)
    with pytest.raises(ValueError, match="of a row of 20"):
        lm.prefill(list(range(22)), 0, 0, cache)
    assert glm.load(GOLDEN, tokens, positions=100_000).positions == 8192


def test_a_text_is_spoken_with_between_two_and_twenty_codes_an_id() -> None:
    assert lengths(prompt=40, text=11, positions=1000) == (22, 220)
    assert lengths(prompt=0, text=0, positions=10) == (0, 0)
    assert lengths(prompt=780, text=11, positions=1000) == (22, 220)
    assert lengths(prompt=800, text=11, positions=1000) == (22, 200)
    assert lengths(prompt=978, text=11, positions=1000) == (22, 22)
    with pytest.raises(TextTooLong) as refused:
        lengths(prompt=979, text=11, positions=1000)
    assert (refused.value.field, refused.value.limit) == ("text", 1000)


def test_a_model_and_tokens_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    tokens = make_lm(tmp_path, codes=64)
    for name, value in [("stop", 10_000), ("pad", -1), ("begin", tokens.first), ("last", tokens.first - 1)]:
        with pytest.raises(ConfigError) as refused:
            glm.load(tmp_path, SpeechTokens(**vars(tokens) | {name: value}))
        assert refused.value.field == name


def test_a_head_is_needed_where_the_config_says_that_the_embedding_is_none(tmp_path: Path) -> None:
    tokens = make_lm(tmp_path, tied=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    with pytest.raises(ConfigError, match=r"missing: lm_head\.weight"):
        glm.load(tmp_path, tokens)
