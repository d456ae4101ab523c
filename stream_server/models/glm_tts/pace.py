"""Speed: the mel is walked over at another pace before the vocoder, which reads F0 from the mel, so the pitch stays.

Places are counted in hundredths of a frame, integers, so that no cut can move them; between two frames a mel is a
straight line in its logarithm.  At speed 1 from whole frames nothing is computed.  Another speed holds from the first
frame that has not been walked over.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

STEP = 100  # a frame


@dataclass
class Place:
    """Where one slot's walk stands."""

    speed: int = STEP  # hundredths of a frame from one given out to the next
    frames: int = 0  # known
    at: int = 0  # hundredths of a frame, of the next one given out


@dataclass
class PaceState:
    last: Tensor  # [S, mel], the latest frame known
    places: dict[int, Place] = field(default_factory=dict)  # by slot


class Pace:
    """Immutable; all that changes is in PaceState."""

    def allocate(self, num_slots: int, like: Tensor) -> PaceState:
        """like [..., mel]: of a mel's width, kind and device."""
        return PaceState(like.new_zeros(num_slots, like.shape[-1]))

    def reset(self, slot: int, speed: float, state: PaceState) -> None:
        state.last[slot] = 0
        state.places[slot] = Place()
        self.set_speed(slot, speed, state)

    def set_speed(self, slot: int, speed: float, state: PaceState) -> None:
        state.places[slot].speed = round(speed * STEP)

    @torch.inference_mode()
    def walk(self, slot: int, mel: Tensor, final: bool, state: PaceState) -> tuple[Tensor, range]:
        """A slot's next frames [F, mel], F may be 0 → those to be heard [H, mel], and where each lies, in hundredths.

        What lies between two frames waits for the second; behind the last of all, that one is held.
        """
        place = state.places[slot]
        first = max(0, place.frames - 1)
        known = torch.cat([state.last[slot, None], mel]) if place.frames else mel
        place.frames += len(mel)
        if len(mel):
            state.last[slot] = mel[-1]
        end = place.frames * STEP if final else (place.frames - 1) * STEP + 1
        places = range(place.at, max(place.at, end), place.speed)
        place.at += len(places) * place.speed
        return walked(known, range(places.start - first * STEP, places.stop - first * STEP, places.step)), places


def walked(known: Tensor, places: range) -> Tensor:
    """Frames [F, mel] at places in hundredths of a frame → [H, mel]."""
    if not places:
        return known[:0]
    if places.step == STEP and places.start % STEP == 0:
        return known[places.start // STEP :][: len(places)]
    at = torch.arange(places.start, places.stop, places.step, device=known.device)
    low, part = at // STEP, (at % STEP / STEP)[:, None]
    high = (low + 1).clamp(max=len(known) - 1)
    return known[low] * (1 - part) + known[high] * part
