"""Codes → spectral frames: the part of the vocoder that was learned.

Each token brings its speech code and the three symbols around the pointer (before, under, after it), so the codes
need only carry what the text leaves open.  Causal blocks at 25 Hz, then four frames a token at 100 Hz.  A frame is
given out one token late: that is the single token of lookahead.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from stream_server.models.lark import features, fsq
from stream_server.models.lark.symbols import NUM_SYMBOLS
from stream_server.nn.conv import PAST, ConvNeXt, Rows
from stream_server.nn.layout import in_company

WIDE, NARROW = 256, 128  # channels at 25 Hz and at 100 Hz
WIDE_BLOCKS, NARROW_BLOCKS = 4, 2
TOKEN_COLUMNS = 4  # code, symbol before, symbol under the pointer, symbol after
NO_CODE = -1  # the code that stands for "speech is over"


@dataclass
class DecoderState:
    """What each slot remembers: the inputs of every block."""

    wide: list[Tensor]  # 4 × [S, PAST, 256]
    narrow: list[Tensor]  # 2 × [S, PAST, 128]

    def reset(self, slots: Tensor) -> None:
        for history in (*self.wide, *self.narrow):
            history[slots] = 0.0


class Decoder(nn.Module):
    mean: Tensor  # [86], of the features
    scale: Tensor  # [86]

    def __init__(self, num_voices: int) -> None:
        super().__init__()
        self.code = nn.Linear(fsq.NUM_DIGITS, WIDE)
        self.symbol = nn.Embedding(NUM_SYMBOLS, 3 * 64)
        self.context = nn.Linear(3 * 64, WIDE)
        self.voice = nn.Embedding(num_voices, WIDE)
        self.wide = nn.ModuleList(ConvNeXt(WIDE) for _ in range(WIDE_BLOCKS))
        self.upsample = nn.Linear(WIDE, features.FRAMES_PER_TOKEN * NARROW)
        self.narrow = nn.ModuleList(ConvNeXt(NARROW) for _ in range(NARROW_BLOCKS))
        self.norm = nn.LayerNorm(NARROW)
        self.head = nn.Linear(NARROW, features.NUM_FEATURES)
        self.register_buffer("mean", torch.zeros(features.NUM_FEATURES))
        self.register_buffer("scale", torch.ones(features.NUM_FEATURES))
        nn.init.normal_(self.symbol.weight, std=0.3)
        nn.init.normal_(self.voice.weight, std=0.1)

    def allocate(self, num_slots: int) -> DecoderState:
        return DecoderState(
            [torch.zeros(num_slots, PAST, WIDE) for _ in self.wide],
            [torch.zeros(num_slots, PAST, NARROW) for _ in self.narrow],
        )

    def embed(self, tokens: Tensor, voices: Tensor) -> Tensor:
        """Tokens int64 [B, T, 4] and voices [B] → [B, T, WIDE]; codes may be NO_CODE."""
        codes, symbols = tokens[..., 0], tokens[..., 1:]
        return self.embed_values(fsq.to_values(codes.clamp(min=0)), codes >= 0, symbols, voices)

    def embed_values(self, values: Tensor, spoken: Tensor, symbols: Tensor, voices: Tensor) -> Tensor:
        """Quantised values [B, T, 5], whether there is a code [B, T], symbols [B, T, 3], voices [B]."""
        table = self.symbol.weight.view(NUM_SYMBOLS, 3, 64)
        around = torch.cat([table[symbols[..., i], i] for i in range(3)], dim=-1)  # [B, T, 192]
        return self.code(values) * spoken[..., None] + self.context(around) + self.voice(voices)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Whole embedded utterances [B, T, WIDE] → frames [B, 4 T, 86] in features' own units, of the tokens before."""
        for block in self.wide:
            x = block(x)
        x = self.upsample(x).view(x.shape[0], -1, NARROW)
        for block in self.narrow:
            x = block(x)
        return self.frames(x)

    def stream(self, x: Tensor, lengths: list[int], state: DecoderState, slots: Tensor) -> Tensor:
        """Embedded tokens of all rows end to end, [sum of T, WIDE] → their frames [4 sum of T, 86]."""
        rows = Rows(slots, lengths)
        for block, history in zip(self.wide, state.wide):
            x = cast(ConvNeXt, block).stream(x, history, rows)
        x = in_company(self.upsample, x).view(-1, NARROW)
        rows = Rows(slots, [length * features.FRAMES_PER_TOKEN for length in lengths])
        for block, history in zip(self.narrow, state.narrow):
            x = cast(ConvNeXt, block).stream(x, history, rows)
        return self.frames(x)

    def frames(self, x: Tensor) -> Tensor:
        return self.head(self.norm(x)) * self.scale + self.mean
