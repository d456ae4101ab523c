"""A prompt's positions written into one row of a decode step's cache, a piece at a time.

It computes with the step's own weights and leaves logits to it: what comes last in a prompt is given to the step as
any other position is.  So what a piece needs of the last layer is its keys and values, and no more.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from stream_server.nn.decode_step import DecodeStep, Layer
from stream_server.nn.kv_cache import KVCache


def prefill(step: DecodeStep, x: Tensor, slot: int, start: int, cache: KVCache) -> None:
    """x [P, width] at positions start … of a row whose earlier ones are written; ValueError where it does not fit.

    Cut at the same places the numbers are the same to the last bit, cut elsewhere up to rounding.
    """
    stop = start + len(x)
    if not 0 <= start < stop <= cache.positions:
        raise ValueError(f"positions {start} to {stop} of a row of {cache.positions}")
    x = x.float()
    rotation = step.rotations[start:stop]
    mask = torch.ones(len(x), stop, dtype=torch.bool, device=x.device).tril(start)
    for layer, keys, values in zip(step.layers, cache.keys[:, slot, ..., :stop], cache.values[:, slot, :, :stop]):
        q, keys[..., start:], values[:, start:] = turned(step, normalised(step, x) @ layer.qkv, rotation)
        if layer is step.layers[-1]:
            return
        x = x + listen(step, q, keys, values, mask) @ layer.out
        x = x + feed_forward(layer, normalised(step, x))


def normalised(step: DecodeStep, x: Tensor) -> Tensor:
    """As `DecodeStep.normalise`."""
    squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
    return (x * torch.rsqrt(squares + step.epsilon)).to(step.dtype)


def turned(step: DecodeStep, qkv: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """qkv [P, (H + 2 G) D] → turned and scaled queries [P, H, D], keys [G, D, P] turned and values [G, P, D]."""
    H, G, D = step.heads, step.kv_heads, step.head_dim
    heads = qkv.view(len(qkv), H + 2 * G, D)
    pairs = torch.view_as_complex(heads[:, : H + G].float().view(len(qkv), H + G, D // 2, 2))
    qk = torch.view_as_real(pairs * rotation).flatten(-2).to(step.dtype)
    return qk[:, :H], qk[:, H:].permute(1, 2, 0), heads[:, H + G :].transpose(0, 1)


def listen(step: DecodeStep, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """q [P, H, D] over keys [G, D, T] and values [G, T, D] under a mask [P, T] → [P, H D]."""
    P, H, D = q.shape
    grouped = q.view(P, step.kv_heads, H // step.kv_heads, D).permute(1, 2, 0, 3)
    shape = (*grouped.shape[:2], keys.shape[-1], D)
    known, worth = keys.transpose(1, 2).contiguous()[:, None].expand(shape), values[:, None].expand(shape)
    heard = F.scaled_dot_product_attention(grouped, known, worth, attn_mask=mask, scale=1.0)  # [G, H / G, P, D]
    return heard.permute(2, 0, 1, 3).reshape(P, H * D)


def feed_forward(layer: Layer, h: Tensor) -> Tensor:
    gate, up = (h @ layer.gate_up).chunk(2, dim=-1)
    return (F.silu(gate) * up) @ layer.down
