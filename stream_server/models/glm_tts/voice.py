"""A voice: what was taken from a recording once, and stands before everything that is said in it.

A file `NAME.safetensors`: the transcript's ids, the recording's codes, its mel and its speaker vector, with the
transcript itself and whatever else is known of it in the metadata.  Does not know how they were made.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
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


def describe(folder: Path) -> dict[str, str]:
    """Name → what is said in its recording; reads the headers alone."""
    return {path.stem: read_about(path).get("transcript", "") for path in places(folder)}


def places(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors")) if folder.is_dir() else []


def rename_voice(folder: Path, name: str, new: str) -> None:
    """ConfigError where there is no such voice, or the new name is taken or none."""
    old = place_of(folder, name)
    if not NAME.fullmatch(new):
        raise ConfigError(f"{new!r} is no name for a voice: lower-case letters, digits, - and _", field="new", limit=64)
    if (folder / f"{new}.safetensors").exists():
        raise ConfigError(f"there is a voice {new}", field="new")
    old.rename(folder / f"{new}.safetensors")


def delete_voice(folder: Path, name: str) -> None:
    """ConfigError where there is no such voice."""
    place_of(folder, name).unlink()


def place_of(folder: Path, name: str) -> Path:
    found = {path.stem: path for path in places(folder)}
    if name not in found:
        raise ConfigError(f"there is no voice {name!r}", field="name", limit=", ".join(found))
    return found[name]


def read_voices(folder: Path) -> dict[str, Voice]:
    """Every voice of a folder, by name; none where there is no folder."""
    return {path.stem: read_voice(path) for path in places(folder)}


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
    return Voice(path.stem, text, codes, checkpoint.tensor("mel"), checkpoint.tensor("speaker"), read_about(path))


def read_about(path: Path) -> dict[str, str]:
    """What is known of a voice beside its numbers.  ConfigError where the file cannot be read."""
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"{path}: no voice that can be read ({type(error).__name__})", field=str(path)) from None
