"""A recording → speech codes: a Whisper encoder that is cut short, halved in time and read against a codebook.

Every size is the checkpoint's.  Its config has three switches that the release may set either way: how frames are
pooled, whether attention sees beyond its block, whether convolutions do.  Layers behind the codebook and what only
training needed are passed over.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.config import Keys
from stream_server.models.glm_tts.features import WHISPER_HOP, whisper_mel
from stream_server.models.glm_tts.files import read_json
from stream_server.models.glm_tts.weights import Table, load

PREFIX = "model.encoder."
KERNEL, STRIDE = 3, 2
MULTIPLE = 640  # samples: a recording is filled up to a whole code


@dataclass(frozen=True)
class TokenizerConfig:
    width: int
    layers: int  # before the codebook
    heads: int
    hidden: int
    bins: int
    positions: int
    codes: int
    pool: int
    pool_at: int  # layers before pooling
    maximum: bool  # the largest of what is pooled, not the mean
    block: int | None  # frames of 20 ms that see each other; None: all do
    causal: bool  # convolutions


def read_tokenizer_config(path: Path) -> TokenizerConfig:
    """ConfigError names the file and the key."""
    keys = Keys(path, read_json(path))
    kind = keys.found.get("pooling_type", "avg")
    if kind not in ("avg", "max"):
        raise keys.wrong("pooling_type", "must be avg or max")
    width, heads, pool = keys.whole("d_model"), keys.whole("encoder_attention_heads"), keys.whole("pooling_kernel_size")
    if width % heads:
        raise keys.wrong("encoder_attention_heads", f"does not divide d_model, {width}")
    layers = keys.whole("quantize_position")
    if layers > keys.whole("encoder_layers") or keys.whole("pooling_position") > layers:
        raise keys.wrong("quantize_position", "lies beyond the layers, or before the pooling")
    block = keys.found.get("quantize_causal_block_size")
    return TokenizerConfig(
        width,
        layers,
        heads,
        keys.whole("encoder_ffn_dim"),
        keys.whole("num_mel_bins"),
        keys.whole("max_source_positions"),
        keys.whole("quantize_vocab_size"),
        pool,
        keys.whole("pooling_position"),
        kind == "max",
        None if block is None else keys.whole("quantize_causal_block_size"),
        bool(keys.switch("encoder_causal_convolution")),
    )


class Layer(nn.Module):
    """Whisper's: norms before, keys without a bias."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.self_attn = nn.ModuleDict(
            {f"{name}_proj": nn.Linear(width, width, bias=name != "k") for name in ("q", "k", "v", "out")}
        )
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, T, width]; mask bool [B, 1, T, T], true where a row may look."""
        normed = self.self_attn_layer_norm(x)
        q, k, v = (
            self.self_attn[f"{name}_proj"](normed).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in "qkv"
        )
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.self_attn["out_proj"](heard.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class SpeechTokenizer(nn.Module):
    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.bins, config.width, KERNEL)
        self.conv2 = nn.Conv1d(config.width, config.width, KERNEL, stride=STRIDE)
        self.embed_positions = nn.Embedding(config.positions, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.codebook = nn.Embedding(config.codes, config.width)

    @torch.inference_mode()
    def read(self, wave: Tensor) -> list[int]:
        """float32 [n] at 16 kHz → its codes, 25 a second; as many positions as there are, 30 s, read at a time."""
        codes: list[int] = []
        for piece in torch.split(wave, self.config.positions * STRIDE * WHISPER_HOP):
            filled = F.pad(piece, (0, -len(piece) % MULTIPLE))
            features = whisper_mel(filled)[None].to(self.codebook.weight.device)
            valid = torch.zeros(1, features.shape[1], dtype=torch.bool)
            valid[:, : -(-len(piece) // WHISPER_HOP)] = True
            found, kept = self(features, valid)
            codes += found[0][kept[0]].tolist()
        return codes

    def forward(self, features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Whisper mels [B, T, bins] and which frames are a recording's, bool [B, T] → codes [B, N], which count."""
        values, kept = self.values(features, valid)
        weight = self.codebook.weight
        nearest = (weight.square().sum(1) - 2 * values @ weight.T).argmin(-1)  # the values' own squares are the same
        return nearest, kept

    def values(self, features: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """What is read against the codebook, [B, N, width], and which of it counts, bool [B, N]."""
        x = F.gelu(self.conv2(self.padded(F.gelu(self.conv1(self.padded(features.mT))))))
        x = x.mT + self.embed_positions.weight[: x.shape[2]]
        kept = valid.to(x.device)[:, ::STRIDE]
        mask = self.sight(x.shape[1], x.device) & kept[:, None, None]
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, mask)
            if number == self.config.pool_at:
                x, kept = self.pooled(x), kept[:, :: self.config.pool]
                mask = self.sight(x.shape[1], x.device) & kept[:, None, None]
        return x, kept

    def padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (KERNEL - 1, 0) if self.config.causal else (1, 1))

    def pooled(self, x: Tensor) -> Tensor:
        size = self.config.pool
        x = F.pad(x.mT, (0, -x.shape[1] % size))
        return (F.max_pool1d(x, size) if self.config.maximum else F.avg_pool1d(x, size)).mT

    def sight(self, length: int, device: torch.device) -> Tensor:
        """bool [length, length]: each frame sees all there is, or all up to its block's end."""
        if self.config.block is None:
            return torch.ones(length, length, dtype=torch.bool, device=device)
        block = torch.arange(length, device=device) // self.config.block
        return block[:, None] >= block


def load_speech_tokenizer(folder: Path, device: str = "cpu") -> SpeechTokenizer:
    """The release's folder; ConfigError names the file and what is wrong with it."""
    config = read_tokenizer_config(folder / "config.json")
    with torch.device("meta"):
        tokenizer = SpeechTokenizer(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in tokenizer.state_dict().items()}
    later = tuple(f"layers.{layer}." for layer in range(config.layers, 1024))
    skipped = ("layer_norm.", "embed_positions2.", "ema_", *later)
    tensors = load(folder / "model.safetensors", Table(dict(shapes), skipped=skipped), prefix=PREFIX)
    tokenizer.load_state_dict(tensors, assign=True)
    if not tokenizer.codebook.weight.numel():
        raise ConfigError(f"{folder}: the codebook is empty", field="quantize_vocab_size")
    return tokenizer.eval().to(device)
