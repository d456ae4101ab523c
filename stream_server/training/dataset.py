"""Utterances as the models see them: features on the 40 ms grid and the pointer's path over the symbols."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stream_server.models.lark.features import FRAMES_PER_TOKEN
from stream_server.models.lark.symbols import EDGE_ID, SYMBOL_IDS
from stream_server.training.shards import Utterance, read_shards

TOKEN_S = 0.04
MAX_ADVANCE = 4  # symbols the pointer may pass in one step
VOICES = ("slt", "kathleen")


@dataclass
class Example:
    id: str
    voice: int
    symbols: np.ndarray  # int64 [N]
    pointer: np.ndarray  # int64 [T]: which symbol is spoken at the middle of each token
    features: np.ndarray  # float32 [4 T, 86]

    @property
    def around(self) -> np.ndarray:
        """int64 [T, 3]: the symbols before, under and after the pointer."""
        padded = np.concatenate([[EDGE_ID], self.symbols, [EDGE_ID]])
        return np.stack([padded[self.pointer + i] for i in range(3)], axis=-1)

    @property
    def tokens(self) -> int:
        return len(self.pointer)


def load(corpus: Path, voice: str) -> tuple[list[Example], list[Example]]:
    """A voice's examples, training and held out; the last take of each prompt's repeats is the one kept."""
    latest: dict[str, Utterance] = {}
    for utterance in read_shards(corpus / voice):
        latest[utterance.id.rsplit("_", 1)[0] if voice == "kathleen" else utterance.id] = utterance
    examples = [e for u in latest.values() if (e := example(u, VOICES.index(voice))) is not None]
    held_out = examples[:: max(1, len(examples) // 40)][:40]
    kept = {e.id for e in held_out}
    return [e for e in examples if e.id not in kept], held_out


def example(utterance: Utterance, voice: int) -> Example | None:
    """None where the pointer would have to jump further than MAX_ADVANCE: the alignment is broken there."""
    count = len(utterance.features) // FRAMES_PER_TOKEN
    times = (np.arange(count) + 0.5) * TOKEN_S
    ends = np.array(utterance.ends)
    pointer = np.minimum(np.searchsorted(ends, times, side="right"), len(ends) - 1)
    if count < 8 or np.diff(pointer).max() > MAX_ADVANCE or pointer[0] > 1:
        return None
    symbols = np.array([SYMBOL_IDS[s] for s in utterance.symbols])
    return Example(utterance.id, voice, symbols, pointer, utterance.features[: count * FRAMES_PER_TOKEN])


def batches(examples: list[Example], tokens: int, seed: int) -> Iterator[list[Example]]:
    """For ever: groups of like length holding about `tokens` tokens, padding included."""
    rng = np.random.default_rng(seed)
    while True:
        order = sorted(rng.permutation(len(examples)), key=lambda i: examples[i].tokens + rng.uniform(-8, 8))
        groups: list[list[Example]] = [[]]
        for index in order:
            longest = max([e.tokens for e in groups[-1]], default=0)
            if groups[-1] and max(longest, examples[index].tokens) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(examples[index])
        yield from (groups[i] for i in rng.permutation(len(groups)))


def pad(arrays: list[np.ndarray], value: float = 0) -> Tensor:
    """[T_i, …] each → [B, max T, …]."""
    longest = max(len(a) for a in arrays)
    out = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, arrays[0].dtype)
    for row, array in zip(out, arrays):
        row[: len(array)] = array
    return torch.from_numpy(out)
