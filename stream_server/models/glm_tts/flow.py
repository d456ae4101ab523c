"""Speech tokens → mel by flow matching: Euler steps from noise to mel, guided away from an unconditional pass.

This is the whole of it, as it was trained: every frame sees every other, or the block mask that was meant for chunks.
Both passes of a step go through the network as one batch.  The state of the steps is float32 whatever the weights are.
`flow_stream.py` cuts the same network into chunks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.dit import NO_TOKEN, PREFIX, DiT, DiTShape, Modulation, shape_of
from stream_server.models.glm_tts.flow_config import FlowConfig
from stream_server.models.glm_tts.names import Shapes, compare, fitting, own_shapes, shapes_of, size_at

SPEAKER = "spk_embed_affine_layer.weight"
MASK_FRAMES_PER_TOKEN = (12.5, 22050, 256)  # the mask counts as an older model did: token rate, sample rate, hop
SHORT_BLOCK = 172  # frames; up to here a block looks half its length ahead, beyond it two thirds


@dataclass(frozen=True)
class Prompt:
    """What a voice brings to the flow."""

    tokens: Tensor  # int64 [N]
    mel: Tensor  # float32 [P, mel]
    speaker: Tensor  # float32 [S], of any length


@dataclass(frozen=True)
class Steps:
    """The state before each step, for those who go on from it, and the mel after the last."""

    mel: Tensor  # float32 [mel, T − P]: without the prompt's frames
    states: Tensor  # float32 [steps, T, mel], the prompt's frames too


class Flow(nn.Module):
    def __init__(self, config: FlowConfig, shape: DiTShape, speaker_channels: int) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        self.estimator = DiT(shape)
        if shape.concat:
            self.spk_embed_affine_layer = nn.Linear(speaker_channels, shape.concat)

    @property
    def device(self) -> torch.device:
        return self.estimator.device

    def frames(self, tokens: int) -> int:
        """Of so many tokens, as the model was trained and run: in floating point, which at 29, 57, 58 and 113–116
        tokens of 25 Hz comes out one short of two a token.  Streams use the whole number, `config.ratio`."""
        return int(tokens / self.config.token_rate * self.config.mel_rate)

    def stretch(self, tokens: Tensor, frames: int) -> Tensor:
        """int64 [N] → the nearest token of each frame, int64 [T]."""
        return F.interpolate(tokens[None, None].float(), size=frames, mode="nearest")[0, 0].long()

    def times(self, steps: int) -> Tensor:
        """The instants the steps go between, float32 [steps + 1], 0 … 1."""
        even = torch.linspace(0, 1, steps + 1, device=self.device)
        return 1 - torch.cos(even * 0.5 * torch.pi) if self.config.schedule == "cosine" else even

    def told(self, speaker: Tensor, steps: int) -> Modulation:
        """Modulations of all steps, two rows each: with the speaker and without.  A voice's, computed once."""
        unit = F.normalize(speaker.float(), dim=-1)
        both = torch.stack([unit, torch.zeros_like(unit)]).repeat(steps, 1)
        return self.estimator.modulation(self.times(steps)[:-1].repeat_interleave(2), both)

    def condition(self, mel: Tensor, speaker: Tensor) -> Tensor:
        """Condition mel [T, mel] → [2, T, mel + concat]: with, and without either."""
        known = mel
        if self.shape.concat:
            beside = self.spk_embed_affine_layer(F.normalize(speaker.float(), dim=-1).to(self.estimator.dtype))
            known = torch.cat([mel, beside.float().expand(len(mel), -1)], dim=-1)
        return torch.stack([known, torch.zeros_like(known)])

    def features(self, frames: Tensor) -> Tensor:
        """Tokens of the frames int64 [T] → token features [2, T, text]: of both passes, computed once for all steps."""
        told = self.estimator.text_emb_layer(frames[None])
        without = (
            self.estimator.text_emb_layer(torch.full_like(frames[None], NO_TOKEN)) if self.config.token_cfg else told
        )
        return torch.cat([told, without])

    def guided(self, velocities: Tensor) -> Tensor:
        """[2 B, T, mel], all rows with the condition and then all without → [B, T, mel]."""
        with_, without = velocities.chunk(2)
        return (1 + self.config.cfg_rate) * with_ - self.config.cfg_rate * without

    @torch.inference_mode()
    def sample(
        self,
        prompt: Prompt,
        tokens: Tensor,
        noise: Tensor,
        steps: int | None = None,
        visible: Tensor | None = None,
        fixed: Tensor | None = None,
    ) -> Steps:
        """All tokens int64 [N] at once, after the prompt's; noise float32 [T, mel], T = frames(prompt and tokens).

        visible int64 [T]: frame i sees those before visible[i].  fixed float32 [steps, K, mel]: states that the first K
        frames take before each step, so that they go the way they went before.
        """
        steps = steps or self.config.steps
        count = self.frames(len(prompt.tokens) + len(tokens))
        if noise.shape != (count, self.shape.mel):
            raise ValueError(f"noise is {tuple(noise.shape)}, the flow has {(count, self.shape.mel)}")
        mel = torch.zeros_like(noise)
        known = prompt.mel[-count:]
        mel[: len(known)] = known
        condition = self.condition(mel, prompt.speaker)
        features = self.features(self.stretch(torch.cat([prompt.tokens, tokens]), count))
        turn = self.estimator.rotation(torch.arange(count, device=self.device))
        mask = None if visible is None else (torch.arange(count, device=self.device) < visible[:, None])[None, None]
        told = self.told(prompt.speaker, steps)
        states, x = [], noise.float()
        for step, (begin, end) in enumerate(pairwise(self.times(steps).tolist())):
            if fixed is not None:
                x = torch.cat([fixed[step], x[fixed.shape[1] :]])
            states.append(x)
            embedded = self.estimator.embed(x.expand(2, -1, -1), condition, features)
            velocities, _ = self.estimator.velocity(embedded, told[2 * step : 2 * step + 2], turn, mask)
            x = x + (end - begin) * self.guided(velocities)[0]
        return Steps(x[len(prompt.mel) :].T, torch.stack(states))


def load_flow(config: FlowConfig, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> Flow:
    """A checkpoint's tensors by name, none missing, none too many.  ConfigError names them, and a file's wrong claims.

    Only parameters take `dtype`: frequencies stay float32.
    """
    shapes = shapes_of(tensors)
    compare(flow_table(config, shapes), shapes)
    flow = empty_flow(config, shapes)
    flow.load_state_dict({name: each.float() for name, each in tensors.items()})
    for parameter in flow.parameters():
        parameter.data = parameter.data.to(dtype)
    return flow.eval().requires_grad_(False)


def flow_table(config: FlowConfig, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Every tensor that a checkpoint with these shapes must have: names and shapes, before any of it is read."""
    check(config, shape_of(shapes))
    return fitting("flow", lambda: own_shapes(empty_flow(config, shapes)))


def empty_flow(config: FlowConfig, shapes: Shapes) -> Flow:
    speaker = size_at(shapes, SPEAKER, 1) if SPEAKER in shapes else 0
    return Flow(config, shape_of(shapes), speaker)


def check(config: FlowConfig, shape: DiTShape) -> None:
    """What the file says against what the tensors are."""
    claims: list[tuple[str, int | None, int]] = [
        *((key, value, getattr(shape, field)) for key, field, value in config.dimensions),
        ("spkr_emb_adaLN", config.speaker_modulates, shape.speaker > 0),
        ("remove_spkr_concat_condition", config.speaker_removed, shape.concat == 0),
    ]
    for key, claimed, found in claims:
        if claimed not in (None, found):
            raise ConfigError(f"{key} is {claimed}, the flow's checkpoint has {found}", field=key)
    if shape.text % 2 or shape.times % 2 or shape.text_kernel % 2 == 0 or shape.position_kernel % 2 == 0:
        raise ConfigError("the flow's checkpoint has an odd width or an even kernel", field=PREFIX)


def visible_lengths(blocks: Sequence[int], frames: int) -> Tensor:
    """The block mask meant for chunks: blocks in tokens, the last repeating → int64 [frames], how far each one sees.

    Tokens are taken as frames of an older model (172 for 25 instead of 50); kept, because it is what there is.
    """
    seen: list[int] = []
    sizes = mask_frames(blocks)
    while len(seen) < frames:
        size = sizes[0] if len(sizes) == 1 else sizes.pop(0)
        end = len(seen) + size
        ahead = size // 2 if size <= SHORT_BLOCK else int(size / 1.5)
        seen += [end + max(0, ahead - (end - 1 - at)) for at in range(len(seen), end)]
    return torch.tensor(seen[:frames]).clamp(max=frames)


def mask_frames(blocks: Sequence[int]) -> list[int]:
    rate, samples, hop = MASK_FRAMES_PER_TOKEN
    sizes = [math.floor(tokens / rate * samples / hop) for tokens in blocks]
    if not sizes or min(sizes) < 1:
        raise ValueError("a mask needs blocks of at least one token")
    return sizes
