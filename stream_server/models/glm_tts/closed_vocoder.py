"""The release's 32 kHz vocoder, whose architecture was never published: a TorchScript program, mel → sound.

Such a file is a program and is run only where the user allows it.  It is shown the mel less ln of its window, time
before bins, and gives `hop` samples a frame; a single frame is shown twice.  What is ours counts windows of 1920 at
24 kHz where its own counts 2560 at 32: the same spectrum, magnitudes smaller by 3/4, so that ln 1920 is taken off here,
ln 2560 there, and one mel serves both vocoders.

How far a frame is heard is not told either: it is measured once, when the program is loaded.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log
from pathlib import Path

import torch
from torch import Tensor

from stream_server.models.glm_tts.features import MelSettings
from stream_server.models.glm_tts.files import refusal, size_of

logger = logging.getLogger(__name__)
FILE = "vocos2d/generator_jit.ckpt"
RATE = 32_000
MAX_BYTES = 1 << 30
PROBE = 160  # frames shown to measure its reach
FARTHEST = 64  # frames that are kept or waited for at most, whatever was measured
HEARD = 1e-4  # of the loudest: a difference below is not counted
SPREAD = 2.0  # of the probe's mel, in its logarithm

Program = Callable[[Tensor], Tensor]  # [B, T, bins] → [B, T × hop]


@dataclass(frozen=True)
class ClosedVocoder:
    program: Program
    offset: float  # taken off the mel
    hop: int  # samples a frame
    before: int  # frames of context that a frame's sound depends on
    after: int

    def __call__(self, mel: Tensor) -> Tensor:
        """[B, T, bins] → [B, T × hop], T ≥ 1."""
        shown = mel.float() - self.offset
        if mel.shape[1] == 1:
            return self.program(torch.cat([shown, shown], 1))[:, : self.hop]
        return self.program(shown)


@dataclass
class Place:
    known: int = 0  # frames
    told: int = 0


@dataclass
class ClosedState:
    mel: Tensor  # [S, before + after, bins], right-aligned: ends at `known`
    places: dict[int, Place] = field(default_factory=dict)  # by slot


class ClosedStream:
    """A frame's sound is given out once all it depends on is there, or at the end.  Immutable but for ClosedState."""

    def __init__(self, vocoder: ClosedVocoder) -> None:
        self.vocoder = vocoder
        self.kept = vocoder.before + vocoder.after

    def allocate(self, num_slots: int, like: Tensor) -> ClosedState:
        """like [..., bins]: of a mel's width and device."""
        return ClosedState(torch.zeros(num_slots, self.kept, like.shape[-1], device=like.device))

    def reset(self, slot: int, state: ClosedState) -> None:
        state.mel[slot] = 0
        state.places[slot] = Place()

    @torch.inference_mode()
    def decode(self, slot: int, mel: Tensor, final: bool, state: ClosedState) -> Tensor:
        """A slot's next frames [F, bins], F may be 0 → its sound that is now certain, [n × hop]."""
        place, vocoder = state.places[slot], self.vocoder
        known = torch.cat([state.mel[slot], mel.float()])
        place.known += len(mel)
        state.mel[slot] = known[len(known) - self.kept :]
        begin = max(0, place.told - vocoder.before)
        end = place.known if final else max(place.told, place.known - vocoder.after)
        if end == place.told:
            return mel.new_zeros(0)
        window = known[len(known) - (place.known - begin) :]
        sound = vocoder(window[None])[0, (place.told - begin) * vocoder.hop : (end - begin) * vocoder.hop]
        place.told = end
        return sound


def load_closed(folder: Path, mel: MelSettings, device: str = "cpu") -> ClosedVocoder:
    """Runs the checkpoint's program.  ConfigError where there is none, or it is no such vocoder.

    mel: as the flow makes it.
    """
    path = folder / FILE
    if size_of(path) > MAX_BYTES:
        raise refusal(path, "larger than such a vocoder can be", MAX_BYTES)
    try:
        program = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever such an archive has in it
        raise refusal(path, f"no TorchScript program ({type(error).__name__})") from None
    hop = RATE * mel.hop // mel.rate
    before, after = reach(path, program, mel, hop, device)
    logger.info("the release's 32 kHz vocoder", extra={"frames_before": before, "frames_after": after})
    return ClosedVocoder(program, log(mel.window), hop, before, after)


@torch.inference_mode()
def reach(path: Path, program: Program, mel: MelSettings, hop: int, device: str) -> tuple[int, int]:
    """Frames before and after one whose sound is another where that one is, at most FARTHEST."""
    random = torch.Generator().manual_seed(0)
    shown = torch.randn(1, PROBE, mel.bins, generator=random) * SPREAD - log(mel.window)
    changed = shown.clone()
    middle = PROBE // 2
    changed[:, middle] += SPREAD
    try:
        one, other = (program(each.to(device)) for each in (shown, changed))
    except Exception as error:
        raise refusal(path, f"cannot be run on a mel ({type(error).__name__})") from None
    if one.shape != (1, PROBE * hop) or not one.isfinite().all():
        raise refusal(path, f"does not give {hop} samples a frame")
    heard = ((one - other).abs() > HEARD * one.abs().max()).view(PROBE, hop).any(1).nonzero().flatten().tolist()
    if not heard:
        raise refusal(path, "does not depend on its mel")
    # A frame is heard `heard[-1] - middle` frames later: so many before one's own are its context.
    return min(FARTHEST, heard[-1] - middle), min(FARTHEST, middle - heard[0])
