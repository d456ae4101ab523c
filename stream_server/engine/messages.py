"""What crosses the engine's door: plain, picklable, no tensors.  Front and core meet in this file alone.

Commands go in one by one; outputs come out as one `Tick` a step, carrying every stream's share.  Times are seconds
of the machine's monotonic clock, the same in every process of one machine.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from stream_server.errors import StreamServerError
from stream_server.text.word import Word
from stream_server.voices.stored import StoredVoice


@dataclass(frozen=True)
class ModelSpec:
    """What the front needs to know of a model before it asks for speech."""

    name: str
    voices: tuple[str, ...]  # the first is the default
    sample_rates: tuple[int, ...]  # Hz; the first is the default
    token_rate: float  # decode steps per second of speech at speed 1
    max_tokens: int  # of one sequence
    text_streaming: bool  # may words arrive while a sequence is being decoded?
    phones: tuple[str, ...] = ()  # what a pronunciation may use, inline or in a dictionary
    speeds: bool = True  # may it be asked to speak faster or slower?
    options: tuple[str, ...] = ()  # of "temperature", "top_k" and "use_cache", those it heeds
    carry_tokens: int = 0  # of earlier sequences, that a sequence may be spoken on from; 0: each begins anew
    carry_over: bool = False  # is it, where that is not told?
    reader: str = "words"  # what makes sequences of its text: English words, or "plain" units that it reads itself
    cloning: bool = False  # can it be given voices?


@dataclass(frozen=True)
class Controls:
    """How a sequence is to be spoken; validated at the front's door."""

    voice: str
    seed: int = 0
    speed: float = 1.0  # 0.5 … 2, in steps of 0.01
    temperature: float | None = None  # 0 is greedy; None: the model's own
    top_k: int | None = None  # the same
    sample_rate: int = 24_000
    use_cache: bool = True  # False computes the whole sequence anew at every step: the yardstick
    carry_over: bool = False  # speak on from the sequences before, which are told with it


@dataclass(frozen=True)
class Spoken:
    """A sequence that is over: its words, and the tokens it was spoken with."""

    words: tuple[Word, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class AddSequence:
    id: int
    words: tuple[Word, ...]
    final: bool  # no more words will come
    controls: Controls
    credit: int  # samples it may emit: a bound on what lies unsent in the front
    lead_s: float = math.inf  # how far ahead of its listener's playback it is spoken; then it rests
    plays_at: float | None = None  # when its first sample will be wanted; None: as soon as there is one
    begin: int = 0  # samples the listener has already, from an engine that was lost: made again, not given out
    past: tuple[Spoken, ...] = ()  # of the same text, in their order: with `carry_over`


@dataclass(frozen=True)
class ExtendSequence:
    id: int
    words: tuple[Word, ...] = ()
    final: bool = False
    speed: float | None = None


@dataclass(frozen=True)
class GrantCredit:
    id: int
    samples: int


@dataclass(frozen=True)
class Playback:
    """What the listener's player says of itself: the sequence's first sample was, or will be, played at `plays_at`."""

    id: int
    plays_at: float


@dataclass(frozen=True)
class Ping:
    """Asks for a sign of life: a tick follows within one step."""


@dataclass(frozen=True)
class AbortSequence:
    id: int


@dataclass(frozen=True)
class AddVoice:
    """May be spoken in from now on; answered by a `VoiceChanged` of that id, like its removal."""

    id: int
    voice: StoredVoice
    listed: bool = True  # whether the spec tells of it: one that it does not is known to nobody by chance


@dataclass(frozen=True)
class RemoveVoice:
    """Sequences that have a slot are spoken to their end; those that have none fail.  What is not there is removed."""

    id: int
    name: str


@dataclass(frozen=True)
class Stop:
    pass


Command = AddSequence | ExtendSequence | GrantCredit | Playback | AbortSequence | AddVoice | RemoveVoice | Ping | Stop


@dataclass(frozen=True)
class WordStart:
    """The `index`-th word of a sequence begins `offset` samples after the sequence does."""

    index: int
    offset: int


@dataclass(frozen=True)
class Frame:
    sequence_id: int
    offset: int  # samples from the sequence's start
    pcm: np.ndarray  # float32 [n], contiguous
    words: tuple[WordStart, ...] = ()


@dataclass
class SequenceStats:
    """When a sequence passed each door (monotonic seconds; 0.0 = never), and what it cost; still when it has ended."""

    submitted: float = 0.0
    slotted: float = 0.0
    prefilled: float = 0.0
    first_step: float = 0.0  # first decode step began (all text it needs was there)
    decoded: float = 0.0  # the first chunk's tokens were there
    first_frame: float = 0.0
    finished: float = 0.0
    tokens: int = 0
    samples: int = 0


@dataclass(frozen=True)
class Finished:
    """The last word about a sequence.  `reason` is done, aborted, truncated (the token limit), failed, overloaded or
    unknown_voice."""

    sequence_id: int
    reason: str
    stats: SequenceStats
    message: str = ""
    tokens: tuple[int, ...] = ()  # all of them, with `carry_over`


@dataclass(frozen=True)
class VoiceChanged:
    id: int  # of the command
    error: StreamServerError | None = None


@dataclass(frozen=True)
class Tick:
    frames: tuple[Frame, ...] = ()
    finished: tuple[Finished, ...] = ()
    load: "EngineLoad | None" = None
    voices: tuple[VoiceChanged, ...] = ()
    spec: ModelSpec | None = None  # the new one, where something in it changed
    made_at: float | None = None  # monotonic seconds, the same in every process of a machine


@dataclass(frozen=True)
class EngineLoad:
    slots: int
    running: int
    waiting: int
    steps: int
    capacity: int  # streams it believes it can serve without a gap
    longest_s: float = 0.0  # its longest step of late
    costs: dict[str, float] = field(default_factory=dict)  # s, by part of a step, as things go now; see `costs`


@dataclass(frozen=True)
class ModelMemory:
    """Bytes of tensors by what they are; each storage counted once.  Empty where nothing is loaded."""

    weights: dict[str, int] = field(default_factory=dict)  # by the family's parts
    state: dict[str, int] = field(default_factory=dict)  # of the slots: of the model and of its vocoder
    gpu: int = 0  # what torch has allocated on a GPU in all


@dataclass(frozen=True)
class Ready:
    """The engine's first output: the model is loaded."""

    spec: ModelSpec
    load: EngineLoad = field(default_factory=lambda: EngineLoad(0, 0, 0, 0, 0))
    memory: ModelMemory = field(default_factory=ModelMemory)
