"""Speech to codes: a Whisper encoder cut short, its frames pooled and each replaced by the nearest row of a codebook.

Attribute names are the checkpoint's (below `model.encoder.`), so that loading is strict by itself.  Sizes are those of
its config.json.  Knows nothing of where the samples came from or of what the codes are for.

Shapes: B pieces of audio, T frames of the picture, t positions behind the convolutions, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.models.glm_tts.config import MAX_LAYERS, Keys
from stream_server.models.glm_tts.convert import Part
from stream_server.models.glm_tts.features import WHISPER, whisper_mel
from stream_server.models.glm_tts.files import read_json
from stream_server.models.glm_tts.names import own_shapes
from stream_server.models.glm_tts.stored import Shape
from stream_server.models.glm_tts.weights import Checkpoint, Table, find

FILES = ("model.safetensors", "model.safetensors.index.json")
CONFIG = "config.json"
PREFIX = "model.encoder."
OUTSIDE = ("model.decoder.", "proj_out.")  # of a whole Whisper: what is not its encoder
KERNEL = 3  # of both convolutions, and what the second steps by
STRIDE = 2
PIECE_S = 30  # longer audio is cut into pieces of so many seconds
MAX_POSITIONS = 1 << 16
POOLINGS = ("avg", "max")


@dataclass(frozen=True)
class EncoderConfig:
    width: int
    heads: int
    hidden: int  # of the feed-forward layers
    layers: int  # that are run: up to where the codebook is asked
    stored_layers: int
    bins: int  # of the picture
    positions: int  # behind the convolutions
    codes: int
    pooled_after: int  # layers; 0 where nothing is pooled
    pooling: int  # positions that become one; 1 where nothing is pooled
    pooled_by_max: bool
    block: int | None  # positions that see each other and all before; None: each sees all
    causal_convolution: bool

    @property
    def pooled_positions(self) -> int:
        return -(-self.positions // self.pooling)


def read_encoder_config(path: Path) -> EncoderConfig:
    """speech_tokenizer/config.json.  ConfigError names the file and the key."""
    keys = Keys(path, read_json(path))
    if keys.found.get("activation_function", "gelu") != "gelu":
        raise keys.wrong("activation_function", "must be gelu")
    width, heads = keys.whole("d_model"), keys.whole("encoder_attention_heads")
    if width % heads:
        raise keys.wrong("encoder_attention_heads", f"does not divide d_model, {width}")
    stored = keys.whole("encoder_layers", most=MAX_LAYERS)
    layers = keys.whole("quantize_position", most=stored)
    pooling = keys.whole("pooling_kernel_size", 1, MAX_POSITIONS)
    kind = keys.found.get("pooling_type") or POOLINGS[0]
    if kind not in POOLINGS:
        raise keys.wrong("pooling_type", f"must be one of {', '.join(POOLINGS)}")
    block = keys.found.get("quantize_causal_block_size")
    config = EncoderConfig(
        width,
        heads,
        keys.whole("encoder_ffn_dim"),
        layers,
        stored,
        keys.whole("num_mel_bins"),
        keys.whole("max_source_positions", most=MAX_POSITIONS),
        keys.whole("quantize_vocab_size"),
        keys.whole("pooling_position", most=layers) if pooling > 1 else 0,
        pooling,
        kind == "max",
        None if block is None else keys.whole("quantize_causal_block_size"),
        bool(keys.switch("encoder_causal_convolution")),
    )
    if pooling > config.positions:
        raise keys.wrong("pooling_kernel_size", f"is more than max_source_positions, {config.positions}")
    if config.block is not None and config.block < pooling:
        raise keys.wrong("quantize_causal_block_size", f"is less than pooling_kernel_size, {pooling}")
    return config


class SelfAttention(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj, self.v_proj, self.out_proj = (nn.Linear(config.width, config.width) for _ in range(3))
        self.k_proj = nn.Linear(config.width, config.width, bias=False)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """x [B, t, C]; visible bool [B, 1, t or 1, t], True where seen."""
        q, k, v = (
            project(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.width)
        self.fc1 = nn.Linear(config.width, config.hidden)
        self.fc2 = nn.Linear(config.hidden, config.width)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), visible)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class SpeechTokenizer(nn.Module):
    """`codes` for samples; `forward`, `nearest` and `embedded` are its steps."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.bins, config.width, KERNEL)
        self.conv2 = nn.Conv1d(config.width, config.width, KERNEL, stride=STRIDE)
        self.embed_positions = nn.Embedding(config.positions, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.codebook = nn.Embedding(config.codes, config.width)
        self.embed_positions2 = nn.Embedding(config.pooled_positions, config.width)
        self.picture = replace(WHISPER, bins=config.bins)

    @property
    def samples_per_code(self) -> int:
        return self.picture.hop * STRIDE * self.config.pooling

    @property
    def samples_per_piece(self) -> int:
        """Whole codes, at most what the positions hold."""
        most = min(PIECE_S * self.picture.rate, self.config.positions * STRIDE * self.picture.hop)
        return most - most % self.samples_per_code

    @torch.inference_mode()
    def codes(self, pcm: Tensor) -> Tensor:
        """Mono float32 [n] at 16 kHz → int64 [⌈n / samples_per_code⌉].

        Longer audio goes through in pieces of one length: each is heard alone, and the last one's padding by nobody.
        """
        if not len(pcm):
            return torch.zeros(0, dtype=torch.int64)
        whole = min(self.samples_per_piece, len(pcm) + -len(pcm) % self.samples_per_code)
        pieces = F.pad(pcm, (0, -len(pcm) % whole)).view(-1, whole)
        frames = whole // self.picture.hop
        starts = torch.arange(len(pieces) * frames).view(-1, frames) * self.picture.hop
        heard = (starts < len(pcm)).to(self.conv1.weight.device)
        features = whisper_mel(pieces, self.picture).to(self.conv1.weight)
        return self.nearest(self(features, heard))[self.pooled_mask(heard[:, ::STRIDE])].cpu()

    def forward(self, features: Tensor, heard: Tensor) -> Tensor:
        """Picture [B, T, bins] and which frames of it are audio, bool [B, T] → [B, t / pooling, C] for the codebook."""
        x = features.mT
        for convolution in (self.conv1, self.conv2):
            x = F.gelu(convolution(F.pad(x, self.padding)))
        x = x.mT + self.embed_positions.weight[: x.shape[-1]]
        mask, block = heard[:, ::STRIDE], self.config.block
        visible = visibility(mask, block)
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, visible)
            if number == self.config.pooled_after:
                x, mask = self.pool(x), self.pooled_mask(mask)
                visible = visibility(mask, None if block is None else block // self.config.pooling)
        return x

    @property
    def padding(self) -> tuple[int, int]:
        return (KERNEL - 1, 0) if self.config.causal_convolution else (KERNEL // 2, KERNEL // 2)

    def pool(self, x: Tensor) -> Tensor:
        """[B, t, C] → [B, ⌈t / pooling⌉, C], zeros after the last."""
        size = self.config.pooling
        padded = F.pad(x, (0, 0, 0, -x.shape[1] % size))
        grouped = padded.view(len(x), -1, size, x.shape[2])
        return grouped.amax(2) if self.config.pooled_by_max else grouped.mean(2)

    def pooled_mask(self, mask: Tensor) -> Tensor:
        return mask[:, :: self.config.pooling] if self.config.pooled_after else mask

    def nearest(self, x: Tensor) -> Tensor:
        """[..., C] → int64 [...], the codebook's nearest row by squared distance."""
        rows = self.codebook.weight
        return (x @ rows.T - rows.square().sum(1) / 2).argmax(-1)

    def embedded(self, codes: Tensor) -> Tensor:
        """int64 [B, t] → [B, t, C]: what a network behind the codebook would be given."""
        return self.codebook(codes) + self.embed_positions2.weight[: codes.shape[1]]


def visibility(mask: Tensor, block: int | None) -> Tensor:
    """Which positions each one sees, bool [B, 1, t or 1, t]: those of its block and before it, none behind the end."""
    seen = mask[:, None, None]
    if block is None:
        return seen
    blocks = torch.arange(mask.shape[1], device=mask.device) // block
    return seen & (blocks <= blocks[:, None])


def table_of(config: EncoderConfig) -> Table:
    """What a file of the release must hold, and what may be beside it."""
    with torch.device("meta"):
        shapes: Mapping[str, Shape] = own_shapes(SpeechTokenizer(config))
    later = (f"layers.{layer}." for layer in range(config.layers, config.stored_layers))
    return Table(shapes, skipped=("layer_norm.", "ema_count", "ema_weight", *OUTSIDE, *later))


def load_speech_tokenizer(folder: Path, dtype: torch.dtype = torch.float32) -> SpeechTokenizer:
    """The release's folder `speech_tokenizer`.  ConfigError names the file and what is wrong with it."""
    config = read_encoder_config(folder / CONFIG)
    checkpoint = Checkpoint(find(folder, FILES), PREFIX)
    names = checkpoint.expect(table_of(config))
    with torch.device("meta"):
        tokenizer = SpeechTokenizer(config)
    tokenizer.load_state_dict({name: checkpoint.tensor(name, dtype) for name in names}, assign=True)
    return tokenizer.eval().requires_grad_(False)


SPEECH_TOKENIZER_PART = Part(
    "speech_tokenizer",
    FILES,
    lambda folder, _: table_of(read_encoder_config(folder / CONFIG)),
    copied=(CONFIG, "preprocessor_config.json"),
    prefix=PREFIX,
)
