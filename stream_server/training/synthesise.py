"""Who speaks the test sentences: the shipped voices through the engine, or copy synthesis of held-out takes."""

from pathlib import Path

import numpy as np

from stream_server.training.systems import Synthesiser


def synthesiser(voice: str, seed: int = 0, temperature: float | None = None) -> Synthesiser:
    """A shipped voice: text → float32 samples and their rate, as `stream-server say` makes them."""
    from dataclasses import replace

    from stream_server.config import ServerConfig
    from stream_server.engine.messages import Controls
    from stream_server.loading import make_core
    from stream_server.offline import synthesise

    core = make_core(ServerConfig(slots=1))
    controls = Controls(voice, seed=seed)
    if temperature is not None:
        controls = replace(controls, temperature=temperature)

    def speak(text: str) -> tuple[np.ndarray, int]:
        speech = synthesise(core, text, controls)
        return speech.pcm, speech.sample_rate

    return speak


def copy_takes(corpus: Path, codec_run: Path, voice: str, out: Path, count: int) -> list[str]:
    """Held-out takes through encoder, quantiser and vocoder (no LM) as WAV files; → their texts.

    The ceiling of what an LM over these codes can sound like.
    """
    import soundfile
    import torch

    from stream_server.engine.messages import Controls
    from stream_server.models.lark import fsq
    from stream_server.models.lark.vocoder import LarkVocoder
    from stream_server.training.codec import Batch, Codec
    from stream_server.training.dataset import VOICES, load
    from stream_server.training.shards import read_shards

    codec = Codec().eval()
    codec.load_state_dict(torch.load(codec_run / "last.pt", weights_only=True)["model"])
    vocoder = LarkVocoder(codec.decoder, VOICES)
    texts = {utterance.id: utterance.text for utterance in read_shards(corpus / voice)}
    out.mkdir(parents=True, exist_ok=True)
    held_out = load(corpus, voice)[1][:count]
    state = vocoder.allocate(1)
    for index, example in enumerate(held_out):
        with torch.no_grad():
            codes = fsq.to_codes(codec.encode(Batch([example])))[0]
        tokens = torch.cat([codes[:, None], torch.from_numpy(example.around)], dim=1)
        vocoder.reset(0, Controls(voice), state)
        soundfile.write(out / f"{index:03d}.wav", vocoder.decode([0], [tokens], [True], state)[0].pcm, 24_000)
    return [texts[example.id] for example in held_out]
