"""How many bytes a model's tensors take: every storage once, whoever else refers to it.

Walks what objects hold and knows no family: the parts and their names are the family's own (`SpeechModel.parts`).
"""

from collections.abc import Iterator
from typing import Any

import torch

from stream_server.engine.messages import ModelMemory
from stream_server.engine.runner import Runner

PLAIN = (str, bytes, int, float, bool, type(None))


def measure(runner: Runner) -> ModelMemory:
    """State before weights: a model's scratch buffers may refer to a cache, which is none of its weights."""
    seen: set[tuple[str, int]] = set()
    state = {"model": weigh(runner.state, seen), "vocoder": weigh(runner.vocoder_state, seen)}
    weights = {name: weigh(part, seen) for name, part in runner.model.parts.items()}
    return ModelMemory(weights, state, torch.cuda.memory_allocated() if torch.cuda.is_available() else 0)


def weigh(thing: Any, seen: set[tuple[str, int]]) -> int:
    """Bytes of the tensors reached from `thing` that are not in `seen`, which they join."""
    total, left = 0, [thing]
    while left:
        at = left.pop()
        if isinstance(at, (*PLAIN, type)) or ("object", id(at)) in seen:
            continue
        seen.add(("object", id(at)))
        if isinstance(at, torch.Tensor):
            storage = at.untyped_storage()
            if ("storage", storage.data_ptr()) not in seen:
                seen.add(("storage", storage.data_ptr()))
                total += storage.nbytes()
        else:
            left.extend(held(at))
    return total


def held(thing: Any) -> Iterator[Any]:
    """What a container or an object of ours holds; nothing of what others made, but for torch's modules."""
    if isinstance(thing, dict):
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset):
        yield from thing
    elif isinstance(thing, torch.nn.Module) or type(thing).__module__.startswith("stream_server."):
        yield from getattr(thing, "__dict__", {}).values()
