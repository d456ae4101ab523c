"""Where a tensor lies in a file: its numbers are looked at only once its place is known to be there."""

import math
import mmap
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stream_server.models.glm_tts.files import refusal

Shape = tuple[int, ...]
MAX_AXES = 8


@dataclass(frozen=True)
class Stored:
    path: Path
    memory: mmap.mmap
    dtype: torch.dtype
    shape: Shape
    begin: int  # byte of the stretch it lies in
    count: int  # numbers in that stretch
    offset: int = 0  # numbers before its first
    stride: Shape | None = None  # numbers between neighbours along each axis; None: contiguous

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.numbers * self.dtype.itemsize

    def read(self) -> Tensor:
        """A view of the file."""
        if not self.numbers:
            return torch.empty(self.shape, dtype=self.dtype)
        stretch = torch.frombuffer(self.memory, dtype=self.dtype, count=self.count, offset=self.begin)
        if self.stride is None:
            return stretch.view(self.shape)
        return stretch.as_strided(self.shape, self.stride, self.offset)


def checked(stored: Stored, name: str) -> Stored:
    """Itself, if all of it lies within its stretch, and its stretch within the file, and no number counts twice."""
    shape, stride = stored.shape, stored.stride
    numbers = [*shape, *(stride or ()), stored.offset, stored.count, stored.begin]
    if len(shape) > MAX_AXES or not all(type(n) is int and n >= 0 for n in numbers):
        raise refusal(stored.path, f"{shown(name)} has an impossible shape")
    if stored.begin + stored.count * stored.dtype.itemsize > len(stored.memory):
        raise refusal(stored.path, f"{shown(name)} lies beyond the end of the file")
    if stride is None:
        inside = stored.numbers == stored.count and not stored.offset
    else:
        last = stored.offset + sum((n - 1) * step for n, step in zip(shape, stride))
        inside = len(stride) == len(shape) and (not stored.numbers or last < stored.count)
        inside = inside and stored.numbers <= stored.count
    if not inside:
        raise refusal(stored.path, f"{shown(name)} says it is larger than what is stored of it")
    return stored


def shown(name: str) -> str:
    """A tensor's name as an error may say it."""
    return name if name.isprintable() and len(name) <= 120 else ascii(name[:120])
