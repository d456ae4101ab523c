"""A release's weights → one safetensors file a part, tensor by tensor, checked as they are when loaded."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stream_server.models.glm_tts.safetensors_file import DTYPES, LENGTH
from stream_server.models.glm_tts.stored import Shape
from stream_server.models.glm_tts.weights import Checkpoint, Table, find

NAMES = {dtype: name for name, dtype in DTYPES.items()}
ALIGNED = 8  # bytes that the tensors' beginning is a multiple of


@dataclass(frozen=True)
class Part:
    """One network of the release: where its weights lie, and which tensors they are."""

    name: str  # its folder
    files: tuple[str, ...]  # the first that is there counts; the first is what is written
    table: Callable[[Path, Mapping[str, Shape]], Table]  # of the folder and the tensors found in the file
    copied: tuple[str, ...] = ()  # what has to lie beside the weights, where it is there
    prefix: str = ""  # as in `Checkpoint`


@dataclass(frozen=True)
class Converted:
    name: str
    path: Path
    tensors: int
    bytes: int


def convert(
    source: Path, target: Path, parts: Sequence[Part], dtypes: Mapping[str, torch.dtype] | None = None
) -> list[Converted]:
    """Writes every part into target, which may be the source itself; dtypes: by part, as stored where not given.

    ConfigError names a file and what is wrong with it.  A file appears whole or not at all.
    """
    return [convert_part(source / part.name, target / part.name, part, (dtypes or {}).get(part.name)) for part in parts]


def convert_part(source: Path, target: Path, part: Part, dtype: torch.dtype | None) -> Converted:
    checkpoint = Checkpoint(find(source, part.files), part.prefix)
    names = checkpoint.expect(part.table(source, checkpoint.shapes))
    target.mkdir(parents=True, exist_ok=True)
    path = target / part.files[0]
    partial = path.with_name(path.name + ".partial")
    try:
        size = write(partial, checkpoint, names, dtype)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    for name in part.copied:
        if (source / name).is_file() and source.resolve() != target.resolve():
            shutil.copyfile(source / name, target / name)
    return Converted(part.name, path, len(names), size)


def write(path: Path, checkpoint: Checkpoint, names: Sequence[str], dtype: torch.dtype | None) -> int:
    """A safetensors file of these tensors; → its bytes."""
    header, end = {}, 0
    for name in names:
        stored = checkpoint.stored[name]
        kind = dtype or stored.dtype
        begin, end = end, end + stored.numbers * kind.itemsize
        header[name] = {"dtype": NAMES[kind], "shape": list(stored.shape), "data_offsets": [begin, end]}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(LENGTH, "little") + text)
        for name in names:
            file.write(raw(checkpoint.tensor(name, dtype)))
        return file.tell()


def raw(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data
