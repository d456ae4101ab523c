"""HiFT written a second time, as plainly as it can be said: sample by sample where that is bearable."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from stream_server.models.glm_tts.hift_config import HiFTConfig

Tensors = dict[str, Tensor]


def weight(t: Tensors, name: str) -> Tensor:
    for gain, direction in ((".parametrizations.weight.original0", ".parametrizations.weight.original1"),
                            (".weight_g", ".weight_v")):  # fmt: skip
        if name + gain in t:
            rows = [g * v / v.pow(2).sum().sqrt() for g, v in zip(t[name + gain], t[name + direction])]
            return torch.stack(rows)
    return t[name + ".weight"]


def conv(t: Tensors, name: str, x: Tensor, dilation: int = 1, stride: int = 1, padding: int | None = None) -> Tensor:
    w = weight(t, name)
    padding = w.shape[2] // 2 * dilation if padding is None else padding
    return F.conv1d(x[None], w, t[name + ".bias"], stride, padding, dilation)[0]


def stack(t: Tensors, name: str, x: Tensor, dilations: tuple[int, ...]) -> Tensor:
    for i, dilation in enumerate(dilations):
        y = x
        for half, spread in (("1", dilation), ("2", 1)):
            alpha = t[f"{name}.activations{half}.{i}.alpha"][:, None]
            y = y + torch.sin(y * alpha) ** 2 / (alpha + 1e-9)
            y = conv(t, f"{name}.convs{half}.{i}", y, spread)
        x = x + y
    return x


def pitch(t: Tensors, mel: Tensor) -> Tensor:
    x = mel
    for layer in sorted({int(name.split(".")[2]) for name in t if ".condnet." in name}):
        x = F.elu(conv(t, f"f0_predictor.condnet.{layer}", x))
    return (t["f0_predictor.classifier.weight"] @ x + t["f0_predictor.classifier.bias"][:, None])[0].abs()


def source(t: Tensors, c: HiFTConfig, f0: Tensor, noise: Tensor) -> Tensor:
    """Phases by the sample, in Python's own floats."""
    harmonics, frames, hop = noise.shape[1], len(f0), c.hop
    out = torch.zeros(frames * hop, harmonics)
    for h in range(harmonics):
        rad = [(f * (h + 1) / c.sampling_rate) % 1 for f in f0.tolist()]
        at = [sum(rad[: i + 1]) * hop for i in range(frames)]
        for n in range(frames * hop):
            place = min(max((n + 0.5) / hop - 0.5, 0), frames - 1)
            low = int(place)
            high = min(low + 1, frames - 1)
            cycles = at[low] + (at[high] - at[low]) * (place - low)
            out[n, h] = math.sin(2 * math.pi * cycles) * c.nsf_alpha
    voiced = (f0 > c.nsf_voiced_threshold).float().repeat_interleave(hop)[:, None]
    out = out * voiced + noise * (voiced * c.nsf_sigma + (1 - voiced) * c.nsf_alpha / 3)
    return torch.tanh(out @ t["m_source.l_linear.weight"][0] + t["m_source.l_linear.bias"])


def decode(t: Tensors, c: HiFTConfig, mel: Tensor, excitation: Tensor) -> Tensor:
    """mel [mel, F] → sound."""
    n_fft = t["conv_post.bias"].shape[0] - 2
    window = torch.hann_window(n_fft)
    seen = torch.stft(excitation, n_fft, c.istft_hop, window=window, return_complex=True)
    seen = torch.cat([seen.real, seen.imag])
    x = conv(t, "conv_pre", mel)
    stages, kinds = len(c.upsample_rates), len(c.resblock_dilation_sizes)
    for s, rate in enumerate(c.upsample_rates):
        w = weight(t, f"ups.{s}")
        x = torch.where(x > 0, x, x * c.lrelu_slope)
        x = F.conv_transpose1d(x[None], w, t[f"ups.{s}.bias"], rate, (w.shape[2] - rate) // 2)[0]
        if s == stages - 1:
            x = torch.cat([x[:, 1:2], x], dim=1)
        stride = math.prod(c.upsample_rates[s + 1 :])
        beside = conv(t, f"source_downs.{s}", seen, stride=stride, padding=stride // 2 if stride > 1 else 0)
        x = x + stack(t, f"source_resblocks.{s}", beside, c.source_resblock_dilation_sizes[s])
        x = sum(stack(t, f"resblocks.{s * kinds + k}", x, d) for k, d in enumerate(c.resblock_dilation_sizes)) / kinds
    x = conv(t, "conv_post", torch.where(x > 0, x, x * 0.01))
    size, angle = x[: n_fft // 2 + 1].exp().clamp(max=100), torch.sin(x[n_fft // 2 + 1 :])
    sound = torch.istft(torch.polar(size, angle), n_fft, c.istft_hop, window=window)
    return sound.clamp(-c.audio_limit, c.audio_limit)
