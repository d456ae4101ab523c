"""LM: the pointer decoder over the codec's codes.

    python -m stream_server.training.lm corpus/ run/codec run/lm --steps 20000

Codes are made once by the frozen encoder and kept in `run/codec/codes.npz`.  Resumable from `run/lm/last.pt`;
writes `log.jsonl`.  `--speaker-weight` says how often the real speaker's takes appear for each of the teacher's.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.models.lark import fsq
from stream_server.models.lark.lm import FIRST, LMConfig, PathBatch, PointerLM
from stream_server.models.lark.symbols import EDGE_ID
from stream_server.training.codec import Batch, Codec, learning_rate
from stream_server.training.dataset import MAX_ADVANCE, VOICES, Example, batches, load, pad

BATCH_TOKENS = 1400
CORRUPTED = 0.08  # input codes replaced at random, against exposure bias
NO_TARGET = -100


@dataclass
class Targets:
    codes: Tensor  # int64 [B, T]
    advance: Tensor  # int64 [B, T]


@torch.no_grad()
def encode(codec: Codec, examples: list[Example]) -> dict[str, np.ndarray]:
    """Every example's codes by its id; one at a time, so that padding cannot reach them."""
    codec.eval()
    return {e.id: fsq.to_codes(codec.encode(Batch([e])))[0].numpy().astype(np.int16) for e in examples}


def load_codes(codec_run: Path, examples: list[Example]) -> dict[str, np.ndarray]:
    path = codec_run / "codes.npz"
    if path.exists():
        with np.load(path) as saved:
            return dict(saved)
    codec = Codec()
    codec.load_state_dict(torch.load(codec_run / "last.pt", weights_only=True)["model"])
    codes = encode(codec, examples)
    np.savez(path, **codes)
    return codes


def dwell(pointer: np.ndarray) -> np.ndarray:
    """Steps since the pointer came to where it stands, for each step."""
    steps = np.arange(len(pointer))
    arrived = np.where(np.diff(pointer, prepend=-1) != 0, steps, 0)
    return steps - np.maximum.accumulate(arrived)


def make_batch(
    examples: list[Example], codes: dict[str, np.ndarray], corrupt: np.random.Generator | None
) -> tuple[PathBatch, Targets]:
    spoken = [codes[e.id].astype(np.int64) for e in examples]
    before = [np.concatenate([[FIRST], c[:-1]]) for c in spoken]
    if corrupt is not None:
        before = [
            np.where(corrupt.random(len(b)) < CORRUPTED, corrupt.integers(0, fsq.NUM_CODES, len(b)), b) for b in before
        ]
    advance = [np.diff(e.pointer, append=len(e.symbols)) for e in examples]
    batch = PathBatch(
        symbols=pad([e.symbols for e in examples], EDGE_ID),
        pointer=pad([e.pointer for e in examples]),
        dwell=pad([dwell(e.pointer) for e in examples]),
        before=pad(before),
        voices=torch.tensor([e.voice for e in examples]),
    )
    return batch, Targets(pad(spoken, NO_TARGET), pad([a.clip(max=MAX_ADVANCE) for a in advance], NO_TARGET))


def losses(model: PointerLM, batch: PathBatch, targets: Targets) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy (nats) of the codes and of the pointer's moves."""
    codes, advance = model(batch)
    return (
        F.cross_entropy(codes.flatten(0, 1), targets.codes.flatten(), ignore_index=NO_TARGET),
        F.cross_entropy(advance.flatten(0, 1), targets.advance.flatten(), ignore_index=NO_TARGET),
    )


@torch.no_grad()
def validate(model: PointerLM, examples: list[Example], codes: dict[str, np.ndarray]) -> list[float]:
    model.eval()
    found = [round(loss.item(), 4) for loss in losses(model, *make_batch(examples, codes, None))]
    model.train()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("codec", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--speaker-weight", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    options.run.mkdir(parents=True, exist_ok=True)
    sets = [load(options.corpus, voice) for voice in VOICES]
    held_out = [held for _, held in sets]
    train = sets[0][0] + sets[1][0] * options.speaker_weight
    codes = load_codes(options.codec, [e for kept, held in sets for e in kept + held])
    for examples in (*[kept for kept, _ in sets], *held_out):
        for e in examples:
            e.features = e.features[:0]  # the frames are no longer needed
    model = PointerLM(LMConfig())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05)
    first, last = 0, options.run / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    print(f"{len(train)} takes, {sum(p.numel() for p in model.parameters()):,} weights, from step {first}", flush=True)
    rng = np.random.default_rng(options.seed + first)
    started = time.time()
    for step, examples in zip(range(first, options.steps), batches(train, BATCH_TOKENS, options.seed + first)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps)
        code_loss, advance_loss = losses(model, *make_batch(examples, codes, rng))
        optimizer.zero_grad()
        (code_loss + advance_loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 250 == 0 or step + 1 == options.steps:
            row = {
                "step": step + 1,
                "s": round(time.time() - started),
                "loss": [round(code_loss.item(), 4), round(advance_loss.item(), 4)],
            }
            row |= {voice: validate(model, held, codes) for voice, held in zip(VOICES, held_out)}
            with (options.run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(row, flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state, last.with_suffix(".partial"))
            last.with_suffix(".partial").rename(last)


if __name__ == "__main__":
    main()
