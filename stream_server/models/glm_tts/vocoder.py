"""From codes to sound: the flow, the walk over its mel at the listener's pace, the vocoder, the listener's rate.

The flow's chunks, which its schedule alone cuts, go on one by one, so that no sample depends on how codes arrive.
Knows no language model and no text.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from stream_server.engine.messages import Controls
from stream_server.models.glm_tts.chunks import Schedule, schedule
from stream_server.models.glm_tts.closed_vocoder import RATE as CLOSED_RATE
from stream_server.models.glm_tts.closed_vocoder import ClosedState, ClosedStream, ClosedVocoder
from stream_server.models.glm_tts.flow import Flow, Prompt
from stream_server.models.glm_tts.flow_stream import FlowState, FlowStream
from stream_server.models.glm_tts.flow_voices import KEPT, FlowVoices
from stream_server.models.glm_tts.hift import HiFT, Reach
from stream_server.models.glm_tts.hift_stream import HiFTState, HiFTStream
from stream_server.models.glm_tts.outlet import Outlet
from stream_server.models.glm_tts.pace import Pace, PaceState
from stream_server.models.glm_tts.voice import Voice
from stream_server.models.interface import Sound
from stream_server.models.plan import ChunkPlan

CHUNKS = "early"
TRIM, MEASURED = 2, Reach(15, 15, False)  # frames that hardly weigh, of this reach, which is the release's
OTHER_SEED = 0x5EED  # for what is drawn beside codes


@dataclass
class VocoderState:
    flow: FlowState
    hift: HiFTState
    pace: PaceState
    closed: ClosedState | None = None
    outlets: dict[int, Outlet] = field(default_factory=dict)  # by slot


class GLMVocoder:
    """Codes → mel, walked over at the listener's speed → sound.

    32 kHz is the release's other vocoder's where the user has allowed that program, and else this one's, resampled.
    """

    def __init__(self, flow: Flow, hift: HiFT, closed: ClosedVocoder | None = None, kept_voices: int = 0) -> None:
        """kept_voices: of so many, and of whoever speaks, the flow's keys and values are kept; 0: of none."""
        self.schedule: Schedule = schedule(CHUNKS)
        self.flow = FlowStream(flow, self.schedule, keep=kept_voices > 0)
        self.hift = HiFTStream(hift, TRIM if hift.reach() == MEASURED else 0)
        self.closed = None if closed is None else ClosedStream(closed)
        self.pace = Pace()
        self.rate = hift.config.sampling_rate
        self.voices = FlowVoices(self.flow, kept_voices or KEPT)

    def add_voice(self, name: str, voice: Voice) -> None:
        self.voices[name] = Prompt(voice.codes, voice.mel, voice.speaker)

    def allocate(self, num_slots: int) -> VocoderState:
        hift = self.hift.allocate(num_slots)
        closed = None if self.closed is None else self.closed.allocate(num_slots, hift.mel)
        return VocoderState(self.flow.allocate(num_slots), hift, self.pace.allocate(num_slots, hift.mel), closed)

    def reset(self, slot: int, controls: Controls, state: VocoderState) -> None:
        seed = controls.seed ^ OTHER_SEED
        self.flow.reset(slot, self.voices[controls.voice], seed, state.flow)
        self.hift.reset(slot, seed, state.hift)
        self.pace.reset(slot, controls.speed, state.pace)
        lead = self.lead(self.voices[controls.voice].prompt)
        rate, hop = self.rate, self.hift.hift.hop
        if self.closed is not None and state.closed is not None and controls.sample_rate == CLOSED_RATE:
            self.closed.reset(slot, state.closed)
            rate, hop = CLOSED_RATE, self.closed.vocoder.hop
        state.outlets[slot] = Outlet(rate, controls.sample_rate, hop, lead, self.flow.ratio)

    def set_speed(self, slot: int, speed: float, state: VocoderState) -> None:
        self.pace.set_speed(slot, speed, state.pace)

    def chunk(self, index: int) -> ChunkPlan:
        """Calls and the flow's chunks go together: each call brings what its chunk reads beyond the one before."""
        plan = self.schedule.plan(index)
        if index == 0:
            return plan
        tokens = plan.most + plan.lookahead - self.schedule.plan(index - 1).lookahead
        return ChunkPlan(least=tokens, most=tokens, lookahead=0)

    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: VocoderState) -> list[Sound]:
        chunks = self.flow.decode(slots, [each.flatten() for each in tokens], final, state.flow)
        for row, end in zip(chunks, final):
            if end and not row:
                row.append(torch.zeros_like(state.hift.mel[0, :0]))
        pcm: dict[int, list[Tensor]] = {slot: [state.hift.mel.new_zeros(0)] for slot in slots}
        for number in range(max(map(len, chunks))):
            rows = [at for at, row in enumerate(chunks) if number < len(row)]
            here, ends = [slots[at] for at in rows], [final[at] and number == len(chunks[at]) - 1 for at in rows]
            frames = [self.walk(slots[at], chunks[at][number], end, state) for at, end in zip(rows, ends)]
            for slot, sound in zip(here, self.sounds(here, frames, ends, state)):
                pcm[slot].append(sound)
        return [
            state.outlets[slot].give(torch.cat(pcm[slot]).float().cpu().numpy(), end) for slot, end in zip(slots, final)
        ]

    def sounds(self, slots: list[int], frames: list[Tensor], final: list[bool], state: VocoderState) -> list[Tensor]:
        """By each slot's own vocoder; those of the open one are decoded together."""
        found: dict[int, Tensor] = {}
        for slot, mel, end in zip(slots, frames, final):
            if self.closed is not None and state.closed is not None and state.outlets[slot].rate == CLOSED_RATE:
                found[slot] = self.closed.decode(slot, mel, end, state.closed)
        others = [at for at, slot in enumerate(slots) if slot not in found]
        if others:
            rows = [slots[at] for at in others]
            made = self.hift.decode(rows, [frames[at] for at in others], [final[at] for at in others], state.hift)
            found |= dict(zip(rows, made))
        return [found[slot] for slot in slots]

    def walk(self, slot: int, mel: Tensor, final: bool, state: VocoderState) -> Tensor:
        frames, places = self.pace.walk(slot, mel, final, state.pace)
        state.outlets[slot].note(places)
        return frames

    def lead(self, prompt: Prompt) -> int:
        """Codes of a recording round up, frames down: the frames that are too few of it are heard before the text."""
        return max(0, len(prompt.tokens) * self.flow.ratio - len(prompt.mel))
