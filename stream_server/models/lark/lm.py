"""The pointer LM: an autoregressive decoder over speech codes that is told which phone it is speaking.

At every 40 ms step the input is the code before, the encoding of the symbol under the pointer, how many steps the
pointer has stood there, and the voice; the outputs are the next code and how far the pointer moves (0 … 4 symbols).
So nothing is skipped or said twice, the end is the end of the symbols, and each step knows its word.
"""

from dataclasses import asdict, dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.models.lark import fsq
from stream_server.models.lark.symbols import NUM_SYMBOLS
from stream_server.nn.conv import KERNEL, ConvNeXt
from stream_server.nn.layout import FEWEST_ROWS
from stream_server.nn.transformer import Transformer

MAX_ADVANCE = 4  # symbols in one step
MAX_DWELL = 24  # steps the pointer may stand on one symbol (0.96 s)
TEXT_BLOCKS = 2
LOOKAHEAD = TEXT_BLOCKS * (KERNEL - 1) // 2  # symbols the encoding of one sees to either side
FIRST = fsq.NUM_CODES  # the code before the first one


@dataclass(frozen=True)
class LMConfig:
    num_voices: int = 2
    width: int = 256
    layers: int = 5
    heads: int = 4
    kv_heads: int = 1
    hidden: int = 704
    window: int = 192  # positions attended to: 7.7 s
    dropout: float = 0.1  # of the inputs, in training

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class TextEncoder(nn.Module):
    """Symbols → encodings, each from LOOKAHEAD symbols to either side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.symbol = nn.Embedding(NUM_SYMBOLS, width)
        self.blocks = nn.ModuleList(ConvNeXt(width, expansion=2) for _ in range(TEXT_BLOCKS))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.symbol.weight, std=0.5)

    def forward(self, symbols: Tensor) -> Tensor:
        """int64 [B, N] → [B, N, width]; both ends see zeros beyond."""
        x = self.symbol(symbols)
        for block in self.blocks:
            x = cast(ConvNeXt, block).centred(x)
        return self.norm(x)

    def windows(self, symbols: Tensor, inside: Tensor) -> Tensor:
        """The same, one symbol at a time: int64 and bool [n, 2 LOOKAHEAD + 1] around each → [n, width].

        Whatever is computed together, each symbol's numbers come from its own window; `inside` is False beyond
        either end of the text.
        """
        if len(symbols) < FEWEST_ROWS:
            return self.windows(symbols.expand(FEWEST_ROWS, -1), inside.expand(FEWEST_ROWS, -1))[: len(symbols)]
        side = (KERNEL - 1) // 2
        x = self.symbol(symbols)
        for block in self.blocks:
            x = x * inside[..., None]
            x = cast(ConvNeXt, block).residual(x[:, side:-side], x)
            inside = inside[:, side:-side]
        return self.norm(x)[:, 0]


class PointerLM(nn.Module):
    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text = TextEncoder(width)
        self.code_digits = nn.ModuleList(nn.Embedding(levels, width) for levels in fsq.LEVELS)
        self.code_free = nn.Embedding(fsq.NUM_CODES + 1, width)
        self.dwell = nn.Embedding(MAX_DWELL, width)
        self.voice = nn.Embedding(config.num_voices, width)
        self.transformer = Transformer(
            config.layers, width, config.heads, config.kv_heads, config.hidden, config.window
        )
        self.code_bias = nn.Parameter(torch.zeros(fsq.NUM_CODES))
        self.advance = nn.Linear(width, MAX_ADVANCE + 1)
        for table in (*self.code_digits, self.dwell, self.voice):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.normal_(self.code_free.weight, std=0.05)

    def code_table(self) -> Tensor:
        """[NUM_CODES + 1, width]: a code's row is the sum of its five digits' vectors and a row of its own."""
        digits = fsq.digits(torch.arange(fsq.NUM_CODES, device=self.code_bias.device))
        shared = torch.stack([table(digits[:, i]) for i, table in enumerate(self.code_digits)]).sum(0)
        return self.code_free.weight + F.pad(shared, (0, 0, 0, 1))

    def embed(self, table: Tensor, codes: Tensor, text: Tensor, dwell: Tensor, voices: Tensor) -> Tensor:
        """Codes before, encodings [..., width], dwell and voices, all [...] → inputs [..., width]."""
        return table[codes] + text + self.dwell(dwell.clamp(max=MAX_DWELL - 1)) + self.voice(voices)

    @property
    def code_scale(self) -> float:
        return self.config.width**-0.5 * 4

    def heads(self, table: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """[..., width] → code logits [..., NUM_CODES], advance logits [..., 5]."""
        codes = F.linear(hidden * self.code_scale, table[: fsq.NUM_CODES], self.code_bias)
        return codes, self.advance(hidden)

    def head(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Both heads as one product: weight [NUM_CODES + 5, width] and bias."""
        weight = torch.cat([table[: fsq.NUM_CODES] * self.code_scale, self.advance.weight])
        return weight, torch.cat([self.code_bias, self.advance.bias])

    def forward(self, batch: "PathBatch") -> tuple[Tensor, Tensor]:
        """Whole utterances, as in training: → code logits [B, T, NUM_CODES], advance logits [B, T, 5]."""
        table = self.code_table()
        encoded = self.text(batch.symbols)  # [B, N, width]
        text = encoded.gather(1, batch.pointer[..., None].expand(-1, -1, encoded.shape[-1]))
        x = self.embed(table, batch.before, text, batch.dwell, batch.voices[:, None])
        x = F.dropout(x, self.config.dropout, self.training)
        return self.heads(table, self.transformer(x))


@dataclass
class PathBatch:
    """Utterances with their path over the symbols, padded."""

    symbols: Tensor  # int64 [B, N]
    pointer: Tensor  # int64 [B, T]
    dwell: Tensor  # int64 [B, T]: steps the pointer has stood on its symbol
    before: Tensor  # int64 [B, T]: the code before, FIRST at the beginning
    voices: Tensor  # int64 [B]
