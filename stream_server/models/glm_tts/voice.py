"""A voice: what was taken from a recording once, and stands before everything that is said in it.

A file `NAME.safetensors`: the transcript's ids, the recording's codes, its mel and its speaker vector, with the
transcript itself and whatever else is known of it in the metadata.  Does not know how they were made.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.weights import Checkpoint

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
SHAPES: dict[str, tuple[int | None, ...]] = {"mel": (None, None), "speaker": (None,)}
MAX_CODES = 30 * 25  # of 30 s
WHOLE = ("text", "codes")


@dataclass(frozen=True)
class Voice:
    name: str
    text: tuple[int, ...]  # ids of the transcript and of the space behind it
    codes: tuple[int, ...]
    mel: Tensor  # float32 [P, mel]
    speaker: Tensor  # float32 [S]
    about: dict[str, str] = field(default_factory=dict)


def read_voices(folder: Path) -> dict[str, Voice]:
    """Every voice of a folder, by name; none where there is no folder."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return {path.stem: read_voice(path) for path in files}


def read_voice(path: Path) -> Voice:
    """ConfigError names the file and what is wrong with it."""
    if not NAME.fullmatch(path.stem):
        raise ConfigError(f"{path}: a voice's name is lower-case letters, digits, - and _", field=str(path), limit=64)
    checkpoint = Checkpoint(path)
    missing = {*SHAPES, *WHOLE} - checkpoint.shapes.keys()
    if missing:
        raise ConfigError(f"{path}: lacks {', '.join(sorted(missing))}", field=str(path))
    text, codes = (tuple(checkpoint.tensor(name, None).flatten().tolist()) for name in WHOLE)
    if len(codes) > MAX_CODES:
        raise ConfigError(f"{path}: the recording is too long", field=str(path), limit=MAX_CODES)
    return Voice(path.stem, text, codes, checkpoint.tensor("mel"), checkpoint.tensor("speaker"))
