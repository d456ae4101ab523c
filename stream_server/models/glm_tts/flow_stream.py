"""The flow cut into chunks, at a cost a second of speech that does not grow with the text.

The network looks both ways over everything, so no cut of it can be exact.  What is done instead, and what it costs:

- Frames given out are fixed: the states they took before each step are kept and taken again, so they do not change.
- A new frame sees the reference and the last `window` fixed frames, not all: an approximation in the attention.
- A token feature is computed once, with what lay ahead of it then: an approximation in the convolutions' right side
  (none on the left: what they remember is kept) and in the response norm, whose loudness is that of all frames so far.
- The position convolutions run again over the frames before the new ones: exact but for the right side.
- Time and speaker's modulations depend on nothing else: exact, once a voice.
- `keep` False computes the reference's and the window's hidden values again in every chunk: their states are fixed,
  what they see is not.  `keep` True keeps their keys and values of every step and layer instead, the reference's once
  a voice, as it is with nothing behind it: a further approximation, at a fraction of the cost and in much more memory
  (`kept_bytes` a frame).

Chunks are made when their tokens and lookahead are there, by a schedule alone; how tokens arrive makes no difference.
Frames are whole multiples of tokens here (`FlowConfig.ratio`): of 29 tokens 58, where the released program makes 57.
Where `together`, rows of a call go through the network as one batch, padded, which moves the last bits of a row by its
company.  On a CPU, where a batch saves next to nothing, each goes by itself: the same to the bit as alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from stream_server.models.glm_tts.chunks import Schedule
from stream_server.models.glm_tts.dit import NO_TOKEN, Modulation, TextPast, modulations
from stream_server.models.glm_tts.flow import Flow, Prompt
from stream_server.nn.noise import gaussian

REFERENCE_SEED = 0  # the reference's noise is every request's


@dataclass
class Past:
    """A sequence's frames that will not change: those that somebody still sees, by their numbers."""

    fixed: int  # frames
    numbers: Tensor  # int64 [K], ascending
    states: Tensor  # float32 [steps, K, mel], before each step
    features: Tensor  # [passes, K, text]: one pass, or two where the unconditional one has no tokens
    text: list[list[TextPast]]  # [passes][blocks]
    keys: list[Tensor] = field(default_factory=list)  # by step, [depth, 2, with and without, W, inner]; with `keep`

    def copy(self) -> "Past":
        return replace(self, text=[[replace(block) for block in each] for each in self.text], keys=list(self.keys))


@dataclass(frozen=True)
class FlowVoice:
    """What a voice brings to every chunk, computed once."""

    prompt: Prompt  # of mel no more frames than the tokens have
    told: Modulation  # two rows a step
    begin: Past  # of a new sequence
    keys: list[Tensor]  # the reference's, by step, [depth, 2, 2, P, inner]; with `keep`


@dataclass
class Row:
    voice: FlowVoice
    seed: int
    past: Past
    tokens: list[int] = field(default_factory=list)  # all so far, without the prompt's
    done: int = 0  # tokens whose frames are fixed
    chunks: int = 0


@dataclass(frozen=True)
class Job:
    """A row's frames `past.fixed` … `end`, of which those before `fixed` are given out."""

    row: Row
    tokens: list[int]  # the prompt's and those up to `end`
    fixed: int
    end: int


@dataclass
class FlowState:
    rows: dict[int, Row] = field(default_factory=dict)  # by slot


class FlowStream:
    """Immutable; all that changes is in FlowState."""

    def __init__(
        self,
        flow: Flow,
        schedule: Schedule,
        steps: int | None = None,
        window: int | None = 100,
        keep: bool = False,
        together: bool | None = None,
    ) -> None:
        """window in frames, None for all; together None: but on a CPU."""
        self.flow, self.schedule, self.window, self.keep = flow, schedule, window, keep
        self.together = flow.device.type != "cpu" if together is None else together
        self.steps = steps or flow.config.steps
        self.ratio = flow.config.ratio
        self.margin = flow.shape.position_reach
        self.times = flow.times(self.steps).tolist()

    @property
    def kept_bytes(self) -> int:
        """What one frame of the reference or the window occupies with `keep`."""
        shape, size = self.flow.shape, self.flow.estimator.proj_out.weight.element_size()
        return self.steps * shape.depth * 2 * 2 * shape.inner * size

    @torch.inference_mode()
    def voice(self, prompt: Prompt) -> FlowVoice:
        """Computed once a voice.  A mel longer than its tokens loses its end."""
        mel = prompt.mel[: len(prompt.tokens) * self.ratio].to(self.flow.device, torch.float32)
        prompt = Prompt(prompt.tokens.cpu(), mel, prompt.speaker.to(self.flow.device))
        told = self.flow.told(prompt.speaker, self.steps)
        voice = FlowVoice(prompt, told, self.nothing(), [])
        if not (self.keep and len(mel)):
            return voice
        row = Row(voice, REFERENCE_SEED, voice.begin.copy())
        tokens = prompt.tokens.tolist()
        self.advance([Job(row, tokens, len(prompt.mel), len(tokens) * self.ratio)])
        return replace(voice, begin=replace(row.past, keys=[]), keys=row.past.keys)

    def nothing(self) -> Past:
        device, shape = self.flow.device, self.flow.shape
        passes = 2 if self.flow.config.token_cfg else 1
        return Past(
            fixed=0,
            numbers=torch.zeros(0, dtype=torch.int64, device=device),
            states=torch.zeros(self.steps, 0, shape.mel, device=device),
            features=torch.zeros(passes, 0, shape.text, device=device, dtype=self.flow.estimator.dtype),
            text=[self.flow.estimator.text_emb_layer.past() for _ in range(passes)],
        )

    def allocate(self, num_slots: int) -> FlowState:
        return FlowState()

    def reset(self, slot: int, voice: FlowVoice, seed: int, state: FlowState) -> None:
        state.rows[slot] = Row(voice, seed, voice.begin.copy())

    def forget(self, slot: int, state: FlowState) -> None:
        """A sequence is over: what it kept is let go of.  Its last chunk does this by itself."""
        state.rows.pop(slot, None)

    @torch.inference_mode()
    def decode(self, slots: list[int], tokens: list[Tensor], final: list[bool], state: FlowState) -> list[list[Tensor]]:
        """Each row's new tokens int64 [N_i], N_i may be 0 → its new chunks' mel frames, float32 [F, mel] each."""
        rows = [state.rows[slot] for slot in slots]
        for row, new in zip(rows, tokens):
            row.tokens += new.flatten().tolist()
        made: list[list[Tensor]] = [[] for _ in slots]
        while found := [(at, job) for at, (row, end) in enumerate(zip(rows, final)) if (job := self.next(row, end))]:
            for batch in [found] if self.together else [[each] for each in found]:
                for (at, _), mel in zip(batch, self.advance([job for _, job in batch])):
                    made[at].append(mel)
        for slot, end in zip(slots, final):
            if end:
                self.forget(slot, state)
        return made

    def next(self, row: Row, final: bool) -> Job | None:
        """The row's next chunk, if all it reads is there; moves the row's count on."""
        plan, rest = self.schedule.plan(row.chunks), len(row.tokens) - row.done
        if rest >= plan.most + plan.lookahead:
            emit, ahead = plan.most, plan.lookahead
        elif final and rest:
            emit, ahead = rest, 0
        else:
            return None
        row.done += emit
        row.chunks += 1
        tokens = row.voice.prompt.tokens.tolist() + row.tokens[: row.done + ahead]
        return Job(row, tokens, (len(tokens) - ahead) * self.ratio, len(tokens) * self.ratio)

    def advance(self, jobs: list[Job]) -> list[Tensor]:
        """One chunk of each row → its given out frames [F, mel], the reference's left out."""
        windows = [Window(self, job) for job in jobs]
        batch = Batch(windows)
        for step, (begin, end) in enumerate(pairwise(self.times)):
            embedded = batch.pad([window.embed(step) for window in windows])
            told = modulations(
                [
                    window.job.row.voice.told[2 * step + which : 2 * step + which + 1]
                    for which in (0, 1)
                    for window in windows
                ]
            )
            past = batch.past([window.past_keys(step) for window in windows]) if self.keep else None
            velocities, kept = self.flow.estimator.velocity(embedded, told, batch.turn, batch.mask, past)
            guided = self.flow.guided(velocities)
            for at, window in enumerate(windows):
                window.move((end - begin) * guided[at])
                if self.keep:
                    window.keep(torch.stack([own[:, at :: len(windows)] for own in kept]))
        return [window.close() for window in windows]


class Window:
    """One job's frames on their way through the steps: those kept of the past, then the new ones."""

    def __init__(self, stream: FlowStream, job: Job) -> None:
        self.stream, self.job, past = stream, job, job.row.past
        flow, voice = stream.flow, job.row.voice
        device, self.reference = flow.device, len(voice.prompt.mel)
        new = torch.arange(past.fixed, job.end, device=device)
        self.numbers = torch.cat([past.numbers, new])
        self.new = len(new)
        self.lasting = job.fixed - past.fixed
        ids = torch.tensor(job.tokens, device=device)[new // stream.ratio]
        streams = [ids, torch.full_like(ids, NO_TOKEN)][: len(past.text)]
        text = flow.estimator.text_emb_layer
        made = [text.stream(each, new, before, self.lasting) for each, before in zip(streams, past.text)]
        self.features = torch.cat([past.features, torch.stack(made)], dim=1)
        mel = torch.zeros(len(self.numbers), flow.shape.mel, device=device)
        known = self.numbers < self.reference
        mel[known] = voice.prompt.mel[self.numbers[known]]
        self.condition = flow.condition(mel, voice.prompt.speaker)
        self.x = self.noise(new)
        self.states: list[Tensor] = []
        self.keys: list[Tensor] = []
        inside = self.numbers >= past.fixed - self.seen()
        if not stream.keep:
            inside |= known
        self.inside = inside.nonzero().flatten()
        gaps = (self.numbers.diff() > 1).nonzero().flatten() + 1
        self.runs = [int(edge) for edge in (0, *gaps.tolist(), len(self.numbers))]

    def seen(self) -> int:
        """Fixed frames whose hidden values are computed again."""
        if self.stream.keep:
            return 0
        return self.job.row.past.fixed if self.stream.window is None else self.stream.window

    def noise(self, numbers: Tensor) -> Tensor:
        seeds = torch.where(numbers < self.reference, REFERENCE_SEED, self.job.row.seed)
        bins = torch.arange(self.stream.flow.shape.mel, device=numbers.device)
        return gaussian(seeds[:, None], numbers[:, None] * len(bins) + bins)

    def embed(self, step: int) -> Tensor:
        """The frames inside, [2, T, width]; the others only stand beside them in the convolutions."""
        x = torch.cat([self.job.row.past.states[step], self.x]).expand(2, -1, -1)
        self.states.append(self.x)
        features = self.features.expand(2, -1, -1)
        pieces = [
            self.stream.flow.estimator.embed(x[:, a:b], self.condition[:, a:b], features[:, a:b])
            for a, b in pairwise(self.runs)
        ]
        return torch.cat(pieces, dim=1)[:, self.inside]

    def past_keys(self, step: int) -> Tensor:
        """[depth, 2, 2, P, inner]: the reference's, then the window's."""
        row = self.job.row
        own, shared = row.past.keys[step : step + 1], row.voice.keys[step : step + 1]
        return torch.cat([*shared, *own], dim=3) if own or shared else self.no_keys()

    def no_keys(self) -> Tensor:
        shape = self.stream.flow.shape
        return self.x.new_zeros(shape.depth, 2, 2, 0, shape.inner, dtype=self.stream.flow.estimator.dtype)

    def move(self, change: Tensor) -> None:
        """change [T or more, mel], of which the last inside are the new frames'."""
        end = len(self.inside)
        self.x = self.x + change[end - self.new : end]

    def keep(self, own: Tensor) -> None:
        """[depth, 2, 2, T or more, inner]: nothing but new frames is inside."""
        self.keys.append(own[:, :, :, : self.lasting])

    def close(self) -> Tensor:
        """New frames that will not change go into the past; what nobody will see any more leaves it."""
        row, stream, past = self.job.row, self.stream, self.job.row.past
        kept = len(past.numbers) + self.lasting
        numbers, first = self.numbers[:kept], max(0, self.reference - past.fixed)
        states = torch.cat([past.states, torch.stack(self.states)[:, : self.lasting]], dim=1)
        wanted = torch.ones_like(numbers, dtype=torch.bool)
        if stream.keep:
            wanted = numbers >= self.job.fixed - stream.margin
        elif stream.window is not None:
            wanted = numbers >= self.job.fixed - stream.window - stream.margin
            wanted |= numbers < self.reference + stream.margin
        keys = self.keys
        if past.keys:
            keys = [torch.cat(both, dim=3) for both in zip(past.keys, self.keys)]
        if stream.window is not None and past.fixed:  # the reference's own are kept whole
            keys = [each[:, :, :, max(0, each.shape[3] - stream.window) :] for each in keys]
        row.past = Past(
            self.job.fixed, numbers[wanted], states[:, wanted], self.features[:, :kept][:, wanted], past.text, keys
        )
        return self.x[min(first, self.lasting) : self.lasting]


class Batch:
    """Windows of unequal length beside each other: where their frames stand, and who sees whom."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self.windows, stream = windows, windows[0].stream
        lengths = [len(window.inside) for window in windows]
        self.longest = max(lengths)
        befores = [window.past_keys(0).shape[3] for window in windows] if stream.keep else [0] * len(windows)
        self.before = max(befores)
        positions = [F.pad(w.numbers[w.inside], (0, self.longest - n)) for w, n in zip(windows, lengths)]
        cos, sin = stream.flow.estimator.rotation(torch.stack(positions))
        self.turn = (cos.repeat(2, 1, 1), sin.repeat(2, 1, 1))
        device = cos.device
        self.mask = None
        if min(lengths) < self.longest or min(befores) < self.before:
            at = torch.arange(self.before + self.longest, device=device) - self.before
            low = torch.tensor([-before for before in befores], device=device)[:, None]
            high = torch.tensor(lengths, device=device)[:, None]
            self.mask = ((at >= low) & (at < high)).repeat(2, 1)[:, None, None]

    def pad(self, rows: list[Tensor]) -> Tensor:
        """[2, T_i, width] each → [2 B, T, width], all with the condition and then all without."""
        return torch.stack([F.pad(row, (0, 0, 0, self.longest - row.shape[1])) for row in rows], dim=1).flatten(0, 1)

    def past(self, rows: list[Tensor]) -> Tensor:
        """[depth, 2, 2, P_i, inner] each → [depth, 2, 2 B, P, inner], right-aligned."""
        padded = [F.pad(row, (0, 0, self.before - row.shape[3], 0)) for row in rows]
        return torch.stack(padded, dim=3).flatten(2, 3)
