"""Strict loading of a network's weights: by a table of names and shapes, from any file of the release.

What is missing, surplus or of another shape is an error that names it, and so is a tensor that holds something other
than finite numbers.  No file makes this run code, or hold more memory than the table asks for.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.files import mapped, refusal
from stream_server.models.glm_tts.pickle_file import read_pickle
from stream_server.models.glm_tts.safetensors_file import read_index, read_safetensors
from stream_server.models.glm_tts.stored import Shape, Stored, shown

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MAX_NAMED = 10  # names in one error of each kind; the rest are counted
ZIP = b"PK\3\4"


def dtype_of(name: str, field: str) -> torch.dtype:
    """What a part's numbers are to be held in, by the name an operator gives it in `field`."""
    if name not in DTYPES:
        raise ConfigError(f"{field}: no such type of number: {name!r}", field=field, limit=", ".join(DTYPES))
    return DTYPES[name]


@dataclass(frozen=True)
class Table:
    """A network's tensors: name → shape, in which None is any size."""

    shapes: Mapping[str, tuple[int | None, ...]]
    optional: frozenset[str] = field(default_factory=frozenset)  # of those, what may be missing
    skipped: tuple[str, ...] = ()  # beginnings of names that may be there and are not read


def load(path: Path, table: Table, dtype: torch.dtype = torch.float32, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor of the table that the checkpoint has, finite, as dtype; `prefix` as in `Checkpoint`."""
    checkpoint = Checkpoint(path, prefix)
    return {name: checkpoint.tensor(name, dtype) for name in checkpoint.expect(table)}


def find(folder: Path, names: Iterable[str]) -> Path:
    """The first of these files that is there."""
    names = tuple(names)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise refusal(folder / names[0], "no such file", " or ".join(names))


class Checkpoint:
    """A file's tensors, read one by one: .safetensors, .safetensors.index.json or what torch.save wrote."""

    def __init__(self, path: Path, prefix: str = "") -> None:
        """prefix: dropped from the beginning of every name that has it."""
        self.path = path
        self.stored: dict[str, Stored] = {}
        for name, stored in read(path).items():
            if self.stored.setdefault(name.removeprefix(prefix), stored) is not stored:
                raise refusal(path, f"{shown(name)} is there with and without {prefix}")

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: stored.shape for name, stored in self.stored.items()}

    def expect(self, table: Table) -> list[str]:
        """Names of the table that are here.  ConfigError where the two do not fit each other."""
        wanted, here = table.shapes, self.shapes
        missing = [name for name in wanted if name not in here and name not in table.optional]
        surplus = [name for name in here if name not in wanted and not name.startswith(table.skipped or ("\0",))]
        found = [name for name in wanted if name in here]
        wrong = [
            f"{name} {list(here[name])} instead of {['any' if n is None else n for n in wanted[name]]}"
            for name in found
            if not fits(here[name], wanted[name])
        ]
        whole = [name for name in found if not self.stored[name].dtype.is_floating_point]
        kinds = {"missing": missing, "surplus": surplus, "of another shape": wrong, "whole numbers": whole}
        faults = [f"{kind}: {listed(names)}" for kind, names in kinds.items() if names]
        if faults:
            raise refusal(self.path, "; ".join(faults))
        return found

    def tensor(self, name: str, dtype: torch.dtype | None = torch.float32) -> Tensor:
        """A copy as dtype, or as it is stored.  ConfigError where a number is not finite, or is not so in dtype."""
        stored = self.stored[name]
        tensor = stored.read().to(dtype or stored.dtype, copy=True, memory_format=torch.contiguous_format)
        if tensor.numel() and not all(math.isfinite(end) for end in torch.stack(tensor.aminmax()).tolist()):
            kind = str(tensor.dtype).removeprefix("torch.")
            raise refusal(stored.path, f"{shown(name)} holds NaN or infinity, read as {kind}")
        return tensor


def read(path: Path) -> dict[str, Stored]:
    if path.name.endswith(".index.json"):
        return read_index(path)
    if mapped(path)[: len(ZIP)] == ZIP:
        return read_pickle(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    raise refusal(path, "neither safetensors nor an archive of torch's (save it again with torch 1.6 or later)")


def fits(shape: Shape, wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or n == w for n, w in zip(shape, wanted))


def listed(names: list[str]) -> str:
    named = ", ".join(shown(name) for name in names[:MAX_NAMED])
    return named if len(names) <= MAX_NAMED else f"{named} and {len(names) - MAX_NAMED} more"
