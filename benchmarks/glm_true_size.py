"""GLM-TTS at the release's own size: what loading it takes, what a step of each part costs, one segment of the whole.

    python benchmarks/glm_true_size.py [--dtype bf16] [--threads 1] [--folder DIR] [--quick]

Random weights of the release's dimensions (the language model 1.55 thousand million numbers, flow and vocoder in fp32)
are written into a temporary folder in the release's layout, 4.1 GB with bf16, loaded as `serve --model` loads them, and
deleted.  Nothing is said of how a trained voice sounds: random networks cost what trained ones do.
"""

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lap import Lap, middle, timed
from process import Process
from report import ROOT, conclude, table

sys.path.insert(0, str(ROOT))

from stream_server.engine.core import EngineCore
from stream_server.engine.messages import Controls
from stream_server.models.glm_tts.dit import DiTShape
from stream_server.models.glm_tts.flow import Prompt
from stream_server.models.glm_tts.lm import PIECE
from stream_server.models.glm_tts.loading import load_model
from stream_server.models.glm_tts.model import GLMTTS
from stream_server.models.glm_tts.weights import dtype_of
from stream_server.nn.kv_cache import KVCache
from stream_server.offline import synthesise
from tests.models.glm_tts import make_hift
from tests.models.glm_tts.make_checkpoint import SMALL, Sizes, make_checkpoint

CODES, REFERENCE = 32_768, 137  # codes; 5.5 s
TEXT = "a."  # two ids: 40 codes at most, 1.6 s, which random networks come to
PREFIX, STEPS = 200, 5
TRUE = Sizes(
    lm={
        "width": 2048, "layers": 28, "heads": 16, "kv_heads": 4, "hidden": 6144, "text": 98_304 - CODES - 13,
        "positions": 8192,
    },
    flow=DiTShape(
        mel=80, width=768, depth=18, heads=12, head_dim=64, mlp=1536, vocabulary=100_001, text=512, text_blocks=4,
        text_hidden=1024, text_kernel=7, position_kernel=31, position_groups=16, times=256, speaker=192, concat=0,
    ),
    hift=replace(make_hift.SMALL, channels=(512, 256, 128, 64), f0_channels=512),
    speech={"quantize_vocab_size": CODES},
)  # fmt: skip
GiB = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="bf16", help="of the language model: fp32, bf16 or fp16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to write it for a while")
    parser.add_argument("--quick", action="store_true", help="a small one, nothing kept")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    folder = Path(tempfile.mkdtemp(prefix="glm-", dir=asked.folder))
    try:
        figures = measure(folder / "ckpt", SMALL if asked.quick else TRUE, asked.dtype)
    finally:
        shutil.rmtree(folder)
    figures = {"dtype": asked.dtype, "threads": asked.threads, **figures}
    table("GLM-TTS", ["figure", "value"], [[name, value] for name, value in figures.items()])
    conclude("glm_true_size", figures, {}, keep=not asked.quick)


def measure(folder: Path, sizes: Sizes, dtype: str) -> dict[str, Any]:
    kind = dtype_of(dtype, "dtype")
    made = timed(lambda: make_checkpoint(folder, ("one",), sizes=sizes, dtype=kind, codes=REFERENCE))
    written = sum(path.stat().st_size for path in folder.rglob("*.*"))
    print(f"{written / 1e9:.1f} GB written in {made.wall:.0f} s")
    began = time.perf_counter()
    model = load_model(folder, dtypes={"lm": dtype})
    found: dict[str, Any] = {
        "written_gb": written / 1e9,
        "parameters": parameters(model),
        "load_s": time.perf_counter() - began,
        "loaded_gib": Process(own()).memory_kib() * 1024 / GiB,
    }
    with torch.inference_mode():
        found |= of_the_parts(model)
    core = EngineCore(model, 2)
    speech = synthesise(core, TEXT, Controls("one", seed=1))
    return found | {
        "segment_audio_s": speech.audio_s,
        "segment_wall_s": speech.wall_s,
        "segment_first_sound_s": speech.ttfa_s,
        "segment_rtf": speech.rtf,
        "speaking_gib": Process(own()).memory_kib() * 1024 / GiB,
    }


def own() -> int:
    return int(Path("/proc/self").resolve().name)


def parameters(model: GLMTTS) -> int:
    """Of the three networks; the step's fixed order of the language model's makes copies of a few, not counted."""
    lm = model.lm.table.numel() + sum(each.numel() for layer in model.lm.plain.layers for each in vars(layer).values())
    parts = (model.vocoder.flow.flow, model.vocoder.hift.hift)
    return lm + sum(each.numel() for part in parts for each in part.parameters())


def of_the_parts(model: GLMTTS) -> dict[str, float]:
    lm, flow, hift = model.lm, model.vocoder.flow.flow, model.vocoder.hift.hift
    cache, ids = lm.allocate(1), list(range(PREFIX + 1))
    prefill = timed(lambda: prefilled(model, ids, cache))
    steps = [timed(lambda: lm.logits([9], [0], [PREFIX + at], cache)) for at in range(STEPS)]  # noqa: B023
    voice = model.voices["one"]
    tokens = torch.arange(25)
    prompt = Prompt(voice.codes, voice.mel, voice.speaker)
    frames = flow.frames(len(voice.codes) + len(tokens))
    noise = torch.randn(frames, flow.shape.mel)
    whole: list[Lap] = [timed(lambda: flow.sample(prompt, tokens, noise, 1)) for _ in range(2)]
    mel = torch.randn(1, 50, hift.shape.mel)
    sounds = torch.randn(1, 50 * hift.hop, hift.shape.harmonics)
    vocoder = [timed(lambda: hift.speak(mel, sounds)) for _ in range(3)]
    return {
        f"prefill_{PREFIX}_s": prefill.wall,
        f"prefill_{PREFIX}_cpu_s": prefill.cpu,
        "decode_step_ms": middle(steps).wall * 1000,
        "decode_step_cpu_ms": middle(steps).cpu * 1000,
        "flow_pass_frames": frames,
        "flow_step_s": whole[-1].wall,  # both passes of one of the ten
        "flow_step_cpu_s": whole[-1].cpu,
        "hift_s_a_second": middle(vocoder).wall,
        "hift_cpu_s_a_second": middle(vocoder).cpu,
    }


def prefilled(model: GLMTTS, ids: list[int], cache: KVCache) -> None:
    for at in range(0, PREFIX, PIECE):
        model.lm.prefill(ids, 0, at, cache)


if __name__ == "__main__":
    main()
