"""A dictionary of pronunciations: what is written → how it is said, in place of what would be read.

Its form is the model's reader's (see `make_reader`): phones of the voice for one that reads words, `t ax0 m aa1 t ow1`;
for one that reads text itself other text, phonemes or both: `<|CH|><|ONG2|>庆`.  Upper and lower case are one.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stream_server.errors import ConfigError, InvalidPronunciation
from stream_server.limits import Limits
from stream_server.text.arrived import PHONEME, Arrived
from stream_server.text.fold import fold
from stream_server.text.lookahead import Incomplete
from stream_server.text.pronunciation import with_stress

FIELD = "pronunciations"
MAX_BYTES, MAX_ENTRIES = 4 << 20, 100_000  # of a file


def checked(entries: Mapping[str, str], kind: str, phones: Iterable[str], limits: Limits) -> dict[str, str]:
    """Entries as a reader of that kind takes them.  InvalidPronunciation says which bound or which phones; no words."""
    if len(entries) > limits.pronunciations:
        raise InvalidPronunciation("too many pronunciations", field=FIELD, limit=limits.pronunciations)
    known, most = frozenset(phones), limits.pronunciation_chars
    return {
        key(written.strip(), kind, most): value(said.strip(), kind, known, most) for written, said in entries.items()
    }


def key(written: str, kind: str, most: int) -> str:
    if not 0 < len(written) <= most:
        raise InvalidPronunciation("what is written must have so many characters at most", field=FIELD, limit=most)
    if not written[0].isalnum():
        raise InvalidPronunciation("what is written must begin with a letter, a digit or a character", field=FIELD)
    if kind == "plain":
        return Arrived(written, final=True).text.lower()
    if any(character.isspace() for character in written):
        raise InvalidPronunciation("what is written must be one word", field=FIELD)
    return fold(written).lower()


def value(said: str, kind: str, known: frozenset[str], most: int) -> str:
    if not 0 < len(said) <= most:
        raise InvalidPronunciation("a pronunciation must have so many characters at most", field=FIELD, limit=most)
    if kind == "plain":
        check_phonemes(said, known)
    else:
        with_stress(said.lower().split(), known, FIELD)
    return said


def check_phonemes(said: str, known: frozenset[str]) -> None:
    if "<|" in PHONEME.sub("", said) or not known.issuperset(PHONEME.findall(said)):
        raise InvalidPronunciation("the voice has no such phoneme", field=FIELD, limit=" ".join(sorted(known)))


class Dictionary:
    """Looks entries up where they stand in a text, the longest first."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._entries: dict[str, list[tuple[str, str]]] = {}
        for written in sorted(entries, key=len, reverse=True):
            self._entries.setdefault(written[0], []).append((written, entries[written]))

    def find(self, arrived: Arrived, at: int) -> tuple[int, str] | None:
        """Where the entry that stands there ends, and how it is said; Incomplete while a longer one may come."""
        for written, said in self._entries.get(arrived.char(at).lower(), ()):
            there = arrived.text[at : at + len(written)].lower()
            if len(there) < len(written) and not arrived.final and written.startswith(there):
                raise Incomplete
            end = at + len(written)
            if there == written and not glued(arrived, at - 1) and not glued(arrived, end - 1):
                return end, said
        return None


def glued(arrived: Arrived, at: int) -> bool:
    """Whether the characters there and behind it are of one word of letters and digits."""
    pair = arrived.char(at), arrived.char(at + 1)
    return all(each.isascii() and each.isalnum() for each in pair)


def read_dictionary(path: Path) -> dict[str, str]:
    """A .json or .toml table, or .jsonl: a table a line, or {"origin": …, "new": …}.  ConfigError names the file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than a dictionary may be", field=FIELD, limit=MAX_BYTES)
        found = entries_of(path.suffix.lower(), path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__})", field=FIELD) from None
    if not all(isinstance(each, str) for pair in found.items() for each in pair):
        raise ConfigError(f"{path}: must be a table of text to text", field=FIELD)
    return found


def entries_of(suffix: str, text: str) -> dict[str, Any]:
    """Raises ValueError."""
    if suffix == ".jsonl":
        return dict(pair for line in text.splitlines() if line.strip() for pair in line_of(json.loads(line)).items())
    return table(tomllib.loads(text) if suffix == ".toml" else json.loads(text))


def line_of(found: Any) -> dict[str, Any]:
    entry = table(found)
    return {entry["origin"]: entry["new"]} if entry.keys() == {"origin", "new"} else entry


def table(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError
    return found


def server_dictionary(path: Path | None, kind: str, phones: Iterable[str]) -> dict[str, str]:
    """The operator's own, for every listener; ConfigError names the file and what is wrong with it."""
    if path is None:
        return {}
    try:
        return checked(read_dictionary(path), kind, phones, replace(Limits(), pronunciations=MAX_ENTRIES))
    except InvalidPronunciation as error:
        raise ConfigError(f"{path}: {error.message}", field=FIELD, limit=error.limit) from None
