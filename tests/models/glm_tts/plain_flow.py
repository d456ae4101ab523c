"""The flow written a second time, as plainly as it can be said: loops, one pass at a time, nothing shared with ours."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]


def linear(t: Tensors, name: str, x: Tensor) -> Tensor:
    return x @ t[name + ".weight"].T + t[name + ".bias"]


def text(t: Tensors, ids: list[int]) -> Tensor:
    p = "estimator.text_emb_layer."
    x = t[p + "text_embed.weight"][ids]
    channels = x.shape[1]
    blocks = 1 + max((int(n.split("text_blocks.")[1].split(".")[0]) for n in t if "text_blocks." in n), default=-1)
    if blocks:
        for at in range(len(ids)):
            for c in range(channels // 2):
                angle = min(at, 4095) / 10_000 ** (2 * c / channels)
                x[at, c] += math.cos(angle)
                x[at, channels // 2 + c] += math.sin(angle)
    for b in range(blocks):
        n = f"{p}text_blocks.{b}."
        kernel = t[n + "dwconv.weight"]
        y = F.conv1d(x.T[None], kernel, t[n + "dwconv.bias"], padding=kernel.shape[2] // 2, groups=channels)[0].T
        y = F.layer_norm(y, (channels,), t[n + "norm.weight"], t[n + "norm.bias"], 1e-6)
        y = F.gelu(linear(t, n + "pwconv1", y))
        loud = (y**2).sum(0).sqrt()
        y = t[n + "grn.gamma"][0] * y * loud / (loud.mean() + 1e-6) + t[n + "grn.beta"][0] + y
        x = x + linear(t, n + "pwconv2", y)
    return x


def turn(x: Tensor, rates: Tensor) -> Tensor:
    """[T, C]: pairs of the first channels only."""
    x = x.clone()
    for at in range(len(x)):
        for pair, rate in enumerate(rates.tolist()):
            a, b = x[at, 2 * pair].item(), x[at, 2 * pair + 1].item()
            c, s = math.cos(at * rate), math.sin(at * rate)
            x[at, 2 * pair], x[at, 2 * pair + 1] = a * c - b * s, b * c + a * s
    return x


def network(t: Tensors, x: Tensor, condition: Tensor, features: Tensor, time: float, speaker: Tensor) -> Tensor:
    """One row [T, mel] → its velocity."""
    half = t["estimator.time_embed.time_mlp.0.weight"].shape[1] // 2
    angles = torch.tensor([1000 * time * math.exp(-math.log(10_000) * i / (half - 1)) for i in range(half)])
    told = torch.cat([angles.sin(), angles.cos()])
    told = linear(t, "estimator.time_embed.time_mlp.2", F.silu(linear(t, "estimator.time_embed.time_mlp.0", told)))
    width = len(told)
    if t["estimator.norm_out.linear.weight"].shape[1] > width:
        told = torch.cat([told, speaker])
    told = F.silu(told)
    h = linear(t, "estimator.emb_concator.proj", torch.cat([x, condition, features], dim=1))
    y = h.T[None]
    for layer in (0, 2):
        n = f"estimator.emb_concator.conv_pos_embed.conv1d.{layer}."
        k = t[n + "weight"]
        y = F.mish(F.conv1d(y, k, t[n + "bias"], padding=k.shape[2] // 2, groups=width // k.shape[1]))
    h = h + y[0].T
    rates = t["estimator.rotary_embed.inv_freq"]
    size = 2 * len(rates)
    depth = 1 + max(int(n.split(".")[2]) for n in t if n.startswith("estimator.transformer_blocks."))
    for b in range(depth):
        n = f"estimator.transformer_blocks.{b}."
        m = linear(t, n + "attn_norm.linear", told).view(6, width)
        y = F.layer_norm(h, (width,), eps=1e-6) * (1 + m[1]) + m[0]
        q, k, v = (linear(t, n + "attn.to_" + which, y) for which in "qkv")
        q, k = turn(q, rates), turn(k, rates)
        heads = []
        for head in range(q.shape[1] // size):
            at = slice(head * size, (head + 1) * size)
            heads.append(torch.softmax(q[:, at] @ k[:, at].T / size**0.5, dim=1) @ v[:, at])
        h = h + m[2] * linear(t, n + "attn.to_out.0", torch.cat(heads, dim=1))
        y = F.layer_norm(h, (width,), eps=1e-6) * (1 + m[4]) + m[3]
        h = h + m[5] * linear(t, n + "ff.ff.2", F.gelu(linear(t, n + "ff.ff.0.0", y), approximate="tanh"))
    scale, shift = linear(t, "estimator.norm_out.linear", told).chunk(2)
    return linear(t, "estimator.proj_out", F.layer_norm(h, (width,), eps=1e-6) * (1 + scale) + shift)


def sample(
    t: Tensors, prompt: list[int], ids: list[int], mel: Tensor, speaker: Tensor, noise: Tensor, steps: int, cfg: float,
    token_cfg: bool = False, cosine: bool = True,
) -> Tensor:  # fmt: skip
    """→ [T, mel], the prompt's frames too.  As many frames as the noise has."""
    frames, every = len(noise), prompt + ids
    mine = [every[min(int(i * len(every) / frames), len(every) - 1)] for i in range(frames)]
    features = text(t, mine)
    without = text(t, [0] * frames) if token_cfg else features
    condition = torch.zeros_like(noise)
    condition[: len(mel)] = mel
    unit = speaker / speaker.norm()
    if "spk_embed_affine_layer.weight" in t:
        beside = linear(t, "spk_embed_affine_layer", unit)
        condition = torch.cat([condition, beside.expand(frames, -1)], dim=1)
    x, at = noise, [i / steps for i in range(steps + 1)]
    if cosine:
        at = [1 - math.cos(math.pi / 2 * each) for each in at]
    for i in range(steps):
        yes = network(t, x, condition, features, at[i], unit)
        no = network(t, x, torch.zeros_like(condition), without, at[i], torch.zeros_like(unit))
        x = x + (at[i + 1] - at[i]) * ((1 + cfg) * yes - cfg * no)
    return x
