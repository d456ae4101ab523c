"""HiFT: mel → sound.  F0 from the mel, harmonics and noise from F0, a convolutional decoder to an inverse STFT.

Attribute names are the checkpoint's; sizes come from the tensors, the rest from `hift_config.py`.  Weight norm, in
either of its spellings, is folded when it is loaded.  `reach` says how far a frame's sound depends on its neighbours;
`hift_stream.py` cuts by it.  Always float32, F0 in float64 but where it is to be as trained.

Shapes: B rows, F frames, C channels; sound has `hop` samples a frame.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.excitation import Excitation
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.models.glm_tts.names import Shapes, compare, fitting, numbered, own_shapes, shapes_of, size_at

LOUDEST = 100.0  # of a bin
LAST_SLOPE = 0.01  # before the last convolution, where everywhere else it is lrelu_slope
MAX_F0_LAYERS = 32
SPELLINGS = (
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    (".weight_g", ".weight_v"),
)
GAINS = tuple(gain for gain, _ in SPELLINGS)


@dataclass(frozen=True)
class HiFTShape:
    mel: int
    channels: tuple[int, ...]  # base, then each stage's
    pre_kernel: int
    post_kernel: int
    up_kernels: tuple[int, ...]
    kernels: tuple[int, ...]  # of a stage's residual stacks
    source_kernels: tuple[int, ...]  # of each stage's source stack
    down: tuple[tuple[int, int], ...]  # kernel and stride of each stage's view of the source
    n_fft: int
    harmonics: int
    f0_channels: int
    f0_kernel: int
    f0_layers: int = 5

    @property
    def f0_reach(self) -> int:
        """Frames on either side that a frame's F0 sees."""
        return self.f0_layers * (self.f0_kernel // 2)


@dataclass(frozen=True)
class Reach:
    """Frames before and after one that its sound depends on, through the mel and through the excitation."""

    before: int
    after: int
    leans: bool  # on the second half of the last frame's excitation too, which is made with the F0 of the one behind


class Snake(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T]: x + sin²(αx) / α."""
        alpha = self.alpha[:, None]
        return torch.addcmul(x, torch.sin(alpha * x).square_(), 1 / (alpha + 1e-9))


class ResidualStack(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()

        def conv(dilation: int) -> nn.Conv1d:
            return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) // 2 * dilation)

        self.convs1 = nn.ModuleList(conv(dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(conv(1) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for act1, conv1, act2, conv2 in zip(self.activations1, self.convs1, self.activations2, self.convs2):
            x = x + conv2(act2(conv1(act1(x))))
        return x


class F0Predictor(nn.Module):
    """In float64 once loaded: phases gather what rounding does to F0, and a cut must not be heard in them."""

    def __init__(self, shape: HiFTShape) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(shape.f0_layers):
            inputs = shape.f0_channels if index else shape.mel
            layers += [nn.Conv1d(inputs, shape.f0_channels, shape.f0_kernel, padding=shape.f0_kernel // 2), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(shape.f0_channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, mel, F] → Hz [B, F]."""
        mel = mel.to(self.classifier.weight.dtype)
        return self.classifier(self.condnet(mel).mT)[..., 0].abs().float()

    def as_trained(self, mel: Tensor) -> Tensor:
        """The same, in float32."""
        return cast(Tensor, deepcopy(self).float()(mel))


class HiFT(nn.Module):
    window: Tensor  # [n_fft]

    def __init__(self, config: HiFTConfig, shape: HiFTShape) -> None:
        super().__init__()
        self.config, self.shape, self.hop = config, shape, config.hop
        channels = shape.channels
        self.conv_pre = nn.Conv1d(shape.mel, channels[0], shape.pre_kernel, padding=shape.pre_kernel // 2)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(wide, narrow, kernel, rate, padding=(kernel - rate) // 2)
            for wide, narrow, kernel, rate in zip(channels, channels[1:], shape.up_kernels, config.upsample_rates)
        )
        self.source_downs = nn.ModuleList(
            nn.Conv1d(shape.n_fft + 2, narrow, kernel, stride, padding=stride // 2 if stride > 1 else 0)
            for narrow, (kernel, stride) in zip(channels[1:], shape.down)
        )
        self.source_resblocks = nn.ModuleList(
            ResidualStack(*each)
            for each in zip(channels[1:], shape.source_kernels, config.source_resblock_dilation_sizes)
        )
        self.resblocks = nn.ModuleList(
            ResidualStack(narrow, *each)
            for narrow in channels[1:]
            for each in zip(shape.kernels, config.resblock_dilation_sizes)
        )
        self.conv_post = nn.Conv1d(channels[-1], shape.n_fft + 2, shape.post_kernel, padding=shape.post_kernel // 2)
        self.m_source = Excitation(config, shape.harmonics)
        self.f0_predictor = F0Predictor(shape)
        self.register_buffer("window", torch.hann_window(shape.n_fft), persistent=False)

    @torch.inference_mode()
    def speak(self, mel: Tensor, noise: Tensor, as_trained: bool = False) -> Tensor:
        """A whole mel [B, F, mel] and standard normal noise [B, F × hop, harmonics] → [B, F × hop].

        as_trained finds F0 and counts phases in float32, as the checkpoint's own code does.
        """
        f0 = self.f0_predictor.as_trained(mel.mT) if as_trained else self.f0_predictor(mel.mT)
        return self.decode(mel.mT, self.source(f0, noise, as_trained))

    def source(self, f0: Tensor, noise: Tensor, as_trained: bool = False) -> Tensor:
        """F0 of a whole sequence [B, F] → its excitation [B, F × hop]."""
        if as_trained:
            return self.m_source(f0, self.m_source.phases_as_trained(f0), noise)
        before = f0.new_zeros(len(f0), self.m_source.harmonics, dtype=torch.float64)
        radians, _ = self.m_source.phases(f0, before, torch.zeros_like(f0[:, 0], dtype=torch.bool))
        return self.m_source(f0, radians, noise)

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """[B, mel, F] and excitation [B, F × hop] → sound [B, F × hop]."""
        seen, stacks = self.spectrum(source), len(self.shape.kernels)
        x = self.conv_pre(mel)
        for stage, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, self.config.lrelu_slope))
            if stage == len(self.ups) - 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[stage](self.source_downs[stage](seen))
            mine = cast(Sequence[nn.Module], self.resblocks)[stage * stacks : (stage + 1) * stacks]
            x = torch.stack([stack(x) for stack in mine]).mean(0)
        return self.sound(self.conv_post(F.leaky_relu(x, LAST_SLOPE)))

    def spectrum(self, source: Tensor) -> Tensor:
        """[B, N] → real parts above imaginary ones, [B, n_fft + 2, N / istft_hop + 1]."""
        spectrum = torch.stft(source, self.shape.n_fft, self.config.istft_hop, window=self.window, return_complex=True)
        return torch.cat([spectrum.real, spectrum.imag], dim=1)

    def sound(self, x: Tensor) -> Tensor:
        """Log magnitudes above what sine makes phases [B, n_fft + 2, T] → [B, (T − 1) × istft_hop]."""
        magnitude, angle = x.chunk(2, dim=1)
        magnitude, angle = magnitude.exp().clamp(max=LOUDEST), angle.sin()
        spectrum = torch.complex(magnitude * angle.cos(), magnitude * angle.sin())
        sound = torch.istft(spectrum, self.shape.n_fft, self.config.istft_hop, window=self.window)
        return sound.clamp(-self.config.audio_limit, self.config.audio_limit)

    def reach(self) -> Reach:
        """Counted back through every layer from the samples of one frame."""
        shape, config = self.shape, self.config
        span = Span(0, self.hop - 1).seen_by_istft(shape.n_fft, config.istft_hop).widened(shape.post_kernel // 2)
        sources = []
        for stage in reversed(range(len(self.ups))):
            span = span.widened(max(map(stack_reach, shape.kernels, config.resblock_dilation_sizes)))
            kernel, stride = shape.down[stage]
            wide = stack_reach(shape.source_kernels[stage], config.source_resblock_dilation_sizes[stage])
            beside = span.widened(wide).seen_by_conv(kernel, stride, stride // 2 if stride > 1 else 0)
            sources.append(beside.seen_by_stft(shape.n_fft, config.istft_hop))
            if stage == len(self.ups) - 1:
                span = Span(span.first - 1, span.last - 1)
            kernel, rate = shape.up_kernels[stage], config.upsample_rates[stage]
            span = span.seen_by_transposed(kernel, rate, (kernel - rate) // 2)
        mel, last = span.widened(shape.pre_kernel // 2), max(each.last for each in sources)
        after = max(mel.last, last // self.hop)
        before = max(-mel.first, -min(each.first for each in sources) // self.hop + 1)
        return Reach(before, after, last >= after * self.hop + self.hop // 2)


@dataclass(frozen=True)
class Span:
    """Positions `first` … `last` of a signal; what a layer's output there is made of."""

    first: int
    last: int

    def widened(self, reach: int) -> "Span":
        return Span(self.first - reach, self.last + reach)

    def seen_by_conv(self, kernel: int, stride: int, padding: int) -> "Span":
        return Span(self.first * stride - padding, self.last * stride - padding + kernel - 1)

    def seen_by_transposed(self, kernel: int, stride: int, padding: int) -> "Span":
        return Span(-((kernel - 1 - padding - self.first) // stride), (self.last + padding) // stride)

    def seen_by_stft(self, n_fft: int, hop: int) -> "Span":
        return Span(self.first * hop - n_fft // 2, self.last * hop + n_fft // 2 - 1)

    def seen_by_istft(self, n_fft: int, hop: int) -> "Span":
        return Span(-((n_fft // 2 - 1 - self.first) // hop), (self.last + n_fft // 2) // hop)


def stack_reach(kernel: int, dilations: Sequence[int]) -> int:
    return sum((kernel - 1) // 2 * (dilation + 1) for dilation in dilations)


def load_hift(config: HiFTConfig, tensors: Mapping[str, Tensor]) -> HiFT:
    """A checkpoint's tensors by name, none missing, none too many.  ConfigError names them."""
    shapes = shapes_of(tensors)
    compare(hift_table(config, shapes), shapes)
    folded = fold(tensors)
    hift = HiFT(config, shape_of(config, shapes_of(folded)))
    hift.load_state_dict(folded)
    hift.f0_predictor.double()
    return hift.eval().requires_grad_(False)


def hift_table(config: HiFTConfig, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Every tensor that a checkpoint with these shapes must have, weight norm spelt as it is there."""
    plain = {folded_name(name): tuple(shape) for name, shape in shapes.items() if not name.endswith(GAINS)}
    sizes = shape_of(config, plain)
    wanted = fitting("vocoder", lambda: own_shapes(HiFT(config, sizes)))
    table: dict[str, tuple[int, ...]] = {}
    for name, shape in wanted.items():
        layer = name.removesuffix(".weight")
        spelt = [pair for pair in SPELLINGS if layer + pair[0] in shapes or layer + pair[1] in shapes]
        for gain, direction in spelt:
            table |= {layer + gain: (shape[0], *[1] * (len(shape) - 1)), layer + direction: shape}
        if not spelt:
            table[name] = shape
    return table


def folded_name(name: str) -> str:
    for _, direction in SPELLINGS:
        name = name.removesuffix(direction) + ".weight" if name.endswith(direction) else name
    return name


def fold(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gains and directions → weights, to the bit as the original has them; all else stays.

    The norm is over all but the first dimension.
    """
    folded = {name: each.float() for name, each in tensors.items()}
    for gain, direction in SPELLINGS:
        for layer in [name.removesuffix(gain) for name in tensors if name.endswith(gain)]:
            size, way = folded.pop(layer + gain), folded.pop(layer + direction)
            folded[layer + ".weight"] = torch._weight_norm(way, size, dim=0)
    return folded


def shape_of(config: HiFTConfig, shapes: Shapes) -> HiFTShape:
    """Sizes from folded tensors' shapes.  ConfigError: one is missing, or a setting does not fit them."""

    def size(name: str, axis: int) -> int:
        return size_at(shapes, name, axis)

    stages = len(config.upsample_rates)
    kernels = len(config.resblock_dilation_sizes)
    up_kernels = [size(f"ups.{stage}.weight", 2) for stage in range(stages)]
    for kernel, rate in zip(up_kernels, config.upsample_rates):
        if kernel < rate or (kernel - rate) % 2:
            raise ConfigError(f"upsample_rates: {rate} does not fit a kernel of {kernel}", field="upsample_rates")
    if len(config.source_resblock_dilation_sizes) != stages:
        raise ConfigError(
            "source_resblock_dilation_sizes needs one entry a stage", field="source_resblock_dilation_sizes"
        )
    strides = [1]
    for rate in reversed(config.upsample_rates[1:]):
        strides.insert(0, strides[0] * rate)
    shape = HiFTShape(
        mel=size("conv_pre.weight", 1),
        channels=(size("conv_pre.weight", 0), *(size(f"ups.{stage}.weight", 1) for stage in range(stages))),
        pre_kernel=size("conv_pre.weight", 2),
        post_kernel=size("conv_post.weight", 2),
        up_kernels=tuple(up_kernels),
        kernels=tuple(size(f"resblocks.{kernel}.convs1.0.weight", 2) for kernel in range(kernels)),
        source_kernels=tuple(size(f"source_resblocks.{stage}.convs1.0.weight", 2) for stage in range(stages)),
        down=tuple((size(f"source_downs.{stage}.weight", 2), stride) for stage, stride in enumerate(strides)),
        n_fft=size("conv_post.weight", 0) - 2,
        harmonics=size("m_source.l_linear.weight", 1),
        f0_channels=size("f0_predictor.classifier.weight", 1),
        f0_kernel=size("f0_predictor.condnet.0.weight", 2),
        f0_layers=numbered(shapes, "f0_predictor.condnet."),
    )
    check(config, shape)
    return shape


def check(config: HiFTConfig, shape: HiFTShape) -> None:
    """What no layer notices, and would come out at another length."""
    if shape.f0_layers > MAX_F0_LAYERS:
        raise ConfigError("the vocoder's checkpoint has too many layers", field="vocoder", limit=MAX_F0_LAYERS)
    odd = (shape.pre_kernel, shape.post_kernel, shape.f0_kernel, *shape.kernels, *shape.source_kernels)
    if any(kernel % 2 == 0 for kernel in odd):
        raise ConfigError("the vocoder's checkpoint has an even kernel", field="vocoder")
    if any(kernel != (2 * stride if stride > 1 else 1) for kernel, stride in shape.down):
        raise ConfigError("upsample_rates: the source's kernels are for others", field="upsample_rates")
    if shape.n_fft % 2 or not 0 < 2 * config.istft_hop <= shape.n_fft:
        raise ConfigError(f"istft_params: a hop of {config.istft_hop} does not fit {shape.n_fft}", field="istft_params")
