"""The diffusion transformer that tells the flow's velocity: noisy mel, condition mel and speech tokens in, mel out.

Attribute names are the checkpoint's (below its prefix `estimator.`), so that loading is strict by itself.  Every
dimension comes from the tensors' own shapes.  Three things are as they were trained, not as one would build them:
rotary embedding turns only the first head, the response norm looks over all of time, and the final modulation is
(scale, shift) where the blocks' are (shift, scale, gate).  Knows nothing of steps, noise or chunks.

Shapes: B rows, T frames, C channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.names import Shapes, numbered, size_at
from stream_server.nn.rope import pair_rotation, rotate_pairs

PREFIX = "estimator."
TABLE_POSITIONS = 4096  # later frames share the last entry: 81.9 s at 50 Hz
TABLE_BASE = 10_000.0
TIME_SCALE = 1000.0
EPS = 1e-6
MAX_BLOCKS = 1024
NO_TOKEN = 0  # what an unconditional pass reads where it loses its tokens; a speech code as well


@dataclass(frozen=True)
class DiTShape:
    mel: int
    width: int
    depth: int
    heads: int
    head_dim: int
    mlp: int
    vocabulary: int  # rows of the token table
    text: int  # channels of the token features
    text_blocks: int
    text_hidden: int
    text_kernel: int
    position_kernel: int
    position_groups: int
    times: int  # channels of the time's sinusoid
    speaker: int  # channels of the speaker vector in every modulation; 0 where it is not there
    concat: int  # channels of the speaker beside the condition mel; 0 where it is not there

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim

    @property
    def text_reach(self) -> int:
        """Frames on either side that a convolution over token features sees."""
        return self.text_kernel // 2

    @property
    def position_reach(self) -> int:
        """Frames on either side that the two position convolutions see together."""
        return 2 * (self.position_kernel // 2)


def shape_of(shapes: Shapes) -> DiTShape:
    """Dimensions of a checkpoint from its tensors' shapes, names with their prefix.  ConfigError: one is missing."""

    def size(name: str, axis: int) -> int:
        return size_at(shapes, PREFIX + name, axis)

    width, text, mel = size("proj_out.weight", 1), size("text_emb_layer.text_embed.weight", 1), size("proj_out.bias", 0)
    head_dim = 2 * size("rotary_embed.inv_freq", 0)
    blocks = numbered(shapes, PREFIX + "text_emb_layer.text_blocks.")
    first = "text_emb_layer.text_blocks.0."
    depth = numbered(shapes, PREFIX + "transformer_blocks.")
    speaker = size("norm_out.linear.weight", 1) - width
    concat = size("emb_concator.proj.weight", 1) - 2 * mel - text
    if max(blocks, depth) > MAX_BLOCKS:
        raise ConfigError("the flow's checkpoint has too many blocks", field=PREFIX, limit=MAX_BLOCKS)
    if min(speaker, concat) < 0:
        raise ConfigError("the flow's checkpoint has no room for its inputs", field=PREFIX)
    return DiTShape(
        mel=mel,
        width=width,
        depth=depth,
        heads=size("transformer_blocks.0.attn.to_q.weight", 0) // head_dim,
        head_dim=head_dim,
        mlp=size("transformer_blocks.0.ff.ff.0.0.weight", 0),
        vocabulary=size("text_emb_layer.text_embed.weight", 0),
        text=text,
        text_blocks=blocks,
        text_hidden=size(first + "pwconv1.weight", 0) if blocks else 0,
        text_kernel=size(first + "dwconv.weight", 2) if blocks else 1,
        position_kernel=size("emb_concator.conv_pos_embed.conv1d.0.weight", 2),
        position_groups=width // size("emb_concator.conv_pos_embed.conv1d.0.weight", 1),
        times=size("time_embed.time_mlp.0.weight", 1),
        speaker=speaker,
        concat=concat,
    )


class ResponseNorm(nn.Module):
    """Global response norm (Woo et al., 2023): a channel's loudness over all of time against the mean channel's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, channels))
        self.beta = nn.Parameter(torch.zeros(1, 1, channels))

    def forward(self, x: Tensor, squares: Tensor) -> Tensor:
        """x [B, T, C]; squares [B, 1, C], the sum of each channel's squares over time."""
        loudness = squares.sqrt()
        return self.gamma * (x * (loudness / (loudness.mean(dim=-1, keepdim=True) + EPS)).to(x)) + self.beta + x


@dataclass
class TextPast:
    """What one text block remembers of the frames that will not change: its last inputs and its response's squares."""

    inputs: Tensor  # [text_reach, C]
    squares: Tensor  # float32 [hidden]


class TextBlock(nn.Module):
    """ConvNeXt V2 over token features."""

    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        self.reach = shape.text_reach
        self.dwconv = nn.Conv1d(shape.text, shape.text, shape.text_kernel, groups=shape.text)
        self.norm = nn.LayerNorm(shape.text, eps=EPS)
        self.pwconv1 = nn.Linear(shape.text, shape.text_hidden)
        self.grn = ResponseNorm(shape.text_hidden)
        self.pwconv2 = nn.Linear(shape.text_hidden, shape.text)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, C] → the same, silence on both sides."""
        wide = self.widen(F.pad(x, (0, 0, self.reach, self.reach)))
        return x + self.pwconv2(self.grn(wide, wide.float().square().sum(1, keepdim=True)))

    def stream(self, x: Tensor, past: TextPast, fixed: int) -> Tensor:
        """The frames that follow the past's, [T, C] → [T, C]; the first `fixed` of them go into the past."""
        joined = torch.cat([past.inputs, x])
        wide = self.widen(F.pad(joined, (0, 0, 0, self.reach))[None])
        squares = wide[0].float().square()
        y = x + self.pwconv2(self.grn(wide, (past.squares + squares.sum(0))[None, None]))[0]
        past.inputs = joined[fixed : fixed + self.reach].clone()
        past.squares = past.squares + squares[:fixed].sum(0)
        return y

    def widen(self, padded: Tensor) -> Tensor:
        """[B, reach + T + reach, C] → the hidden responses [B, T, hidden]."""
        return F.gelu(self.pwconv1(self.norm(self.dwconv(padded.mT).mT)))


class TextEmbedding(nn.Module):
    """Token ids, one a frame, to features."""

    table: Tensor  # [TABLE_POSITIONS, C], cosines then sines

    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        self.text_embed = nn.Embedding(shape.vocabulary, shape.text)
        self.text_blocks = nn.ModuleList(TextBlock(shape) for _ in range(shape.text_blocks))
        self.register_buffer("table", position_table(shape.text), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [B, T] → [B, T, C]."""
        x = self.embed(tokens, torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.text_blocks:
            x = block(x)
        return x

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.text_embed(tokens)
        return x + self.table[positions.clamp(max=TABLE_POSITIONS - 1)].to(x) if len(self.text_blocks) else x

    def past(self) -> list[TextPast]:
        """Of a sequence of which no frame is fixed yet."""
        weight = self.text_embed.weight
        return [
            TextPast(weight.new_zeros(b.reach, weight.shape[1]), torch.zeros(b.grn.gamma.numel(), device=weight.device))
            for b in cast(Sequence[TextBlock], self.text_blocks)
        ]

    def stream(self, tokens: Tensor, positions: Tensor, past: list[TextPast], fixed: int) -> Tensor:
        """int64 [T] and their frames' numbers → [T, C]; moves `past` on by `fixed` frames."""
        x = self.embed(tokens, positions)
        for block, before in zip(cast(Sequence[TextBlock], self.text_blocks), past):
            x = block.stream(x, before, fixed)
        return x


def position_table(channels: int) -> Tensor:
    rates = TABLE_BASE ** (-torch.arange(0, channels, 2)[: channels // 2].float() / channels)
    turns = torch.outer(torch.arange(TABLE_POSITIONS).float(), rates)
    return torch.cat([turns.cos(), turns.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    rates: Tensor  # [times / 2]

    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(
            nn.Linear(shape.times, shape.width), nn.SiLU(), nn.Linear(shape.width, shape.width)
        )
        half = shape.times // 2
        rates = torch.exp(torch.arange(half).float() * -(math.log(10_000) / (half - 1)))
        self.register_buffer("rates", rates, persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        """float32 [N] in 0 … 1 → [N, width]."""
        turns = TIME_SCALE * times[:, None] * self.rates.float()
        return self.time_mlp(
            torch.cat([turns.sin(), turns.cos()], dim=-1).to(cast(nn.Linear, self.time_mlp[0]).weight.dtype)
        )


class PositionConv(nn.Module):
    """Two grouped convolutions over time, each followed by Mish."""

    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        width, kernel, groups = shape.width, shape.position_kernel, shape.position_groups
        self.conv1d = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups), nn.Mish())
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1d(x.mT).mT


class InputEmbedding(nn.Module):
    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        self.proj = nn.Linear(2 * shape.mel + shape.concat + shape.text, shape.width)
        self.conv_pos_embed = PositionConv(shape)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, mel + condition + text] → [B, T, width]."""
        y = self.proj(x)
        return self.conv_pos_embed(y) + y


@dataclass(frozen=True)
class Modulation:
    """What time and speaker do to every layer: they depend on nothing else, so a voice's are computed once."""

    blocks: Tensor  # [N, depth, 6 × width]: shift, scale, gate of the attention, then of the MLP
    final: Tensor  # [N, 2 × width]: scale, shift

    def __getitem__(self, rows: Tensor | slice) -> "Modulation":
        return Modulation(self.blocks[rows], self.final[rows])


def modulations(pieces: Sequence[Modulation]) -> Modulation:
    return Modulation(torch.cat([p.blocks for p in pieces]), torch.cat([p.final for p in pieces]))


class Modulator(nn.Module):
    """One linear layer, under the checkpoint's name for it; SiLU has been before it, once for all."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, activated: Tensor) -> Tensor:
        return self.linear(activated)


class Attention(nn.Module):
    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(shape.width, shape.inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(shape.inner, shape.width)])

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, past: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """x [B, T, width], mask bool [B, 1, T or 1, P + T], past keys and values [2, B, P, inner] → y and its own.

        The rotation reaches only the channels of the first head, because the heads are not split yet.
        """
        q, k, v = rotate_pairs(self.to_q(x), *turn), rotate_pairs(self.to_k(x), *turn), self.to_v(x)
        own = torch.stack([k, v])
        keys, values = own if past is None else torch.cat([past, own], dim=2)
        split = [each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (q, keys, values)]
        y = F.scaled_dot_product_attention(split[0], split[1], split[2], attn_mask=mask)
        return self.to_out[0](y.transpose(1, 2).flatten(2)), own


class FeedForward(nn.Module):
    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(shape.width, shape.mlp), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(first, nn.Identity(), nn.Linear(shape.mlp, shape.width))

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class Block(nn.Module):
    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        self.attn_norm = Modulator(shape.width + shape.speaker, 6 * shape.width)
        self.attn = Attention(shape)
        self.ff = FeedForward(shape)

    def forward(
        self, x: Tensor, told: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, past: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """x [B, T, width], told [B, 6 width] → the same, and the layer's own keys and values."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = told[:, None].chunk(6, dim=-1)
        y, own = self.attn(modulated(x, scale, shift), turn, mask, past)
        x = torch.addcmul(x, gate, y)
        return torch.addcmul(x, mlp_gate, self.ff(modulated(x, mlp_scale, mlp_shift))), own


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=EPS), 1 + scale)


class Rotary(nn.Module):
    inv_freq: Tensor  # [head_dim / 2]

    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.zeros(shape.head_dim // 2))


class DiT(nn.Module):
    def __init__(self, shape: DiTShape) -> None:
        super().__init__()
        self.shape = shape
        self.time_embed = TimeEmbedding(shape)
        self.text_emb_layer = TextEmbedding(shape)
        self.emb_concator = InputEmbedding(shape)
        self.rotary_embed = Rotary(shape)
        self.transformer_blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm_out = Modulator(shape.width + shape.speaker, 2 * shape.width)
        self.proj_out = nn.Linear(shape.width, shape.mel)

    @property
    def dtype(self) -> torch.dtype:
        return self.proj_out.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.proj_out.weight.device

    def modulation(self, times: Tensor, speaker: Tensor) -> Modulation:
        """times float32 [N] and speaker [N, speaker channels] (not read where there are none)."""
        told = self.time_embed(times)
        if self.shape.speaker:
            told = torch.cat([told, speaker.to(told)], dim=-1)
        told = F.silu(told)
        blocks = torch.stack([cast(Block, block).attn_norm(told) for block in self.transformer_blocks], dim=1)
        return Modulation(blocks, self.norm_out(told))

    def embed(self, x: Tensor, condition: Tensor, features: Tensor) -> Tensor:
        """Noisy mel float32 [B, T, mel], condition [B, T, mel + concat], token features → [B, T, width]."""
        return self.emb_concator(torch.cat([x.to(self.dtype), condition.to(self.dtype), features], dim=-1))

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """int64 [..., T] → cosines and signed sines [..., T, head_dim]."""
        cos, sin = pair_rotation(positions, self.rotary_embed.inv_freq)
        return cos.to(self.dtype), sin.to(self.dtype)

    def velocity(
        self,
        x: Tensor,
        told: Modulation,
        turn: tuple[Tensor, Tensor],
        mask: Tensor | None = None,
        past: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Embedded frames [B, T, width] → float32 [B, T, mel], and each layer's own keys and values [2, B, T, inner].

        past [depth, 2, B, P, inner] stands before the frames; mask bool [B, 1, T or 1, P + T], True where seen.
        """
        kept = []
        for layer, block in enumerate(self.transformer_blocks):
            x, own = block(x, told.blocks[:, layer], turn, mask, None if past is None else past[layer])
            kept.append(own)
        scale, shift = told.final[:, None].chunk(2, dim=-1)
        return self.proj_out(modulated(x, scale, shift)).float(), kept
