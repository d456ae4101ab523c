"""A network's tensors against a checkpoint's: names and shapes, nothing missing and nothing to spare."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from stream_server.errors import ConfigError

T = TypeVar("T")
Shapes = Mapping[str, Sequence[int]]
MAX_NAMED = 5


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def own_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """What a checkpoint of this module holds; the module may be on torch's meta device."""
    return shapes_of(module.state_dict())


def shape_at(shapes: Shapes, name: str) -> tuple[int, ...]:
    """ConfigError names what is not there."""
    if name not in shapes:
        raise ConfigError(f"the checkpoint lacks {name}", field=name)
    return tuple(shapes[name])


def size_at(shapes: Shapes, name: str, axis: int) -> int:
    """One of its sizes, at least 1.  ConfigError names what has no such."""
    shape = shape_at(shapes, name)
    if len(shape) <= axis or shape[axis] < 1:
        raise ConfigError(f"the checkpoint has {name} in the shape {list(shape)}", field=name)
    return shape[axis]


def numbered(names: Shapes, prefix: str) -> int:
    """How many n there are in prefix + "n.…"."""
    found = {name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)}
    return len(found)


def fitting(what: str, make: Callable[[], T]) -> T:
    """What is made of a checkpoint's shapes, without memory.  ConfigError where no such network can be built."""
    try:
        with torch.device("meta"):
            return make()
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the {what}'s tensors have shapes that make no such network ({type(error).__name__})", field=what
        ) from None


def compare(wanted: Shapes, found: Shapes) -> None:
    """ConfigError names what differs."""
    missing, surplus = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    wrong = sorted(name for name in wanted.keys() & found.keys() if tuple(wanted[name]) != tuple(found[name]))
    for names, what in ((missing, "lacks"), (surplus, "has unknown"), (wrong, "has in another shape")):
        if names:
            listed = ", ".join(names[:MAX_NAMED])
            raise ConfigError(f"the checkpoint {what} {listed} ({len(names)} in all)", field=names[0])
