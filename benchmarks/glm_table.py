"""GLM-TTS's switches as articles tabulate them, measured: KV cache, sample rate, carry-over; in chunks and whole.

    python benchmarks/glm_table.py [--quick]

A random checkpoint of the release's make, a few hundred wide, so that a step is arithmetic and not only calls, speaks
one text of several segments on one thread.  `streamed` is the server's engine with one listener.  `whole` is the
released program's order of work on the same networks: every code of a segment, then its mel at once, then its sound,
then the next segment; everything is handed over at the end.  It is kinder than the release, whose sampler walks the
whole vocabulary and whose head computes it.  Without the cache a step computes all that stands before it anew.

Each row runs in a process of its own, forked from one that has loaded the checkpoint: its peak of memory is what it
needs beside that.  A segment ends with its least number of codes, so that all rows make speech of one length.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soxr
import torch
from lap import clocked, use_one_thread
from report import ROOT, conclude, table

sys.path.insert(0, str(ROOT))

from stream_server.carried import Carried
from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AddSequence, Controls, Frame
from stream_server.models.glm_tts import lm as speech_lm
from stream_server.models.glm_tts.features import MELS
from stream_server.models.glm_tts.flow import load_flow
from stream_server.models.glm_tts.flow_config import flow_config
from stream_server.models.glm_tts.hift import load_hift
from stream_server.models.glm_tts.hift_config import HiFTConfig
from stream_server.models.glm_tts.hift_stream import HiFTStream
from stream_server.models.glm_tts.model import GLMTTS, POSITIONS, GLMState
from stream_server.models.glm_tts.tokenizer import read_tokenizer
from stream_server.models.glm_tts.vocoder import GLMVocoder
from stream_server.models.glm_tts.voice import Voice, VoiceShape
from stream_server.offline import NO_LIMIT, read_words, run_to_end, sentences
from stream_server.text.word import Word
from tests.models.glm_tts import make_flow, make_hift
from tests.models.glm_tts.make_checkpoint import TEXT as TEXT_IDS
from tests.models.glm_tts.make_checkpoint import make_tokenizer
from tests.models.glm_tts.make_lm import make_lm

CODES = 1024
REFERENCE_S = 3
LM = {"width": 256, "layers": 4, "heads": 4, "kv_heads": 2, "hidden": 768}
TEXT = (
    "清晨的雾还没有散，河边已经有人在散步，桥下的水慢慢流过。"
    "卖早点的推着车从巷子里走出来，热气从锅盖边冒起，孩子们背着书包跑过街角。"
)
SHORT = "清晨的雾还没有散，河边有人。"
RATES = (24_000, 32_000)
FLOORS = {
    "cache_gain": 5.0,
    "carry_over_cost": 1.5,
    "rate_32_over_24": 1.1,
    "first_sound_share": 0.25,
}


@dataclass(frozen=True)
class Row:
    way: str
    cache: bool
    rate: int
    carry_over: bool
    audio_s: float = 0.0
    lm_cpu: float = 0.0  # s a second of speech, as the next
    cpu: float = 0.0
    wall: float = 0.0
    first_s: float = 0.0  # from the text to the first sound
    peak_mb: float = 0.0  # beside the checkpoint
    kv_mb: float = 0.0  # kept from step to step, at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short text, nothing kept")
    quick = parser.parse_args().quick
    use_one_thread()
    model = random_model()
    text = SHORT if quick else TEXT
    asked = [Row(*choice) for choice in product(WAYS, (True, False), RATES, (False, True))]
    rows = [apart(lambda: measured(model, text, row)) for row in asked]  # noqa: B023
    show(rows)
    conclude("glm_table", {"rows": [asdict(row) for row in rows], **ratios(rows)}, FLOORS, keep=not quick)


def random_model() -> GLMTTS:
    """Stops as soon as it may: the column of the stop is far above all others."""
    shape = replace(
        make_flow.SMALL, width=256, depth=4, heads=4, head_dim=64, mlp=512, vocabulary=CODES + 1, text=128,
        text_blocks=4, text_hidden=256,
    )  # fmt: skip
    flow = load_flow(flow_config(make_flow.make_config(shape)), make_flow.make_tensors(shape))
    tensors = make_hift.make_tensors(replace(make_hift.SMALL, channels=(128, 64, 32, 16), f0_channels=128))
    with TemporaryDirectory() as place:
        tokens = make_lm(Path(place) / "llm", codes=CODES, text=TEXT_IDS, positions=POSITIONS, **LM)
        make_tokenizer(Path(place) / "tokenizer", tokens)
        lm = speech_lm.load(Path(place) / "llm", tokens, positions=POSITIONS)
        tokenizer = read_tokenizer(Path(place) / "tokenizer")
    lm.plain.bias[lm.stop] = 1e4
    wanted = VoiceShape(tokenizer.size, CODES, shape.speaker, MELS[24_000], "")
    vocoder = GLMVocoder(flow, load_hift(HiFTConfig(), tensors))
    return GLMTTS(lm, tokenizer, vocoder, wanted, {"one": random_voice(shape.mel)})


def random_voice(mel: int) -> Voice:
    random = torch.Generator().manual_seed(0)
    codes = REFERENCE_S * 25
    return Voice(
        torch.randint(0, 256, (4 * REFERENCE_S,), generator=random),
        torch.randint(0, CODES, (codes,), generator=random),
        torch.randn(2 * codes - 1, mel, generator=random),
        torch.randn(192, generator=random),
    )


def apart(call: Callable[[], Row]) -> Row:
    """In a fork, whose peak of memory is nobody else's."""
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(call()))
    process.start()
    theirs.close()
    found: Row = ours.recv()
    process.join()
    return found


def measured(model: GLMTTS, text: str, row: Row) -> Row:
    controls = Controls("one", 1, sample_rate=row.rate, use_cache=row.cache, carry_over=row.carry_over)
    segments = list(sentences(read_words(EngineCore(model, 1), text)))
    steps = clocked(model, "decode_step")
    before, cpu, wall = status("VmRSS"), time.process_time(), time.perf_counter()
    samples, first_at, positions = WAYS[row.way](model, segments, controls)
    cpu, ended = time.process_time() - cpu, time.perf_counter()
    audio_s = samples / row.rate
    cache = model.allocate(1).cache
    return replace(
        row,
        audio_s=audio_s,
        lm_cpu=sum(lap.cpu for lap in steps) / audio_s,
        cpu=cpu / audio_s,
        wall=(ended - wall) / audio_s,
        first_s=first_at - wall,
        peak_mb=(status("VmHWM") - before) / 1024,
        kv_mb=positions / cache.positions * cache.data[:, 0].nbytes / 1e6 if row.cache else 0.0,
    )


def status(name: str) -> int:
    """KiB, by Linux's word."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def streamed(model: GLMTTS, segments: list[tuple[Word, ...]], controls: Controls) -> tuple[int, float, int]:
    """→ samples, when the first of them came, and the most positions that a row was filled to."""
    core, carried = EngineCore(model, 1), Carried(model.spec.carry_tokens)
    samples, first_at, positions = 0, 0.0, 0
    for id, words in enumerate(segments):
        core.put(AddSequence(id, words, True, controls, NO_LIMIT, past=carried.past))
        for output in run_to_end(core):
            if isinstance(output, Frame):
                first_at = first_at or time.perf_counter()
                samples += len(output.pcm)
                positions = max(positions, filled(core.runner.state))
            else:
                carried.add(words, output.tokens)
    return samples, first_at, positions


@torch.inference_mode()
def whole(model: GLMTTS, segments: list[tuple[Word, ...]], controls: Controls) -> tuple[int, float, int]:
    """The same, segment by segment from codes to sound, heard when all is done."""
    state, carried = model.allocate(1), Carried(model.spec.carry_tokens)
    pieces, positions = [], 0
    for words in segments:
        prompt = model.after(model.prompt(words, True), carried.past)
        model.prefill([0], [prompt], [controls], state)
        while not model.decode_step([0], state).is_end[0]:
            pass
        positions = max(positions, filled(state))
        codes = state.rows[0].codes
        pieces.append(sounded(model, torch.tensor(codes), controls))
        if controls.carry_over:
            carried.add(words, tuple(codes))
    return len(np.concatenate(pieces)), time.perf_counter(), positions


WAYS = {"streamed": streamed, "whole": whole}


def filled(state: GLMState) -> int:
    """Positions of the one row; none where its sequence has ended and it was let go of."""
    return len(state.rows[0].ids) + len(state.rows[0].codes) if state.rows else 0


def sounded(model: GLMTTS, codes: torch.Tensor, controls: Controls) -> np.ndarray:
    """A segment's mel and sound, each in one go."""
    vocoder = model.vocoder
    flow, prompt = vocoder.flow.flow, vocoder.voices[controls.voice].prompt
    frames = flow.frames(len(prompt.tokens) + len(codes))
    noise = torch.randn(frames, flow.shape.mel, generator=torch.Generator().manual_seed(controls.seed))
    mel = flow.sample(prompt, codes, noise, vocoder.flow.steps).mel.T
    hift = HiFTStream(vocoder.hift.hift)
    state = hift.allocate(1)
    hift.reset(0, controls.seed, state)
    pcm = hift.decode([0], [mel], [True], state)[0].numpy()
    if controls.sample_rate == vocoder.rate:
        return pcm
    resampled: np.ndarray = soxr.resample(pcm, vocoder.rate, controls.sample_rate)
    return resampled


def show(rows: list[Row]) -> None:
    head = [
        "way", "KV cache", "kHz", "carry-over", "speech s", "LM, CPU s/s", "all, CPU s/s", "all, s/s",
        "first sound s", "peak MB", "KV MB",
    ]  # fmt: skip
    told = [
        [
            row.way,
            "on" if row.cache else "off",
            row.rate // 1000,
            "on" if row.carry_over else "off",
            *(row.audio_s, row.lm_cpu, row.cpu, row.wall, row.first_s, row.peak_mb, row.kv_mb),
        ]
        for row in rows
    ]
    table(
        "one text, one thread: seconds a second of speech, and what the process needs beside the checkpoint", head, told
    )


def ratios(rows: list[Row]) -> dict[str, Any]:
    def at(way: str = "streamed", cache: bool = True, rate: int = RATES[0], carry_over: bool = False) -> Row:
        return next(
            row for row in rows if (row.way, row.cache, row.rate, row.carry_over) == (way, cache, rate, carry_over)
        )

    base = at()
    return {
        "cache_gain": at(cache=False).lm_cpu / base.lm_cpu,
        "cache_gain_carried": at(cache=False, carry_over=True).lm_cpu / at(carry_over=True).lm_cpu,
        "carry_over_cost": at(carry_over=True).lm_cpu / base.lm_cpu,
        "carry_over_cost_all": at(carry_over=True).cpu / base.cpu,
        "rate_32_over_24": at(rate=RATES[1]).cpu / base.cpu,
        "first_sound_share": base.first_s / at(way="whole").first_s,
        "streamed_over_whole": base.cpu / at(way="whole").cpu,
    }


if __name__ == "__main__":
    main()
