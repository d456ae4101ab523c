"""A safetensors file's tensors, or those of several that an index names; nothing but headers is read.

The format: eight bytes of length, a JSON header, then the tensors one behind the other.
"""

from pathlib import Path
from typing import Any

import torch

from stream_server.models.glm_tts.files import MAX_JSON_BYTES, mapped, parse_json, read_json, refusal
from stream_server.models.glm_tts.stored import Stored, checked, shown

LENGTH = 8  # bytes that say how long the header is
METADATA = "__metadata__"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_safetensors(path: Path) -> dict[str, Stored]:
    """By name.  Refused: a header that does not fit the file to the byte."""
    memory = mapped(path)
    header = int.from_bytes(memory[:LENGTH], "little")
    start = LENGTH + header
    if header > MAX_JSON_BYTES or start > len(memory):
        raise refusal(path, "no safetensors file, or cut short")
    entries = parse_json(path, memory[LENGTH:start])
    entries.pop(METADATA, None)
    found, end = {}, start
    for begin, name, entry in sorted((offsets(path, name, entry)[0], name, entry) for name, entry in entries.items()):
        stop = offsets(path, name, entry)[1]
        dtype = DTYPES[entry["dtype"]]
        if start + begin != end or stop < begin or (stop - begin) % dtype.itemsize:
            raise refusal(path, f"{shown(name)} does not begin where the one before it ends")
        count = (stop - begin) // dtype.itemsize
        found[name] = checked(Stored(path, memory, dtype, tuple(entry["shape"]), start + begin, count), name)
        end = start + stop
    if end != len(memory):
        raise refusal(path, "what its header names is not what it holds")
    return found


def offsets(path: Path, name: str, entry: Any) -> tuple[int, int]:
    """Of an entry that is well formed."""
    well = (
        isinstance(entry, dict)
        and entry.get("dtype") in DTYPES
        and isinstance(entry.get("shape"), list)
        and isinstance(entry.get("data_offsets"), list)
        and [type(n) for n in entry["data_offsets"]] == [int, int]
    )
    if not well:
        raise refusal(path, f"{shown(name)} is described wrongly")
    begin, stop = entry["data_offsets"]
    return begin, stop


def read_index(path: Path) -> dict[str, Stored]:
    """The tensors of every file that an index names, which lie beside it; each where the index says, and no others."""
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise refusal(path, "no weight_map")
    found: dict[str, Stored] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise refusal(path, f"{shown(file)} is no safetensors file beside it")
        for name, stored in read_safetensors(path.parent / file).items():
            if places.get(name) != file:
                raise refusal(path, f"{shown(name)} lies in {file}, of which the index knows nothing")
            found[name] = stored
    for name, file in places.items():
        if name not in found:
            raise refusal(path, f"{shown(name)} is not in {file}")
    return found
