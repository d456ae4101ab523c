"""A transformer's decode step over fixed buffers: the tuned form of `Transformer.step`, which is its reference.

What makes it fast where a row is small and every operation's start is felt: norms' weights are folded into the
products behind them, weights lie as products with few rows read them, residuals are added by the product that makes
them, and nothing is allocated.  On a CPU and in float32 all that lies between the products is four compiled `kernels` a
layer; elsewhere it is PyTorch's operations, which a GPU's graph can hold.

A row's numbers are the same in any company (see `layout`).  Weights, keys and values may be bfloat16 or float16; what
is carried from layer to layer, norms, rotation and logits are float32 all the same.  Knows no tokens: embedding is its
owner's, and so is the meaning of what the head gives.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from stream_server.nn import kernels
from stream_server.nn.attention import attend_together
from stream_server.nn.kv_cache import KVCache
from stream_server.nn.layout import FEWEST_ROWS
from stream_server.nn.norm import RMSNorm
from stream_server.nn.rope import angles
from stream_server.nn.transformer import Block

SPAN, SPANS = 32, 8  # rows attend to the longest's length, rounded up to a multiple of 32 or a window's eighth


@dataclass
class Layer:
    """Weights [in, out] as `by_rows` lays them, norms folded in; q and k have the pairs that turn side by side, and q
    is scaled for its product with k."""

    qkv: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor


class Space:
    """Buffers for steps of any number of rows on one cache; what a step uses of them is a `Stretch`."""

    def __init__(self, step: "DecodeStep", cache: KVCache) -> None:
        rows = max(cache.slots, FEWEST_ROWS)
        H, G, D, width = step.heads, step.kv_heads, step.head_dim, step.width
        self.cache = cache
        zeros = partial(torch.zeros, rows, device=cache.data.device)
        weighed = partial(zeros, dtype=step.dtype)  # what products with weights read and make
        self.x, self.h, self.y, self.added = zeros(width), weighed(width), weighed(H * D), weighed(width)
        self.last = self.h if step.dtype == torch.float32 else zeros(width)
        self.length = zeros(1)
        self.qkv = weighed((H + 2 * G) * D)
        self.turning = self.qkv if step.dtype == torch.float32 else zeros((H + G) * D)
        self.gate_up, self.wide = weighed(2 * step.hidden), weighed(step.hidden)
        self.logits = zeros(step.head.shape[1])
        self.stretches: dict[int, Stretch] = {}
        if step.compiled(cache):
            self.kept = list(cache.data.numpy())  # by layer
            self.scores = kernels.room(H // G, cache.positions)

    def stretch(self, rows: int, step: "DecodeStep") -> "Stretch":
        found = self.stretches.get(rows)
        if found is None:
            found = self.stretches[rows] = Stretch(rows, step, self)
        return found


class Stretch:
    """The first rows of a space, and the views into them and the cache that a step uses."""

    def __init__(self, rows: int, step: "DecodeStep", space: Space) -> None:
        full = max(rows, FEWEST_ROWS)
        H, G, D = step.heads, step.kv_heads, step.head_dim
        self.space, self.cache = space, space.cache
        self.x = space.x[:full]  # where one row is given, its twin is filled too
        self.h, self.y, self.length = space.h[:full], space.y[:full], space.length[:full]
        self.added, self.last = space.added[:full], space.last[:full]
        self.qkv = space.qkv[:full]
        self.qk, self.turning = self.qkv[:rows, : (H + G) * D], space.turning[:rows, : (H + G) * D]
        self.turned = torch.view_as_complex(self.turning.view(rows, H + G, D // 2, 2))
        self.queries = self.qkv[:rows, : H * D].view(rows, G, H // G, D)
        self.kv = self.qkv[:rows, H * D :]
        self.heard = self.y[:rows].view(rows, G, H // G, D)
        self.gate_up, self.wide = space.gate_up[:full], space.wide[:full]
        self.gate, self.up = self.gate_up.chunk(2, dim=1)
        self.all_logits = space.logits[:full]
        self.logits = self.all_logits[:rows]
        if step.compiled(space.cache):
            buffers = (self.x, self.h, self.qkv, self.y, self.gate_up, self.wide)
            self.numbers = tuple(buffer.numpy() for buffer in buffers)  # the same memory


@dataclass
class Places:
    """Where a step's rows stand; worked out once for all layers."""

    rotation: Tensor  # complex [B, 1, D / 2]
    mask: Tensor  # [B, 1, span], 0 or -inf
    written: Tensor  # int64 [B, 2 G D]: where the cache takes what each row adds
    slots: Tensor  # int64 [B]


class DecodeStep:
    """Immutable but for its buffers, which hold nothing between calls; `head` is the product behind the last norm."""

    def __init__(
        self,
        blocks: Iterable[Block],
        norm: RMSNorm,
        head: Tensor,
        bias: Tensor,
        max_positions: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """head [N, width] and bias [N] give the logits; a row may have `max_positions` positions.

        Blocks are taken one by one and none is kept, so that weights need not be there twice.
        """
        self.dtype = dtype
        self.layers: list[Layer] = []
        with torch.no_grad():
            for block in blocks:
                if not self.layers:
                    self.measure(block, max_positions)
                self.layers.append(self.layer(block))
            # The head is never narrowed: rounded logits tie where a sampler should choose.
            self.head = by_rows(head * norm.weight * self.scale)
            self.bias = bias.detach().clone()
            self.epsilon = self.width * norm.epsilon  # what the norm adds to the length's square
            turns = angles(torch.arange(max_positions), self.head_dim, self.theta)
            self.rotations = torch.polar(torch.ones_like(turns), turns)[:, None]  # [max, 1, D / 2]
            self.cos, self.sin = turns.cos().numpy(), turns.sin().numpy()
            self.edge = torch.cat([torch.zeros(self.window), torch.full((self.window,), -torch.inf)]).to(dtype)
            self.masks = self.masks_of(self.edge)
        self.latest: Space | None = None

    def measure(self, block: Block, max_positions: int) -> None:
        first = block.attention
        self.heads, self.kv_heads, self.head_dim = first.heads, first.kv_heads, first.head_dim
        self.window, self.theta = min(first.window, max_positions), first.theta
        self.width, self.hidden = first.out.out_features, block.feed_forward.down.in_features
        self.span = max(SPAN, -(-self.window // SPANS))
        self.scale = self.width**0.5  # the norm divides by the length of x, not by its root mean square

    def allocate(self, slots: int, device: torch.device | str = "cpu") -> KVCache:
        """A cache for rows of `max_positions`, of which no more are kept than are attended to."""
        return KVCache(len(self.layers), slots, self.window, self.kv_heads, self.head_dim, device, self.dtype)

    def to(self, device: torch.device | str) -> "DecodeStep":
        """Everything moved to a device; its caches have to be there too."""
        for layer in self.layers:
            for name, weight in vars(layer).items():
                setattr(layer, name, weight.to(device))
        for name in ("head", "bias", "rotations", "edge"):
            setattr(self, name, getattr(self, name).to(device))
        self.masks = self.masks_of(self.edge)
        return self

    def masks_of(self, edge: Tensor) -> Tensor:
        """[window, 1, window], whose row i hides the last i positions: a view, so that long windows cost nothing."""
        return edge.unfold(0, self.window, 1)[:, None]

    def layer(self, block: Block) -> Layer:
        attention, wide = block.attention, block.feed_forward
        qkv = attention.qkv.weight * block.attention_norm.weight * self.scale
        turning = (self.heads + self.kv_heads) * self.head_dim
        qkv[: self.heads * self.head_dim] *= self.head_dim**-0.5
        pairs = qkv[:turning].view(-1, 2, self.head_dim // 2, self.width).transpose(1, 2).reshape(turning, self.width)
        return Layer(
            by_rows(torch.cat([pairs, qkv[turning:]]), self.dtype),
            by_rows(attention.out.weight, self.dtype),
            by_rows(wide.gate_up.weight * block.feed_forward_norm.weight * self.scale, self.dtype),
            by_rows(wide.down.weight, self.dtype),
        )

    def compiled(self, cache: KVCache) -> bool:
        return self.dtype == torch.float32 and cache.data.device.type == "cpu"

    def __call__(self, x: Tensor, slots: list[int], positions: list[int], cache: KVCache) -> Tensor:
        """One new position a row: x [B, width] → logits [B, N], good until the next call; writes the cache."""
        stretch = self.space(cache).stretch(len(slots), self)
        stretch.x.copy_(x)
        if self.compiled(cache):
            return self.run_compiled(stretch, np.array(slots, np.int64), np.array(positions, np.int64))
        last = [min(position, self.window - 1) for position in positions]
        span = min(cache.positions, -(-(max(last) + 1) // self.span) * self.span)
        return self.run(stretch, self.places(int64(self.numbers(slots, positions, cache.positions)), cache, span))

    def run_compiled(self, stretch: Stretch, slots: np.ndarray, positions: np.ndarray) -> Tensor:
        """`run` by kernels; slots and positions int64 [B]."""
        x, h, qkv, heard, gate_up, wide = stretch.numbers
        scores, epsilon = stretch.space.scores, np.float32(self.epsilon)
        for layer, kept in zip(self.layers, stretch.space.kept):
            kernels.normalise(x, epsilon, h)
            torch.mm(stretch.h, layer.qkv, out=stretch.qkv)
            kernels.listen(qkv, self.cos, self.sin, slots, positions, kept, scores, heard)
            stretch.x.addmm_(stretch.y, layer.out)
            kernels.normalise(x, epsilon, h)
            torch.mm(stretch.h, layer.gate_up, out=stretch.gate_up)
            kernels.swiglu(gate_up, wide)
            stretch.x.addmm_(stretch.wide, layer.down)
        kernels.normalise(x, epsilon, h)
        torch.addmm(self.bias, stretch.h, self.head, out=stretch.all_logits)
        return stretch.logits

    def run(self, stretch: Stretch, at: "Places") -> Tensor:
        """The step itself, on tensors alone: the stretch's x → logits."""
        for number, layer in enumerate(self.layers):
            self.normalise(stretch, stretch.h)
            torch.mm(stretch.h, layer.qkv, out=stretch.qkv)
            self.turn(stretch, at.rotation)
            stretch.cache.write(number, at.written, stretch.kv)
            self.listen(number, stretch, at)
            self.add(stretch, stretch.y, layer.out)
            self.feed_forward(stretch, layer)
        self.normalise(stretch, stretch.last)
        torch.addmm(self.bias, stretch.last, self.head, out=stretch.all_logits)
        return stretch.logits

    def listen(self, number: int, stretch: Stretch, at: "Places") -> None:
        """Every row at once, gathered."""
        span = at.mask.shape[-1]
        keys = stretch.cache.keys[number, ..., :span].index_select(0, at.slots)
        values = stretch.cache.values[number, :, :, :span].index_select(0, at.slots)
        stretch.heard.copy_(attend_together(stretch.queries, keys, values, at.mask))

    def space(self, cache: KVCache) -> Space:
        if self.latest is None or self.latest.cache is not cache:
            self.latest = Space(self, cache)
        return self.latest

    def numbers(self, slots: list[int], positions: list[int], ring: int) -> list[list[int]]:
        """[4][B] that `places` reads: what a step is told in whole numbers."""
        hidden = [self.window - 1 - min(position, self.window - 1) for position in positions]
        return [positions, hidden, [position % ring for position in positions], slots]

    def places(self, numbers: Tensor, cache: KVCache, span: int) -> "Places":
        """numbers int64 [4, B], on the step's device."""
        position, hidden, turned, slots = numbers.unbind()
        written = cache.places(slots, turned)
        return Places(self.rotations[position], self.masks[hidden, :, :span], written, slots)

    def turn(self, stretch: Stretch, rotation: Tensor) -> None:
        """Turns q and k where they lie; narrow ones are widened for it."""
        if self.dtype == torch.float32:
            stretch.turned.mul_(rotation)
            return
        stretch.turning.copy_(stretch.qk)
        stretch.turned.mul_(rotation)
        stretch.qk.copy_(stretch.turning)

    def add(self, stretch: Stretch, part: Tensor, weight: Tensor) -> None:
        """x += part @ weight."""
        if self.dtype == torch.float32:
            stretch.x.addmm_(part, weight)
            return
        stretch.x.add_(torch.mm(part, weight, out=stretch.added))

    def feed_forward(self, stretch: Stretch, layer: Layer) -> None:
        self.normalise(stretch, stretch.h)
        torch.mm(stretch.h, layer.gate_up, out=stretch.gate_up)
        F.silu(stretch.gate, inplace=True)
        torch.mul(stretch.gate, stretch.up, out=stretch.wide)
        self.add(stretch, stretch.wide, layer.down)

    def normalise(self, stretch: Stretch, out: Tensor) -> None:
        """out = x / sqrt(sum(x²) + width eps)."""
        torch.linalg.vector_norm(stretch.x, dim=-1, keepdim=True, out=stretch.length)
        stretch.length.square_().add_(self.epsilon).sqrt_()
        torch.div(stretch.x, stretch.length, out=out)


def int64(numbers: list[list[int]]) -> Tensor:
    """Lists of one length → [lists, length]; several times quicker than `torch.tensor`."""
    return torch.from_numpy(np.array(numbers, np.int64))


def by_rows(weight: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """[out, in] → [in, out], contiguous; narrow ones as they were, which their products read faster.

    Measured on an AMX Xeon, bfloat16, two rows of 2,048 against 12,288 columns: 5 ms where the other layout takes 15.
    """
    if dtype == torch.float32:
        return weight.detach().t().contiguous()
    return weight.detach().to(dtype).contiguous().t()
