"""Many texts into files, without a server: a JSONL of items in, sound, a manifest and a summary out.

Items run side by side through one engine.  One that is wrong is named and stops nobody; one that is finished is in the
manifest, and a run that was cut off takes up behind it.  A file appears whole or not at all.

An item is one JSON object a line.  Fields by GLM-TTS's names, by those of articles about it, or by plainer ones:

    uttid, output_name, id                  the file's name
    syn_text, input_text, text              what to say
    prompt_speech, prompt_audio, reference  a recording to speak like, where the model can; in the place of `voice`
    prompt_text, reference_text             what is said in it
    voice, speed, seed, sample_rate, temperature, top_k, use_cache, carry_over,
    pronunciations                          as in `start` of the native protocol

Other columns that GLM-TTS's own files have (`SILENT`) are passed over, as it does; any other field is an error.
"""

import json
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import Field, ValidationError

from stream_server.audio.encoders import make_encoder
from stream_server.audio.format import AudioFormat
from stream_server.carried import Carried
from stream_server.engine.core import EngineCore
from stream_server.engine.messages import AddSequence, Controls, Finished, Tick
from stream_server.errors import ConfigError, InvalidSetting, SequenceFailed, StreamServerError, TextTooLong
from stream_server.events import Settings
from stream_server.limits import Limits
from stream_server.offline import NO_LIMIT, read_words, sentences
from stream_server.protocols.schema import Manner, check_settings, printable, refusal
from stream_server.session import controls_of
from stream_server.text.dictionary import checked
from stream_server.text.word import Word
from stream_server.voices.add import read_file

MANIFEST, SUMMARY = "manifest.jsonl", "summary.json"
MAX_LINE = 1 << 20  # characters
MAX_TEXT = 100_000  # characters of one item
PLACED = ("voice", "seed", "sample_rate")  # of the parameters, what a line tells by itself
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
ALIASES = {
    "id": ("uttid", "output_name", "id"),
    "text": ("syn_text", "input_text", "text"),
    "reference": ("prompt_speech", "prompt_audio", "reference"),
    "reference_text": ("prompt_text", "reference_text"),
}
SILENT = ("prompt_speech_token", "prompt_speech_feat", "embedding", "emotion", "syn_text_tn", "syn_text_phoneme")

USUAL = Settings(seed=0)  # of items that tell nothing else


class Cloning(Protocol):
    """Makes the model speak like a recording: → a voice's name, good until as many others were asked for."""

    def __call__(self, recording: Path, text: str) -> str: ...


class Line(Manner):
    """An item as it is written, its aliases resolved."""

    id: str
    text: Annotated[str, Field(max_length=MAX_TEXT)]
    reference: str | None = None
    reference_text: str = ""


@dataclass(frozen=True)
class Item:
    id: str
    text: str
    settings: Settings
    reference: str | None = None
    reference_text: str = ""


@dataclass
class Summary:
    done: int = 0
    skipped: int = 0  # in the manifest already
    broken: dict[str, str] = field(default_factory=dict)  # item or line → why
    audio_s: float = 0.0
    wall_s: float = 0.0


@dataclass
class Running:
    """An item on its way: its sentences one after the other, its sound kept until it is whole."""

    item: Item
    controls: Controls
    left: deque[tuple[Word, ...]]
    normalised: str  # all of its text as it is read
    carried: Carried
    speaking: tuple[Word, ...] = ()
    pcm: list[np.ndarray] = field(default_factory=list)
    tokens: int = 0
    truncated: bool = False


class Batch:
    def __init__(
        self,
        core: EngineCore,
        folder: Path,
        clone: Cloning | None = None,
        told: Callable[[str], None] = lambda id: None,
        pronunciations: Mapping[str, str] | None = None,
    ) -> None:
        """told: called with every item that is done or broken.

        pronunciations: for all items, as `dictionary.checked` gives them; an item's own go before them.
        """
        self.core, self.folder, self.clone, self.told = core, folder, clone, told
        self.pronunciations = pronunciations or {}
        self.summary = Summary()
        self.running: dict[int, Running] = {}  # by sequence
        self.ids = count(1)
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, path: Path, usual: Settings = USUAL) -> Summary:
        """All items of a file, spoken as is usual where they tell nothing else.

        Raises `ConfigError` where there is no such file.
        """
        began = self.core.clock()
        there = set(self.finished())
        self.mend()
        items = self.waiting(path, usual, there)
        while self.fill(items) or self.running:
            tick = self.core.step() or Tick()
            for frame in tick.frames:
                self.running[frame.sequence_id].pcm.append(frame.pcm)
            for finished in tick.finished:
                self.take(finished)
        self.summary.wall_s = self.core.clock() - began
        write(self.folder / SUMMARY, json.dumps(asdict(self.summary), indent=1, ensure_ascii=False).encode())
        return self.summary

    def waiting(self, path: Path, usual: Settings, finished: set[str]) -> Iterator[Item]:
        """Items that are to be spoken; the others are counted."""
        seen: set[str] = set()
        for number, line in enumerate(lines(path), 1):
            try:
                item = read_item(line, usual)
                if item.id in seen:
                    raise InvalidSetting("id: another item has it too", field="id")
            except StreamServerError as error:
                self.fail(f"line {number}", error)
                continue
            seen.add(item.id)
            if item.id in finished:
                self.summary.skipped += 1
            else:
                yield item

    def fill(self, items: Iterator[Item]) -> bool:
        """As many as there are slots for; whether one was begun."""
        begun = False
        while len(self.running) < self.core.scheduler.num_slots and (item := next(items, None)) is not None:
            try:
                self.begin(item)
                begun = True
            except Exception as error:  # whatever is wrong with one item, the others are spoken
                self.fail(item.id, error)
        return begun

    def begin(self, item: Item) -> None:
        spec, settings = self.core.spec, item.settings
        cloned = item.reference is not None
        check_settings(replace(settings, voice=None) if cloned else settings, spec)
        own = checked(settings.pronunciations, spec.reader, spec.phones, Limits())
        parts = deque(sentences(read_words(self.core, item.text, {**self.pronunciations, **own})))
        if not parts:
            raise InvalidSetting("text: there is nothing to say in it", field="text")
        normalised = " ".join(map(self.core.runner.model.reading, parts))
        if cloned:
            settings = replace(settings, voice=self.cloned(item))
        controls = controls_of(settings, spec)
        self.go_on(Running(item, controls, parts, normalised, Carried(spec.carry_tokens)))

    def cloned(self, item: Item) -> str:
        """The voice of its recording."""
        if self.clone is None:
            raise InvalidSetting("this model has voices of its own alone", field="reference")
        return self.clone(Path(item.reference or ""), item.reference_text)

    def go_on(self, running: Running) -> None:
        id = next(self.ids)
        self.running[id] = running
        running.speaking, past = running.left.popleft(), running.carried.past
        self.core.put(AddSequence(id, running.speaking, True, running.controls, NO_LIMIT, past=past))

    def take(self, finished: Finished) -> None:
        """A sentence is over: the item's next one, or the item, or neither."""
        running = self.running.pop(finished.sequence_id)
        running.tokens += finished.stats.tokens
        running.carried.add(running.speaking, finished.tokens)
        running.truncated |= finished.reason == "truncated"
        if finished.reason not in ("done", "truncated"):
            self.fail(running.item.id, SequenceFailed(finished.message or finished.reason))
        elif running.left:
            self.go_on(running)
        else:
            self.keep(running)

    def keep(self, running: Running) -> None:
        item, controls = running.item, running.controls
        pcm = np.concatenate(running.pcm) if running.pcm else np.zeros(0, np.float32)
        encoder = make_encoder(AudioFormat("wav"), controls.sample_rate)
        name = f"{item.id}.wav"
        write(self.folder / name, sized(b"".join(c.data for c in (*encoder.encode(pcm), *encoder.finish()))))
        line = {
            "id": item.id,
            "text": item.text,
            "normalised": running.normalised,
            "reference": item.reference,
            "reference_text": item.reference_text,
            "voice": controls.voice if item.reference is None else None,
            "seed": controls.seed,
            "sample_rate": controls.sample_rate,
            "parameters": {name: value for name, value in asdict(controls).items() if name not in PLACED},
            "pronunciations": item.settings.pronunciations,
            "file": name,
            "tokens": running.tokens,
            "truncated": running.truncated,
            "audio_s": round(len(pcm) / controls.sample_rate, 4),
            "model": self.core.spec.name,
        }
        with (self.folder / MANIFEST).open("a", encoding="utf-8") as manifest:
            manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
            manifest.flush()
            os.fsync(manifest.fileno())
        self.summary.done += 1
        self.summary.audio_s += len(pcm) / controls.sample_rate
        self.told(item.id)

    def fail(self, name: str, error: Exception) -> None:
        """Named, and nobody else is disturbed."""
        self.summary.broken[name] = described(error) if isinstance(error, StreamServerError) else type(error).__name__
        self.told(name)

    def mend(self) -> None:
        """A manifest that was cut off in mid-line goes on with a new one."""
        path = self.folder / MANIFEST
        if path.exists() and path.stat().st_size:
            with path.open("rb+") as manifest:
                manifest.seek(-1, os.SEEK_END)
                if manifest.read(1) != b"\n":
                    manifest.write(b"\n")

    def finished(self) -> Iterator[str]:
        """Items of an earlier run whose sound is there; a last line that was cut off counts for nothing."""
        path = self.folder / MANIFEST
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if (self.folder / told["file"]).exists():
                yield told["id"]


def lines(path: Path) -> Iterator[str]:
    """Those that are not empty."""
    if not path.is_file():
        raise ConfigError(f"no such file: {path}", field="tasks")
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from (line for line in file if line.strip())


def read_item(line: str, usual: Settings = USUAL) -> Item:
    """Raises a `ClientError` that names the field."""
    if len(line) > MAX_LINE:
        raise TextTooLong("the line is too long", field="line", limit=MAX_LINE)
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        raise InvalidSetting("not JSON", field="line") from None
    if not isinstance(told, dict):
        raise InvalidSetting("not a JSON object", field="line")
    check_fields(told)
    for name, aliases in ALIASES.items():
        told[name] = next((told[alias] for alias in aliases if told.get(alias) is not None), None)
    if type(told["id"]) is int:
        told["id"] = str(told["id"])
    try:
        found = Line(**{name: told[name] for name in Line.model_fields if told.get(name) is not None})
    except ValidationError as error:
        raise refusal(error) from None
    asked = found.model_dump(exclude_unset=True)
    check_texts(asked)
    if not NAME.fullmatch(found.id):
        raise InvalidSetting("id: letters, digits, '.', '_' and '-' alone", field="id", limit=128)
    if found.reference is not None and found.voice is not None:
        raise InvalidSetting("voice: the reference is the voice", field="voice", limit="null")
    settings = replace(usual, **{name: value for name, value in asked.items() if name in Manner.model_fields})
    return Item(found.id, found.text, settings, found.reference, found.reference_text)


def check_fields(told: Iterable[str]) -> None:
    """What is misspelt would be missed in the sound alone."""
    fields = {*Line.model_fields, *chain(*ALIASES.values())}
    surplus = next((name for name in told if name not in fields and name not in SILENT), None)
    if surplus is not None:
        near = get_close_matches(surplus.lower(), sorted(fields), 1)
        meant = f", {near[0]} perhaps" if near else ""
        field = printable(surplus)
        raise InvalidSetting(f"{field}: no such field{meant}", field=field)


def check_texts(asked: dict[str, Any]) -> None:
    """JSON can tell of halves of characters, which no file can hold."""
    for name, value in asked.items():
        if any("\ud800" <= character <= "\udfff" for character in json.dumps(value, ensure_ascii=False)):
            raise InvalidSetting("half a surrogate pair is no character", field=name)


def described(error: StreamServerError) -> str:
    """With its field and its limit, each once."""
    field = "" if error.field is None or error.message.startswith(error.field) else f"{error.field}: "
    limit = "" if error.limit is None else f" ({error.limit})"
    return f"{field}{error.message}{limit}"


def sized(wav: bytes) -> bytes:
    """A stream's header, told how long it was after all."""
    length = len(wav) - 44
    return wav[:4] + (length + 36).to_bytes(4, "little") + wav[8:40] + length.to_bytes(4, "little") + wav[44:]


def write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def clone_once(make: Callable[[bytes, str], str], most: int = Limits.reference_bytes) -> Cloning:
    """Each recording is read once, however many items speak like it; `most` bytes of a file."""
    made: dict[tuple[str, str], str] = {}

    def clone(recording: Path, text: str) -> str:
        key = (str(recording.resolve()), text)
        if key not in made:
            if not recording.is_file():
                raise InvalidSetting(f"prompt_speech: no such file: {recording}", field="reference")
            made[key] = make(read_file(recording, most), text)
        return made[key]

    return clone
