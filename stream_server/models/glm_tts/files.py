"""Reading what an operator downloaded: nothing is read before its size is known to be within a bound.

Every refusal is a `ConfigError` whose field is the file.
"""

import json
import mmap
from pathlib import Path
from typing import Any

from stream_server.errors import ConfigError

MAX_JSON_BYTES = 4 << 20  # configs, indices and headers: the release's largest has 60 kB


def refusal(path: Path, why: str, limit: float | str | None = None) -> ConfigError:
    return ConfigError(f"{path}: {why}", field=str(path), limit=limit)


def size_of(path: Path) -> int:
    """In bytes; refused where it is no ordinary file."""
    if not path.is_file():
        raise refusal(path, "no such file")
    return path.stat().st_size


def mapped(path: Path) -> mmap.mmap:
    """The file as memory that is read where it is looked at; what is written there stays private."""
    if not size_of(path):
        raise refusal(path, "the file is empty")
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def read_json(path: Path, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    if size_of(path) > most:
        raise refusal(path, "too long for what it is", most)
    return parse_json(path, path.read_bytes())


def parse_json(path: Path, text: bytes) -> dict[str, Any]:
    """An object without a key that stands twice."""
    try:
        found = json.loads(text, object_pairs_hook=only_once)
    except (ValueError, RecursionError):  # bad UTF-8 is a ValueError too
        raise refusal(path, "not JSON, or a key stands twice") from None
    if not isinstance(found, dict):
        raise refusal(path, "no JSON object")
    return found


def only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
