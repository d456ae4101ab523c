"""Codec: an encoder that turns 40 ms of frames into one code, and the decoder that ships.

    python -m stream_server.training.codec corpus/ run/codec --steps 20000

Only the decoder (and the codes) matter later; the encoder stays in the checkpoint so that codes can be made again.
With `--decoder-only` the exported encoder is taken and left as it is: a better decoder for an LM that exists.
Resumable from `run/codec/last.pt`; writes `log.jsonl`.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from stream_server.models.lark import fsq
from stream_server.models.lark.decoder import Decoder
from stream_server.models.lark.features import FRAMES_PER_TOKEN, NUM_APERIODICITY, NUM_ENVELOPE, NUM_FEATURES
from stream_server.models.lark.symbols import EDGE_ID, NUM_SYMBOLS
from stream_server.nn.conv import ConvNeXt
from stream_server.training.dataset import VOICES, Example, batches, load, pad

BATCH_TOKENS = 1200
PEAK_LR, FINAL_LR, WARMUP = 2e-3, 1e-5, 200
LF0, VOICED = NUM_FEATURES - 2, NUM_FEATURES - 1


class Encoder(nn.Module):
    """Frames around a token, and what is being said, → five numbers for the quantiser.  Sees two tokens ahead."""

    WIDTH, BLOCKS = 192, 3

    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.Linear(FRAMES_PER_TOKEN * NUM_FEATURES, self.WIDTH)
        self.symbol = nn.Embedding(NUM_SYMBOLS, self.WIDTH)
        self.voice = nn.Embedding(len(VOICES), self.WIDTH)
        self.blocks = nn.ModuleList(ConvNeXt(self.WIDTH) for _ in range(self.BLOCKS))
        self.norm = nn.LayerNorm(self.WIDTH)
        self.head = nn.Linear(self.WIDTH, fsq.NUM_DIGITS)
        nn.init.normal_(self.symbol.weight, std=0.1)

    def forward(self, frames: Tensor, around: Tensor, voices: Tensor) -> Tensor:
        """Normalised frames [B, 4 T, 86], symbols [B, T, 3], voices [B] → quantised values [B, T, 5]."""
        B, T, _ = around.shape
        x = self.stack(frames.reshape(B, T, -1)) + self.symbol(around[..., 1]) + self.voice(voices)[:, None]
        x = self.blocks[0].centred(x)
        for block in self.blocks[1:]:
            x = block(x)
        return fsq.quantise(self.head(self.norm(x)))


class Codec(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(len(VOICES))

    def normalise(self, frames: Tensor) -> Tensor:
        return (frames - self.decoder.mean) / self.decoder.scale

    def encode(self, batch: "Batch") -> Tensor:
        return self.encoder(self.normalise(batch.frames), batch.around, batch.voices)

    def forward(self, batch: "Batch") -> Tensor:
        """→ predicted frames [B, 4 T, 86] in units of the features."""
        return self.decode(self.encode(batch), batch)

    def decode(self, values: Tensor, batch: "Batch") -> Tensor:
        spoken = batch.mask
        inputs = self.decoder.embed_values(values * spoken[..., None], spoken, batch.around, batch.voices)
        nothing = torch.zeros_like(values[:, :1])
        edge = torch.full_like(batch.around[:, :1], EDGE_ID)
        closing = self.decoder.embed_values(nothing, nothing[..., 0] > 0, edge, batch.voices)
        return self.decoder(torch.cat([inputs, closing], dim=1))[:, FRAMES_PER_TOKEN:]


class Batch:
    def __init__(self, examples: list[Example]) -> None:
        self.frames = pad([e.features for e in examples])
        self.around = pad([e.around for e in examples], EDGE_ID)
        self.voices = torch.tensor([e.voice for e in examples])
        self.mask = pad([np.ones(e.tokens, bool) for e in examples])


def losses(codec: Codec, batch: Batch, predicted: Tensor) -> dict[str, Tensor]:
    """L1 on envelope (and its movement), aperiodicity and F0, each in standard deviations; voicing by cross-entropy."""
    mask = batch.mask.repeat_interleave(FRAMES_PER_TOKEN, dim=1)
    target, guess = codec.normalise(batch.frames), codec.normalise(predicted)
    error = (guess - target).abs()
    envelope = error[..., :NUM_ENVELOPE].mean(-1)
    step = (guess.diff(dim=1) - target.diff(dim=1)).abs()[..., :NUM_ENVELOPE].mean(-1)
    voiced = batch.frames[..., VOICED]
    both = mask[:, 1:] & mask[:, :-1]
    return {
        "envelope": envelope[mask].mean(),
        "movement": step[both].mean(),
        "aperiodicity": error[..., NUM_ENVELOPE : NUM_ENVELOPE + NUM_APERIODICITY].mean(-1)[mask].mean() * 0.3,
        "f0": (error[..., LF0] * voiced)[mask].mean(),
        "voicing": F.binary_cross_entropy_with_logits(predicted[..., VOICED], voiced, reduction="none")[mask].mean(),
    }


def learning_rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARMUP)
    return warm * (FINAL_LR + (PEAK_LR - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def set_statistics(decoder: Decoder, examples: list[Example]) -> None:
    frames = np.concatenate([e.features for e in examples[:: max(1, len(examples) // 1500)]])
    mean, scale = frames.mean(0), frames.std(0) + 1e-3
    mean[VOICED], scale[VOICED] = 0, 1
    decoder.mean.copy_(torch.from_numpy(mean))
    decoder.scale.copy_(torch.from_numpy(scale))


def take_encoder(codec: Codec) -> None:
    """The exported encoder, frozen: the codes stay what the LM has learned."""
    encoder = load_file(Path(__file__).parent / "encoder.safetensors")
    codec.encoder.load_state_dict({name.removeprefix("encoder."): t.float() for name, t in encoder.items()})
    codec.encoder.requires_grad_(False)


@torch.no_grad()
def validate(codec: Codec, examples: list[Example]) -> dict[str, float]:
    codec.eval()
    batch = Batch(examples)
    found = {name: round(loss.item(), 4) for name, loss in losses(codec, batch, codec(batch)).items()}
    codec.train()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--decoder-only", action="store_true")
    parser.add_argument("--begin-with", type=Path, metavar="RUN", help="a run whose weights are the first ones")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    options.run.mkdir(parents=True, exist_ok=True)
    sets = [load(options.corpus, voice) for voice in VOICES]
    train = sets[0][0] + sets[1][0] * 2
    held_out = [held for _, held in sets]
    codec = Codec()
    set_statistics(codec.decoder, train)
    if options.begin_with:
        codec.load_state_dict(torch.load(options.begin_with / "last.pt", weights_only=True)["model"])
    if options.decoder_only:
        take_encoder(codec)
    optimizer = torch.optim.AdamW(
        [p for p in codec.parameters() if p.requires_grad], lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.01
    )
    first, last = 0, options.run / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True)
        codec.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["step"]
    print(f"{len(train)} takes, {sum(p.numel() for p in codec.parameters()):,} weights, from step {first}", flush=True)
    started = time.time()
    for step, examples in zip(range(first, options.steps), batches(train, BATCH_TOKENS, options.seed + first)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps)
        batch = Batch(examples)
        parts = losses(codec, batch, codec(batch))
        loss = torch.stack(list(parts.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 250 == 0 or step + 1 == options.steps:
            row = {"step": step + 1, "s": round(time.time() - started), "loss": round(loss.item(), 4)}
            row |= {voice: validate(codec, held) for voice, held in zip(VOICES, held_out)}
            with (options.run / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            print(row, flush=True)
            state = {"model": codec.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state, last.with_suffix(".partial"))
            last.with_suffix(".partial").rename(last)


if __name__ == "__main__":
    main()
