"""A release's weights become one file a part, which loads to the same numbers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stream_server.errors import ConfigError
from stream_server.models.glm_tts import lm as glm
from stream_server.models.glm_tts.convert import Part, convert
from stream_server.models.glm_tts.lm import LM_PART
from stream_server.models.glm_tts.weights import Table
from tests.models.glm_tts.make_lm import make_lm

FLOW = Part(
    "flow",
    ("flow.safetensors", "flow.pt"),
    lambda _, shapes: Table({"x.weight": (None, None), "x.bias": shapes["x.weight"][:1]}, skipped=("unused.",)),
    copied=("config.yaml",),
)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "ckpt"
    make_lm(folder / "llm", shards=3, tied=False, prefix="llama.")
    (folder / "flow").mkdir()
    (folder / "flow" / "config.yaml").write_text("a: 1\n")
    weights = {"x.weight": torch.randn(3, 5).t(), "x.bias": torch.randn(5).half(), "unused.x": torch.zeros(2)}
    torch.save({"model": weights, "epoch": 3}, folder / "flow" / "flow.pt")
    return folder


@torch.inference_mode()
def test_every_part_is_written_and_loads_to_the_same_numbers(release: Path, tmp_path: Path) -> None:
    target = tmp_path / "converted"
    llm, flow = convert(release, target, [LM_PART, FLOW])
    assert llm.path == target / "llm" / "model.safetensors" and flow.path == target / "flow" / "flow.safetensors"
    assert all(part.bytes == part.path.stat().st_size for part in (llm, flow))
    assert sorted(path.name for path in target.rglob("*.*")) == [
        "config.json",
        "config.yaml",
        "flow.safetensors",
        "model.safetensors",
    ]
    found, weights = load_file(flow.path), torch.load(release / "flow" / "flow.pt", weights_only=True)["model"]
    assert found.keys() == {"x.weight", "x.bias"} and flow.tensors == 2
    assert all(torch.equal(found[name], weights[name]) and found[name].dtype == weights[name].dtype for name in found)
    tokens = make_lm(tmp_path / "other")
    before, after = glm.load(release / "llm", tokens), glm.load(target / "llm", tokens)
    cache = before.allocate(1)
    torch.testing.assert_close(
        after.logits([3], [0], [0], after.allocate(1)), before.logits([3], [0], [0], cache), atol=0, rtol=0
    )


def test_a_part_may_be_written_narrower(release: Path, tmp_path: Path) -> None:
    convert(release, tmp_path / "half", [LM_PART, FLOW], {"llm": torch.bfloat16})
    llm, flow = (load_file(tmp_path / "half" / name) for name in ("llm/model.safetensors", "flow/flow.safetensors"))
    assert {tensor.dtype for tensor in llm.values()} == {torch.bfloat16}
    assert flow["x.weight"].dtype == torch.float32


def test_a_release_may_be_converted_where_it_lies_and_again(release: Path) -> None:
    (first,) = convert(release, release, [FLOW])
    saved = first.path.read_bytes()
    (second,) = convert(release, release, [FLOW])  # from what was written
    assert second.path.read_bytes() == saved
    assert (release / "flow" / "config.yaml").read_text() == "a: 1\n"


def test_weights_that_do_not_fit_leave_nothing_behind(release: Path, tmp_path: Path) -> None:
    weights = {"x.weight": torch.full((2, 2), torch.nan), "x.bias": torch.zeros(2)}
    torch.save(weights, release / "flow" / "flow.pt")
    with pytest.raises(ConfigError, match=r"x\.weight holds NaN"):
        convert(release, tmp_path / "out", [FLOW])
    assert not list((tmp_path / "out" / "flow").iterdir())
    (release / "flow" / "flow.pt").unlink()
    with pytest.raises(ConfigError, match="no such file") as refused:
        convert(release, tmp_path / "out", [FLOW])
    assert refused.value.limit == "flow.safetensors or flow.pt"
