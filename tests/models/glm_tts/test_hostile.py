"""A checkpoint whose one file was made to hurt: refused with the file named, nothing of it run, little taken."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stream_server.errors import BrokenVoice, ConfigError
from stream_server.models.glm_tts.cloning import load_maker
from stream_server.models.glm_tts.loading import load_model
from tests.models.glm_tts.make_checkpoint import TINY, make_checkpoint
from tests.models.glm_tts.make_speaker import block, node, number, speaker_graph, value_info
from tests.models.glm_tts.test_weights import Call

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("tiktoken", "onnxruntime")), reason="needs the extra glm"
)
MB = 1 << 20
Harm = Callable[[Path], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    make_checkpoint(folder, ("one",), sizes=TINY)
    load_model(folder)
    load_maker(folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "ckpt")
    return tmp_path / "ckpt"


def text(content: str | bytes) -> Harm:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def cut(share: float) -> Harm:
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def told(**changed: object) -> Harm:
    """A JSON file that says something else."""

    def harm(path: Path) -> None:
        tree = json.loads(path.read_text())
        tree.get("hift", tree).update(changed)
        path.write_text(json.dumps(tree))

    return harm


def yaml(line: str) -> Harm:
    return lambda path: path.write_text(path.read_text() + line)


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Harm:
    """One tensor is another."""

    def harm(path: Path) -> None:
        with safe_open(path, "pt") as file:
            about = file.metadata()
        tensors = load_file(path)
        tensors[name] = change(tensors[name]).contiguous()
        save_file(tensors, path, about)

    return harm


def pickled(path: Path) -> None:
    """In its place a pickle that would make a directory beside it."""
    tensors = load_file(path)
    path.unlink()
    torch.save({**tensors, "more": Call(os.mkdir, str(path.parent / "made"))}, path.parent / f"{path.parent.name}.pt")


def lines(*more: str, without: int | None = None) -> Harm:
    def harm(path: Path) -> None:
        kept = [line for at, line in enumerate(path.read_text().splitlines()) if at != without]
        path.write_text("\n".join([*kept, *more]) + "\n")

    return harm


def tokens(change: Callable[[dict[str, dict[str, str]]], object]) -> Harm:
    def harm(path: Path) -> None:
        tree = json.loads(path.read_text())
        change(tree["added_tokens_decoder"])
        path.write_text(json.dumps(tree))

    return harm


def moved(added: dict[str, dict[str, str]]) -> None:
    id = next(id for id, token in added.items() if token["content"] == "<|audio_3|>")
    added["900"] = added.pop(id)


LAUGHS = "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(12))
MERGES = "".join(f"m{n + 1}: &m{n + 1} {{<<: [{', '.join([f'*m{n}'] * 9)}]}}\n" for n in range(12))
LM, FLOW, HIFT = (f"{part}/model.safetensors" for part in ("llm", "flow", "hift"))
YAML, SETTINGS, MODEL = "flow/config.yaml", "hift/config.json", "vq32k-phoneme-tokenizer/tokenizer.model"
ADDED, VOICE = "vq32k-phoneme-tokenizer/tokenizer_config.json", "voices/one.safetensors"
ESTIMATOR = "estimator."
HARMS: dict[str, tuple[str, Harm]] = {
    "yaml of a thousand million laughs": (YAML, yaml(f"a0: &a0 [x]\n{LAUGHS}")),
    "yaml of merges without end": (YAML, yaml(f"m0: &m0 {{x: 1}}\n{MERGES}")),
    "yaml within itself": (YAML, yaml("a: &a [*a]\n")),
    "yaml too deep": (YAML, yaml("deep: " + "[" * 3000 + "]" * 3000)),
    "yaml of steps without end": (YAML, yaml("deep:\n" + "- " * 6_000)),
    "yaml of steps down": (YAML, yaml("".join(" " * n + f"k{n}:\n" for n in range(100)))),
    "yaml of many words": (YAML, yaml("w: [" + "x, " * 5_000 + "]")),
    "yaml too long": (YAML, yaml("#" * 70_000)),
    "yaml of a number without end": (YAML, yaml("n: " + "1" * 5_000)),
    "yaml of a truth that is none": (YAML, yaml("n: !!bool perhaps")),
    "yaml of a date that is none": (YAML, yaml("n: 2026-99-99")),
    "yaml that is no text": (YAML, text(b"\xff\xfe\0x" * 9)),
    "yaml of half a text": (YAML, text("flow: {")),
    "settings of endless frames": (SETTINGS, told(upsample_rates=[99_999] * 8)),
    "settings of endless lists": (SETTINGS, told(upsample_rates=[2] * 1000)),
    "settings of endless dilations": (SETTINGS, told(resblock_dilation_sizes=[[999_999]])),
    "settings of no numbers": (SETTINGS, told(nsf_alpha=float("nan"))),
    "settings of a hop beyond the transform": (SETTINGS, told(istft_params={"hop_len": 4})),
    "settings of a number without end": (SETTINGS, text('{"hift": {"sampling_rate": ' + "1" * 5000 + "}}")),
    "settings too deep": (SETTINGS, text("[" * 60_000)),
    "llm settings too wide": ("llm/config.json", told(hidden_size=1 << 40)),
    "llm settings of other shapes": ("llm/config.json", told(num_hidden_layers=1000)),
    "a vocabulary without a byte": (MODEL, lines(without=7)),
    "a vocabulary with one id twice": (MODEL, lines("YWFh 7")),
    "a vocabulary below nothing": (MODEL, lines("YWFh -1")),
    "a vocabulary beyond all": (MODEL, lines("YWFh 999999999999")),
    "a vocabulary that is none": (MODEL, text(b"\0\1\2" * 1000)),
    "a vocabulary of empty lines": (MODEL, text(b"\n" * (15 * MB))),
    "a vocabulary too long": (MODEL, text(bytes(17 * MB))),
    "added tokens that are none": (ADDED, text('{"added_tokens_decoder": [1, 2]}')),
    "added tokens with an id of the vocabulary's": (ADDED, tokens(lambda added: added.update({"7": {"content": "x"}}))),
    "added tokens scattered": (ADDED, tokens(moved)),
    "added tokens beyond the model": (ADDED, tokens(lambda added: added.update({"9999": {"content": "x"}}))),
    "added tokens too deep": (ADDED, text('{"a":' * 100_000)),
    "llm cut short": (LM, cut(0.9)),
    "llm without numbers": (LM, tensor("model.norm.weight", lambda x: x * torch.nan)),
    "llm of another shape": (LM, tensor("model.norm.weight", lambda x: x[:-1])),
    "llm of a lying header": (LM, text(struct.pack("<Q", 1 << 60) + b"{}")),
    "flow cut short": (FLOW, cut(0.5)),
    "flow of infinity": (FLOW, tensor(f"{ESTIMATOR}proj_out.bias", lambda x: x + torch.inf)),
    "flow of flat kernels": (
        FLOW, tensor(f"{ESTIMATOR}emb_concator.conv_pos_embed.conv1d.0.weight", lambda x: x[:, 0, 0])
    ),
    "flow of no kernels": (
        FLOW, tensor(f"{ESTIMATOR}emb_concator.conv_pos_embed.conv1d.0.weight", lambda x: x[:, :0])
    ),
    "flow of uneven groups": (
        FLOW, tensor(f"{ESTIMATOR}emb_concator.conv_pos_embed.conv1d.0.weight", lambda x: x[:, :3])
    ),
    "flow of even kernels": (
        FLOW, tensor(f"{ESTIMATOR}emb_concator.conv_pos_embed.conv1d.0.weight", lambda x: x[..., :2])
    ),
    "flow of no rotation": (FLOW, tensor(f"{ESTIMATOR}rotary_embed.inv_freq", lambda x: x[:0])),
    "flow narrower than its inputs": (FLOW, tensor(f"{ESTIMATOR}emb_concator.proj.weight", lambda x: x[:, :5])),
    "a pickle in flow's place": (FLOW, pickled),
    "vocoder cut short": (HIFT, cut(0.99)),
    "vocoder of flat kernels": (HIFT, tensor("m_source.l_linear.weight", lambda x: x[0])),
    "vocoder of no bias": (HIFT, tensor("f0_predictor.condnet.0.bias", lambda x: x[:0])),
    "vocoder of another bias": (HIFT, tensor("conv_post.bias", lambda x: x[:-1])),
    "a pickle in the vocoder's place": (HIFT, pickled),
    "a voice cut short": (VOICE, cut(0.5)),
    "a voice that is noise": (VOICE, text(b"\7" * 10_000)),
    "no voice's numbers": (VOICE, tensor("mel", lambda x: x * torch.nan)),
}  # fmt: skip


@pytest.mark.parametrize("kind", HARMS)
@pytest.mark.usefixtures("bounded")
def test_a_hostile_file_is_refused_by_its_name(kind: str, folder: Path) -> None:
    file, harm = HARMS[kind]
    harm(folder / file)
    with pytest.raises((ConfigError, BrokenVoice)) as refused:
        load_model(folder)
    assert len(refused.value.message) < 1000
    assert not list(folder.rglob("made"))


def bomb() -> bytes:
    """A picture in, a tensor of 3 GiB beside it."""
    shape = number(1, 1) + number(2, 7) + block(8, "far") + block(9, struct.pack("<q", 3 << 28))
    graph = (
        block(1, node("ConstantOfShape", ["far"], "much"))
        + block(1, node("ReduceSum", ["much"], "sum"))
        + block(1, node("Add", ["input", "sum"], "output"))
        + block(2, "bomb")
        + block(5, shape)
    )
    info = block(11, value_info("input", (1, "frames", 80))) + block(12, value_info("output", (1, "frames", 80)))
    return number(1, 8) + block(7, graph + info) + block(8, number(2, 13))


def graph(extra: bytes) -> bytes:
    whole = speaker_graph(np.ones((80, 12), np.float32))
    return whole + block(7, extra)  # fields of one message in two pieces are one message


SPEAKERS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "noise": lambda: bytes(range(256)) * 100,
    "cut short": lambda: graph(b"")[:900],
    "a loop": lambda: graph(block(1, node("Loop", ["a", "b"], "c"))),
    "a loop in a branch": lambda: graph(
        block(1, node("If", ["a"], "c", block(5, block(1, "then_branch") + block(6, block(1, node("Loop", [], "d"))))))
    ),
    "operators of others": lambda: graph(block(1, node("Tokenizer", ["a"], "c") + block(7, "com.microsoft"))),
    "numbers elsewhere": lambda: graph(
        block(
            5, number(1, 4) + number(2, 1) + block(8, "w") + block(13, block(1, "location") + block(2, "/etc/passwd"))
        )
    ),
    "all the memory there is": bomb,
    "graphs without end": lambda: graph(nest(40)),
}


def nest(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = block(1, node("If", [], "x", block(5, block(6, inner))))
    return inner


@pytest.mark.parametrize("kind", SPEAKERS)
@pytest.mark.usefixtures("bounded")
def test_a_hostile_speaker_encoder_is_refused(kind: str, folder: Path) -> None:
    (folder / "frontend" / "campplus.onnx").write_bytes(SPEAKERS[kind]())
    with pytest.raises(ConfigError, match=r"campplus\.onnx"):
        load_maker(folder)


SPEECH = "speech_tokenizer/model.safetensors"
SPEECH_HARMS: dict[str, tuple[str, Harm]] = {
    "cut short": (SPEECH, cut(0.5)),
    "without numbers": (SPEECH, tensor("model.encoder.conv1.bias", lambda x: x * torch.nan)),
    "of another shape": (SPEECH, tensor("model.encoder.conv1.weight", lambda x: x[:, :, :1])),
    "pooled beyond its positions": ("speech_tokenizer/config.json", told(pooling_kernel_size=5000)),
    "too wide": ("speech_tokenizer/config.json", told(d_model=1 << 30)),
    "not JSON": ("speech_tokenizer/config.json", text("{")),
}


@pytest.mark.parametrize("kind", SPEECH_HARMS)
@pytest.mark.usefixtures("bounded")
def test_a_hostile_speech_tokenizer_is_refused(kind: str, folder: Path) -> None:
    file, harm = SPEECH_HARMS[kind]
    harm(folder / file)
    with pytest.raises(ConfigError, match=r"speech_tokenizer|codebook"):
        load_maker(folder)
