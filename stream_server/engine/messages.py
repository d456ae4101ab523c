"""What crosses the engine's door: plain, picklable, no tensors.  Front and core meet in this file alone.

Commands go in one by one; outputs come out as one `Tick` a step, carrying every stream's share.  Times are seconds
of the machine's monotonic clock, the same in every process of one machine.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from stream_server.text.word import Word


@dataclass(frozen=True)
class ModelSpec:
    """What the front needs to know of a model before it asks for speech."""

    name: str
    voices: tuple[str, ...]  # the first is the default
    sample_rates: tuple[int, ...]  # Hz; the first is the default
    token_rate: float  # decode steps per second of speech at speed 1
    max_tokens: int  # of one sequence
    text_streaming: bool  # may words arrive while a sequence is being decoded?
    phones: tuple[str, ...] = ()  # what an inline pronunciation may use
    speeds: bool = True  # may it be asked to speak faster or slower?
    reader: str = "words"  # what makes sequences of its text: English words, or "plain" units that it reads itself


@dataclass(frozen=True)
class Controls:
    """How a sequence is to be spoken; validated at the front's door."""

    voice: str
    seed: int = 0
    speed: float = 1.0  # 0.5 … 2, in steps of 0.01
    temperature: float = 0.3  # 0 is greedy
    top_k: int = 50
    sample_rate: int = 24_000
    use_cache: bool = True  # False computes the whole sequence anew at every step: the yardstick


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
class Stop:
    pass


Command = AddSequence | ExtendSequence | GrantCredit | Playback | AbortSequence | Ping | Stop


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


@dataclass(frozen=True)
class SequenceStats:
    """When a sequence passed each door (monotonic seconds; 0.0 = never), and what it cost."""

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
    """The last word about a sequence.  `reason` is done, aborted, truncated (the token limit) or failed."""

    sequence_id: int
    reason: str
    stats: SequenceStats
    message: str = ""


@dataclass(frozen=True)
class Tick:
    frames: tuple[Frame, ...] = ()
    finished: tuple[Finished, ...] = ()
    load: "EngineLoad | None" = None


@dataclass(frozen=True)
class EngineLoad:
    slots: int
    running: int
    waiting: int
    steps: int
    capacity: int  # streams it believes it can serve without a gap
    longest_s: float = 0.0  # its longest step of late


@dataclass(frozen=True)
class Ready:
    """The engine's first output: the model is loaded."""

    spec: ModelSpec
    load: EngineLoad = field(default_factory=lambda: EngineLoad(0, 0, 0, 0, 0))
