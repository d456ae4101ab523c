"""GLM-TTS in chunks: how far from the whole it sounds, and what a second of it costs as the text gets longer.

    python benchmarks/glm_stream.py [--quick]

Two random checkpoints: the small one whose numbers the tests hold against the original's, and a larger one.  Random
networks look farther and less wisely than trained ones, so errors here rank ways of cutting and say nothing of how a
trained voice sounds.  Each error is a norm over the norm of the whole's: of the mel; of the waveform, each from its own
F0 (phases gather the least difference) and both from the whole's; "another seed" is what two takes of the whole differ
by.  Costs are CPU seconds a second
of speech on one thread, of the flow and of the vocoder, for one listener; `again` computes the window's hidden values
in every chunk, `kept` keeps their keys and values, `all` sees the whole past as the released program does.

First sounds are those of the model as it is served, fed as the engine feeds it: how many codes it waits for, and what
the flow, the vocoder and the resampling cost until then and in all.  The language model's steps come on top.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from typing import Any

import torch
from lap import timed, use_one_thread
from report import ROOT, conclude, table
from safetensors.torch import load_file
from torch import Tensor

sys.path.insert(0, str(ROOT))

from stream_server.engine.messages import Controls
from stream_server.models.glm_tts.chunks import SCHEDULES, schedule
from stream_server.models.glm_tts.flow import Flow, Prompt, load_flow
from stream_server.models.glm_tts.flow_config import flow_config, read_flow_config
from stream_server.models.glm_tts.flow_stream import FlowStream
from stream_server.models.glm_tts.hift import HiFT, load_hift
from stream_server.models.glm_tts.hift_config import HiFTConfig, read_hift_config
from stream_server.models.glm_tts.hift_stream import HiFTStream
from stream_server.models.glm_tts.vocoder import CHUNKS, GLMVocoder
from stream_server.models.glm_tts.voice import Voice
from stream_server.models.interface import Sound
from stream_server.nn.noise import gaussian
from tests.models.glm_tts import make_flow, make_hift

GOLDEN = ROOT / "tests/models/glm_tts/golden"
TOKENS_PER_SECOND = 25
SECONDS = 6  # of speech where errors are measured
REFERENCE_S = 3
WINDOW = 100  # frames
STEPS = {"small": (10,), "medium": (10, 4)}
WAYS = {"again": (WINDOW, False), "kept": (WINDOW, True), "all": (None, False)}
LENGTHS = (5, 20, 60)  # s
SLOW = {"all"}  # ways whose cost grows so much that the longest text is left out
SERVED = {"24 kHz, as served": (24_000, False), "32 kHz, as served": (32_000, False), "24 kHz, kept": (24_000, True)}
COST_STEPS = 4
FLOORS = {
    "again_60_over_5": 1.15,
    "kept_60_over_5": 1.15,
    "vocoder_60_over_5": 1.15,
    "served_60_over_5": 1.15,  # at either rate
    "first_sound_over_all_20": 0.15,  # CPU until it, at either rate
}


@dataclass(frozen=True)
class Checkpoint:
    flow: Flow
    hift: HiFT
    prompt: Prompt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small one, two plans, short texts, nothing kept")
    quick = parser.parse_args().quick
    use_one_thread()
    checkpoints = {"small": small()} if quick else {"small": small(), "medium": medium()}
    plans, seconds = (("early", "steady"), 3) if quick else (tuple(SCHEDULES), SECONDS)
    figures: dict[str, Any] = {"window_frames": WINDOW, "reference_s": REFERENCE_S, "errors": {}}
    for name, checkpoint in checkpoints.items():
        errors = {count: errors_of(checkpoint, plans, count, seconds) for count in ((4,) if quick else STEPS[name])}
        figures["errors"][name] = errors
        show_errors(name, errors)
    lengths = (2, 4) if quick else LENGTHS
    name, checkpoint = list(checkpoints.items())[-1]
    figures["served"] = {way: [served(checkpoint, *how, s) for s in lengths] for way, how in SERVED.items()}
    show_served(name, lengths, figures["served"])
    figures["costs"] = costs = costs_of(checkpoint, lengths)
    head = [f"{name}, plan {CHUNKS}, {COST_STEPS} steps: CPU s a second of speech", *(f"{s} s" for s in lengths)]
    rows = [[way, *values, *["–"] * (len(lengths) - len(values))] for way, values in costs.items()]
    table("what it costs, part by part", head, rows)
    if not quick:
        figures |= {f"{way}_60_over_5": costs[way][-1] / costs[way][0] for way in ("again", "kept", "vocoder")}
        each = [found for way, found in figures["served"].items() if way.endswith("served")]
        figures["served_60_over_5"] = max(found[2]["cost"] / found[0]["cost"] for found in each)
        figures["first_sound_over_all_20"] = max(found[1]["cpu_s"] / found[1]["all_cpu_s"] for found in each)
    conclude("glm_stream", figures, FLOORS, keep=not quick)


def small() -> Checkpoint:
    flow = load_flow(read_flow_config(GOLDEN / "flow/config.json"), load_file(GOLDEN / "flow/model.safetensors"))
    hift = load_hift(read_hift_config(GOLDEN / "hift/config.json"), load_file(GOLDEN / "hift/model.safetensors"))
    return Checkpoint(flow, hift, prompt_of(flow))


def medium() -> Checkpoint:
    shape = replace(
        make_flow.SMALL, width=256, depth=4, heads=4, head_dim=64, mlp=512, vocabulary=1025, text=128, text_blocks=4,
        text_hidden=256,
    )  # fmt: skip
    flow = load_flow(flow_config(make_flow.make_config(shape)), make_flow.make_tensors(shape))
    tensors = make_hift.make_tensors(replace(make_hift.SMALL, channels=(128, 64, 32, 16), f0_channels=128))
    return Checkpoint(flow, load_hift(HiFTConfig(), tensors), prompt_of(flow))


def prompt_of(flow: Flow) -> Prompt:
    generator = torch.Generator().manual_seed(0)
    tokens = REFERENCE_S * TOKENS_PER_SECOND
    return Prompt(
        torch.randint(1, flow.shape.vocabulary - 1, (tokens,), generator=generator),
        torch.randn(2 * tokens - 1, flow.shape.mel, generator=generator),
        torch.randn(192, generator=generator),
    )


def text_of(flow: Flow, seconds: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, flow.shape.vocabulary - 1, (seconds * TOKENS_PER_SECOND,), generator=generator)


def whole(checkpoint: Checkpoint, tokens: Tensor, steps: int, seed: int) -> Tensor:
    """The whole mel at once, from the noise that streams draw."""
    stream = FlowStream(checkpoint.flow, schedule("released"), steps)
    flow, prompt = checkpoint.flow, stream.voice(checkpoint.prompt).prompt
    frames = 2 * (len(prompt.tokens) + len(tokens))
    seeds = torch.where(torch.arange(frames) < len(prompt.mel), 0, seed)
    noise = gaussian(seeds[:, None], torch.arange(frames * flow.shape.mel).view(frames, -1))
    return flow.sample(prompt, tokens, noise, steps).mel.T


def streamed(stream: FlowStream, prompt: Prompt, tokens: Tensor, seed: int) -> Tensor:
    state = stream.allocate(1)
    stream.reset(0, stream.voice(prompt), seed, state)
    return torch.cat(stream.decode([0], [tokens], [True], state)[0])


def spoken(hift: HiFT, mel: Tensor, size: int = 50) -> Tensor:
    """Through the vocoder in chunks of `size` frames."""
    stream = HiFTStream(hift, trim=2)
    state = stream.allocate(1)
    stream.reset(0, 0, state)
    pieces = [
        stream.decode([0], [mel[at : at + size]], [at + size >= len(mel)], state)[0] for at in range(0, len(mel), size)
    ]
    return torch.cat(pieces)


def gap(found: Tensor, wanted: Tensor, hift: HiFT) -> dict[str, float]:
    sound, right = spoken(hift, found), spoken(hift, wanted)
    with torch.inference_mode():
        noise = gaussian(torch.tensor(0), torch.arange(len(right) * hift.shape.harmonics)).view(1, len(right), -1)
        source = hift.source(hift.f0_predictor(wanted.mT[None]), noise)
        same, base = hift.decode(found.mT[None], source), hift.decode(wanted.mT[None], source)
    return {
        "mel": float((found - wanted).norm() / wanted.norm()),
        "wave_same_f0": float((same - base).norm() / base.norm()),
        "wave": float((sound - right).norm() / right.norm()),
    }


def errors_of(checkpoint: Checkpoint, plans: tuple[str, ...], steps: int, seconds: int) -> dict[str, dict[str, float]]:
    tokens = text_of(checkpoint.flow, seconds)
    wanted = whole(checkpoint, tokens, steps, 1)
    found = {"another seed": gap(whole(checkpoint, tokens, steps, 2), wanted, checkpoint.hift)}
    for plan in plans:
        for way, (window, keep) in WAYS.items():
            stream = FlowStream(checkpoint.flow, schedule(plan), steps, window, keep)
            found[f"{plan}, {way}"] = gap(streamed(stream, checkpoint.prompt, tokens, 1), wanted, checkpoint.hift)
    return found


def show_errors(name: str, errors: dict[int, dict[str, dict[str, float]]]) -> None:
    measures = ("mel", "wave_same_f0", "wave")
    head = [name, *(f"{measure} {count}" for measure in measures for count in errors)]
    cuts = next(iter(errors.values()))
    rows = [[cut, *(errors[count][cut][measure] for measure in measures for count in errors)] for cut in cuts]
    table("how far from the whole, by steps", head, rows)


def served(checkpoint: Checkpoint, rate: int, keep: bool, seconds: int) -> dict[str, float]:
    """One listener's text through the model as it is served; a voice's own part is computed before."""
    vocoder = GLMVocoder(checkpoint.flow, checkpoint.hift, kept_voices=int(keep))
    prompt, tokens = checkpoint.prompt, text_of(checkpoint.flow, seconds)[:, None]
    vocoder.add_voice("one", Voice(torch.zeros(1, dtype=torch.int64), prompt.tokens, prompt.mel, prompt.speaker))
    state = vocoder.allocate(1)
    vocoder.reset(0, Controls("one", seed=1, sample_rate=rate), state)
    first: dict[str, float] = {}
    at = samples = index = 0
    cpu = 0.0
    while at < len(tokens):
        plan = vocoder.chunk(index)
        piece = tokens[at : at + plan.most + plan.lookahead]
        at, index = at + len(piece), index + 1
        sounds: list[Sound] = []
        cpu += timed(lambda: sounds.extend(vocoder.decode([0], [piece], [at == len(tokens)], state))).cpu  # noqa: B023
        samples += len(sounds[0].pcm)
        if samples and not first:
            first = {"codes": at, "sound_s": samples / rate, "cpu_s": cpu}
    return {**first, "all_codes": len(tokens), "all_cpu_s": cpu, "cost": cpu * rate / samples}


def show_served(name: str, lengths: tuple[int, ...], found: dict[str, list[dict[str, float]]]) -> None:
    head = [
        name,
        "text",
        "codes before it",
        "of",
        "s of sound in it",
        "CPU s to it",
        "CPU s in all",
        "a second of speech",
    ]
    keys = ("codes", "all_codes", "sound_s", "cpu_s", "all_cpu_s", "cost")
    rows = [
        [way, f"{seconds} s", *(each[key] for key in keys)]
        for way, all_of in found.items()
        for seconds, each in zip(lengths, all_of)
    ]
    table("the first sound, and what all of it costs", head, rows)


def costs_of(checkpoint: Checkpoint, lengths: tuple[int, ...]) -> dict[str, list[float]]:
    """What a stream costs from its first token to its last; a voice's own part is computed before."""
    found: dict[str, list[float]] = {way: [] for way in WAYS} | {"vocoder": []}
    for seconds in lengths:
        tokens = text_of(checkpoint.flow, seconds)
        mels: list[Tensor] = []
        for way, (window, keep) in WAYS.items():
            if way in SLOW and seconds == LENGTHS[-1]:
                continue
            stream = FlowStream(checkpoint.flow, schedule(CHUNKS), COST_STEPS, window, keep)
            state, voice = stream.allocate(1), stream.voice(checkpoint.prompt)
            stream.reset(0, voice, 1, state)
            lap = timed(lambda: mels.append(torch.cat(stream.decode([0], [tokens], [True], state)[0])))  # noqa: B023
            found[way].append(lap.cpu / seconds)
        found["vocoder"].append(timed(lambda: spoken(checkpoint.hift, mels[0])).cpu / seconds)  # noqa: B023
    return found


if __name__ == "__main__":
    main()
