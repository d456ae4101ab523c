"""The same encoder written plainly, one piece at a time in float64: what the quick one is held against."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + torch.erf(torch.from_numpy(x) / 2**0.5).numpy())


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, causal: bool) -> np.ndarray:
    """[T, C_in] → [T / stride, C_out]."""
    before = 2 if causal else 1
    padded = np.pad(x, ((before, 2 - before), (0, 0)))
    return np.stack(
        [np.einsum("kc,ock->o", padded[at : at + 3], weight) + bias for at in range(0, len(padded) - 2, stride)]
    )


def attended(x: np.ndarray, get: Any, heads: int, valid: int, block: int | None) -> np.ndarray:
    q = x @ get("self_attn.q_proj.weight").T + get("self_attn.q_proj.bias")
    k = x @ get("self_attn.k_proj.weight").T
    v = x @ get("self_attn.v_proj.weight").T + get("self_attn.v_proj.bias")
    size = x.shape[1] // heads
    y = np.zeros_like(x)
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        for at in range(len(x)):
            end = valid if block is None else min(valid, (at // block + 1) * block)
            scores = k[:end, own] @ q[at, own] / size**0.5
            weights = np.exp(scores - scores.max())
            y[at, own] = weights / weights.sum() @ v[:end, own]
    return y @ get("self_attn.out_proj.weight").T + get("self_attn.out_proj.bias")


def before_codebook(tensors: dict[str, Tensor], config: dict[str, Any], picture: np.ndarray, valid: int) -> np.ndarray:
    """[T, bins], of which the first `valid` frames are audio → [positions, C]."""
    known = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    causal, block = config["encoder_causal_convolution"], config["quantize_causal_block_size"]
    x = gelu(convolved(picture, known["conv1.weight"], known["conv1.bias"], 1, causal))
    x = gelu(convolved(x, known["conv2.weight"], known["conv2.bias"], 2, causal))
    x = x + known["embed_positions.weight"][: len(x)]
    valid = -(-valid // 2)
    for layer in range(config["quantize_position"]):

        def get(name: str, layer: int = layer) -> np.ndarray:
            return known[f"layers.{layer}.{name}"]

        narrow = norm(x, get("self_attn_layer_norm.weight"), get("self_attn_layer_norm.bias"))
        x = x + attended(narrow, get, config["encoder_attention_heads"], valid, block)
        narrow = norm(x, get("final_layer_norm.weight"), get("final_layer_norm.bias"))
        wide = gelu(narrow @ get("fc1.weight").T + get("fc1.bias"))
        x = x + wide @ get("fc2.weight").T + get("fc2.bias")
        size = config["pooling_kernel_size"] or 1
        if size > 1 and layer + 1 == config["pooling_position"]:
            x = np.pad(x, ((0, -len(x) % size), (0, 0))).reshape(-1, size, x.shape[1])
            x = x.max(1) if config["pooling_type"] == "max" else x.mean(1)
            valid = -(-valid // size)
            block = block and block // size
    return x


def nearest(rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    return ((x[:, None] - rows) ** 2).sum(-1).argmin(-1)
