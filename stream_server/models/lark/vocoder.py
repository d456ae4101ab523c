"""Tokens → sound, for many slots at once: the learned decoder, then the source-filter synthesiser.

Speed is a matter of how fast the synthesiser walks over the frames, so it costs nothing, keeps the pitch and may
change in mid-word.  Both sampling rates are fed by the same frames.  One token of lookahead.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stream_server.engine.messages import Controls
from stream_server.models.interface import Sound
from stream_server.models.lark.decoder import NO_CODE, TOKEN_COLUMNS, Decoder, DecoderState
from stream_server.models.lark.features import FRAMES_PER_TOKEN
from stream_server.models.lark.source_filter import SourceFilter, SynthState
from stream_server.models.lark.symbols import EDGE_ID
from stream_server.models.plan import ChunkPlan
from stream_server.nn.layout import in_company

SAMPLE_RATES = (24_000, 32_000)
CHUNK = ChunkPlan(least=1, most=8, lookahead=1)
STEP = 100  # the walk over the frames is counted in hundredths of a frame


@dataclass
class Walk:
    """Where one slot's synthesiser stands among its frames; integers, so that no cut can move it."""

    sample_rate: int
    voice: int
    speed: int = STEP  # hundredths of a frame per hop
    skip: int = FRAMES_PER_TOKEN  # the first token's output belongs to no token
    frames: int = 0  # frames known
    position: int = 0  # of the next hop
    last: Tensor | None = None  # [1, 86], frame number frames - 1
    token: int = -1  # the last one whose sound has begun

    def take(self, new: Tensor, final: bool) -> tuple[Tensor, list[tuple[int, int]]]:
        """New frames [F, 86] → frames of the hops they allow [H, 86], and (token, hop) where a token's sound begins."""
        base = self.frames - (0 if self.last is None else 1)
        known = new if self.last is None else torch.cat([self.last, new])
        self.frames += len(new)
        places = []
        while self.position // STEP + (0 if final or self.position % STEP == 0 else 1) < self.frames:
            places.append(self.position)
            self.position += self.speed
        if len(known):
            self.last = known[-1:].clone()
        if self.speed == STEP and places and places[0] % STEP == 0:  # hop by frame: nothing lies between two
            first = places[0] // STEP - base
            return known[first : first + len(places)], self.starts(places)
        low = torch.tensor([place // STEP - base for place in places], dtype=torch.int64)
        high = (low + 1).clamp(max=max(0, len(known) - 1))
        part = torch.tensor([place % STEP / STEP for place in places])[:, None]
        return known[low] * (1 - part) + known[high] * part, self.starts(places)

    def starts(self, places: list[int]) -> list[tuple[int, int]]:
        found = []
        for hop, place in enumerate(places):
            token = place // (STEP * FRAMES_PER_TOKEN)
            if token > self.token:
                found.append((token, hop))
                self.token = token
        return found


@dataclass
class VocoderState:
    decoder: DecoderState
    synths: dict[int, SynthState]
    walks: dict[int, Walk] = field(default_factory=dict)  # by slot


class LarkVocoder:
    """Immutable; all that changes is in VocoderState."""

    def __init__(self, decoder: Decoder, voices: tuple[str, ...]) -> None:
        self.decoder = decoder
        self.voices = voices
        self.synths = {rate: SourceFilter(rate) for rate in SAMPLE_RATES}

    def allocate(self, num_slots: int) -> VocoderState:
        synths = {rate: synth.allocate(num_slots) for rate, synth in self.synths.items()}
        return VocoderState(self.decoder.allocate(num_slots), synths)

    def reset(self, slot: int, controls: Controls, state: VocoderState) -> None:
        row = torch.tensor([slot])
        state.decoder.reset(row)
        state.synths[controls.sample_rate].reset(row, torch.tensor([controls.seed]))
        state.walks[slot] = Walk(controls.sample_rate, self.voices.index(controls.voice))
        self.set_speed(slot, controls.speed, state)

    def set_speed(self, slot: int, speed: float, state: VocoderState) -> None:
        state.walks[slot].speed = round(speed * STEP)

    def chunk(self, index: int) -> ChunkPlan:
        return CHUNK

    @torch.inference_mode()
    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: VocoderState) -> list[Sound]:
        inputs = [torch.cat([t.view(-1, TOKEN_COLUMNS), closing()]) if end else t for t, end in zip(tokens, final)]
        frames = self.frames(slots, inputs, state)
        walked = []
        for slot, new, end in zip(slots, frames, final):
            walk = state.walks[slot]
            drop, walk.skip = walk.skip, max(0, walk.skip - len(new))
            walked.append(walk.take(new[drop:], end))
        pcm = self.sound(slots, [hops for hops, _ in walked], state)
        return [
            Sound(sound.numpy(), [(token, hop * self.hop(slot, state)) for token, hop in starts])
            for slot, sound, (_, starts) in zip(slots, pcm, walked)
        ]

    def hop(self, slot: int, state: VocoderState) -> int:
        return self.synths[state.walks[slot].sample_rate].hop

    def frames(self, slots: list[int], inputs: list[Tensor], state: VocoderState) -> list[Tensor]:
        """Each row's frames [4 N_i, 86], all rows computed together."""
        found = [torch.zeros(0, self.decoder.mean.shape[0])] * len(slots)
        rows = [row for row, tokens in enumerate(inputs) if len(tokens)]
        if not rows:
            return found
        lengths = [len(inputs[row]) for row in rows]
        voices = [state.walks[slots[row]].voice for row in rows for _ in range(len(inputs[row]))]
        tokens = torch.cat([inputs[row] for row in rows])
        known = torch.cat([tokens, torch.tensor(voices)[:, None]], dim=1)
        x = in_company(lambda each: self.decoder.embed(each[:, None, :-1], each[:, -1])[:, 0], known)
        frames = self.decoder.stream(x, lengths, state.decoder, torch.tensor([slots[row] for row in rows]))
        frames[..., -1] = torch.sigmoid(frames[..., -1])
        for row, piece in zip(rows, torch.split_with_sizes(frames, [length * FRAMES_PER_TOKEN for length in lengths])):
            found[row] = piece
        return found

    def sound(self, slots: list[int], hops: list[Tensor], state: VocoderState) -> list[Tensor]:
        """Each row's sound [hops * hop], rows of one rate computed together."""
        found = [torch.zeros(0)] * len(slots)
        for rate, synth in self.synths.items():
            rows = [r for r, slot in enumerate(slots) if len(hops[r]) and state.walks[slot].sample_rate == rate]
            if rows:
                frames, counts = torch.cat([hops[row] for row in rows]), [len(hops[row]) for row in rows]
                pieces = synth(frames, counts, state.synths[rate], torch.tensor([slots[row] for row in rows]))
                for row, piece in zip(rows, pieces):
                    found[row] = piece
        return found


def closing() -> Tensor:
    """The token after the last: no code, silence around."""
    return torch.tensor([[NO_CODE] + [EDGE_ID] * (TOKEN_COLUMNS - 1)])
