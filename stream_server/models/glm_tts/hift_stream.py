"""HiFT cut anywhere: frames as they come, the same samples as of the whole mel (to rounding).

A frame's sound is given out once all it depends on is there: `hold` frames later, or at the end.  F0 and excitation
are made once for every frame and kept, with the phases' count, as long as somebody's sound still depends on them; the
decoder runs again over `Reach.before` frames of context.  Noise belongs to the sample's number and the request's seed.
Where `together`, rows whose windows are equally long are decoded as one batch, which moves a row's last bits by its
company.  On a CPU, where a batch saves next to nothing, each is decoded by itself.  Cut at the same places a mel is the
same sound to the bit, cut elsewhere to rounding.

`trim` leaves out the outermost frames of the reach ahead, which hardly weigh: of the release's rates the last two carry
1e-10 of full scale, below what float32 can say, and holding 18 frames instead of 20 is 40 ms sooner.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stream_server.models.glm_tts.hift import HiFT
from stream_server.nn.noise import gaussian


@dataclass
class Place:
    """How far one slot has come, in frames from its sequence's first."""

    seed: int
    known: int = 0  # mel
    excited: int = 0  # excitation, for good
    told: int = 0  # sound given out
    final: bool = False

    def pitched(self, reach: int) -> int:
        """Frames whose F0 can be known."""
        return self.known if self.final else max(0, self.known - reach)


@dataclass
class HiFTState:
    """One row per slot; what lies right-aligned ends at the frame its Place names."""

    mel: Tensor  # [S, mel kept, mel], ends at `known`
    source: Tensor  # [S, excitation kept × hop], ends at `excited`
    cycles: Tensor  # float64 [S, H], at the middle of frame `excited` − 1
    places: dict[int, Place] = field(default_factory=dict)  # by slot


class HiFTStream:
    """Immutable; all that changes is in HiFTState."""

    def __init__(self, hift: HiFT, trim: int = 0, together: bool | None = None) -> None:
        """together None: but on a CPU."""
        self.hift = hift
        self.together = hift.conv_pre.weight.device.type != "cpu" if together is None else together
        reach = hift.reach()
        self.before, self.after = reach.before, max(0, reach.after - trim)
        self.ahead = 0 if reach.leans else 1  # a last frame whose excitation is right only in its first half
        self.f0_reach = hift.shape.f0_reach
        self.hold = self.after + 1 - self.ahead + self.f0_reach  # frames
        self.kept = max(self.before, self.f0_reach) + self.hold

    def allocate(self, num_slots: int) -> HiFTState:
        like = self.hift.conv_pre.weight
        return HiFTState(
            mel=like.new_zeros(num_slots, self.kept, self.hift.shape.mel),
            source=like.new_zeros(num_slots, self.kept * self.hift.hop),
            cycles=like.new_zeros(num_slots, self.hift.shape.harmonics, dtype=torch.float64),
        )

    def reset(self, slot: int, seed: int, state: HiFTState) -> None:
        for rows in (state.mel, state.source, state.cycles):
            rows[slot] = 0
        state.places[slot] = Place(seed)

    @torch.inference_mode()
    def decode(self, slots: list[int], mels: list[Tensor], final: list[bool], state: HiFTState) -> list[Tensor]:
        """Each row's next frames [F_i, mel], F_i may be 0 → its sound that is now certain, [n_i × hop]."""
        known = [torch.cat([state.mel[slot], mel]) for slot, mel in zip(slots, mels)]
        for slot, mel, end, joined in zip(slots, mels, final, known):
            place = state.places[slot]
            place.known += len(mel)
            place.final = end
            state.mel[slot] = joined[len(mel) :]
        return self.tell(slots, known, self.excite(slots, known, state), state)

    def excite(self, slots: list[int], known: list[Tensor], state: HiFTState) -> list[Tensor]:
        """Each row's kept excitation with that of new frames behind it, [N_i]; what is wholly right is kept."""
        joined = [state.source[slot] for slot in slots]
        places = [state.places[slot] for slot in slots]
        counts = {row: place.pitched(self.f0_reach) - place.excited for row, place in enumerate(places)}

        def window(row: int) -> tuple[int, int, int, bool]:
            """Frames before the first to make, to make, known from it on, and whether those are all."""
            place = places[row]
            return min(place.excited, self.f0_reach), counts[row], place.known - place.excited, place.final

        for rows in self.alike([row for row, count in counts.items() if count > 0], window):
            before, count, here, final = window(rows[0])
            mel = torch.stack([tail(known[row], before + here) for row in rows])
            f0 = self.hift.f0_predictor(mel.mT)[:, before : before + count]
            lasting = count if final else count - 1
            made = self.source(f0, lasting, [slots[row] for row in rows], state)
            for row, piece in zip(rows, made):
                joined[row] = torch.cat([joined[row], piece])
                state.source[slots[row]] = joined[row][lasting * self.hift.hop :][: state.source.shape[1]]
                places[row].excited += lasting
        return joined

    def source(self, f0: Tensor, lasting: int, slots: list[int], state: HiFTState) -> Tensor:
        """F0 of the next frames [B, F] → [B, F × hop]; phases are carried on from frame number `lasting`."""
        places = [state.places[slot] for slot in slots]
        begun = torch.tensor([place.excited > 0 for place in places], device=f0.device)
        at = torch.tensor(slots, device=f0.device)
        radians, middles = self.hift.m_source.phases(f0, state.cycles[at], begun)
        if lasting:
            state.cycles[at] = middles[:, lasting - 1]
        return self.hift.m_source(f0, radians, self.noise(places, f0.shape[1], f0.device))

    def noise(self, places: list[Place], count: int, device: torch.device) -> Tensor:
        """Of each row's next `count` frames, [B, count × hop, H]."""
        per_frame = self.hift.hop * self.hift.shape.harmonics
        begin = torch.tensor([place.excited * per_frame for place in places], device=device)
        seeds = torch.tensor([place.seed for place in places], device=device)
        numbers = begin[:, None] + torch.arange(count * per_frame, device=device)
        return gaussian(seeds[:, None], numbers).view(len(places), -1, self.hift.shape.harmonics)

    def tell(self, slots: list[int], known: list[Tensor], excited: list[Tensor], state: HiFTState) -> list[Tensor]:
        hop, sounds = self.hift.hop, [known[0].new_zeros(0)] * len(slots)
        places = [state.places[slot] for slot in slots]
        made = [place.known if place.final else place.pitched(self.f0_reach) for place in places]
        ends = [m if p.final else m - 1 + self.ahead - self.after for m, p in zip(made, places)]
        begins = [max(0, place.told - self.before) for place in places]
        ready = [row for row, place in enumerate(places) if ends[row] > place.told]
        for rows in self.alike(ready, lambda row: made[row] - begins[row]):
            mel = torch.stack([tail(known[r], places[r].known - begins[r])[: made[r] - begins[r]] for r in rows])
            source = torch.stack([tail(excited[r], (made[r] - begins[r]) * hop) for r in rows])
            for row, sound in zip(rows, self.hift.decode(mel.mT, source)):
                sounds[row] = sound[(places[row].told - begins[row]) * hop : (ends[row] - begins[row]) * hop]
                places[row].told = ends[row]
        return sounds

    def alike(self, rows: Iterable[int], kind: Callable[[int], Any]) -> list[list[int]]:
        """Rows that are computed together: those of one kind, in order."""
        groups: dict[Any, list[int]] = {}
        for row in rows:
            groups.setdefault(kind(row) if self.together else row, []).append(row)
        return list(groups.values())


def tail(x: Tensor, length: int) -> Tensor:
    return x[len(x) - length :]
