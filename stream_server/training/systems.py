"""Systems under test: a name → something that speaks.

    festival      the teacher, as `training.teacher` calls it
    folder:PATH   wav files made by anyone, 000.wav … in the order of the sentences
    voice:NAME    a bundled voice

Knows nothing of recognition or scores.
"""

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from stream_server.training.teacher import PROLOGUE, quote

Synthesiser = Callable[[str], tuple[np.ndarray, int]]


def system(name: str, sentences: list[str], seed: int) -> Synthesiser:
    """What speaks any of `sentences`, which some systems must know beforehand."""
    kind, _, rest = name.partition(":")
    if name == "festival":
        return festival(sentences)
    if kind == "folder" and rest:
        return recorded(Path(rest), sentences)
    if kind == "voice" and rest:
        from stream_server.training.synthesise import synthesiser

        return synthesiser(rest, seed)
    raise ValueError(f"no system {name!r}: say festival, folder:PATH or voice:NAME")


def festival(sentences: list[str]) -> Synthesiser:
    """All sentences in one process, since festival takes longer to start than to speak."""
    with tempfile.TemporaryDirectory() as folder:
        says = [f'(say "{quote(text)}" "{folder}/{index:03d}")' for index, text in enumerate(sentences)]
        script = Path(folder, "say.scm")
        script.write_text(PROLOGUE + "\n".join(says))
        subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
        takes = {text: read(Path(folder, f"{index:03d}.wav")) for index, text in enumerate(sentences)}
    return takes.__getitem__


def recorded(folder: Path, sentences: list[str]) -> Synthesiser:
    paths = {text: folder / f"{index:03d}.wav" for index, text in enumerate(sentences)}
    return lambda text: read(paths[text])


def read(path: Path) -> tuple[np.ndarray, int]:
    audio, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return audio.mean(1), sample_rate
