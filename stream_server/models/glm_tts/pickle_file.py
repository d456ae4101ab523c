"""The tensors of a file that `torch.save` wrote, without unpickling: its program is read as data and nothing is called.

Such a file is a zip archive of a pickle, which says how tensors lie in stretches of numbers, and of the stretches.
What a state dict needs of the pickle machine is done here on plain values; any other operation, and any name that it
would import, is refused.  Sizes are those of the archive, whatever the pickle declares.
"""

import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from stream_server.models.glm_tts.files import mapped, refusal, size_of
from stream_server.models.glm_tts.stored import Stored, checked

MAX_PROGRAM_BYTES = 1 << 20  # the release's largest has 60 kB
MAX_OPERATIONS = 100_000  # some 50 a tensor
MAX_DIRECTORY_BYTES = 1 << 20
LOCAL_HEADER = 30  # bytes before a zip entry's name
PROGRAM, BYTE_ORDER = "data.pkl", "byteorder"
NESTED = "model"  # where a training loop keeps its weights beside other things
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Refused(Exception):
    """Why a program is not run on."""


@dataclass(frozen=True)
class Global:
    name: str


@dataclass(frozen=True)
class Stretch:
    dtype: torch.dtype
    key: str


@dataclass(frozen=True)
class Strided:
    stretch: Stretch
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickle(path: Path) -> dict[str, Stored]:
    """By name, of a bare state dict or one under the key `model`."""
    archive = Archive(path)
    try:
        found = Program(archive.read(PROGRAM, MAX_PROGRAM_BYTES)).result()
    except Refused as error:
        raise refusal(path, str(error)) from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError):
        raise refusal(path, "its pickle is broken") from None
    if isinstance(found, dict) and isinstance(found.get(NESTED), dict):
        found = found[NESTED]
    if not isinstance(found, dict) or not all(isinstance(v, Strided) and type(k) is str for k, v in found.items()):
        raise refusal(path, "no state dict: something in it is not a tensor by a name")
    stored = {name: archive.stored(name, strided) for name, strided in found.items()}
    if sum(tensor.bytes for tensor in stored.values()) > 2 * size_of(path):  # tied weights may be there twice
        raise refusal(path, "its tensors are larger than the file")
    return stored


class Archive:
    """A zip archive's entries, where they lie in the file: none may be compressed."""

    def __init__(self, path: Path) -> None:
        self.path, self.memory = path, mapped(path)
        try:
            with path.open("rb") as file, zipfile.ZipFile(cast(BinaryIO, Sparing(file))) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError):
            raise refusal(
                path, "no archive of torch's, or a broken one (save it again with torch 1.6 or later)"
            ) from None
        folders = [entry.filename[: -len(PROGRAM)] for entry in entries if entry.filename.endswith("/" + PROGRAM)]
        if len(folders) != 1:
            raise refusal(path, "no archive of torch's: it holds no pickle, or several")
        self.folder = folders[0]
        self.entries = {entry.filename: entry for entry in entries}
        if self.folder + BYTE_ORDER in self.entries and self.read(BYTE_ORDER, 16) != b"little":
            raise refusal(path, "written on a machine of another byte order")

    def read(self, name: str, limit: int) -> bytes:
        begin, size = self.place(name)
        if size > limit:
            raise refusal(self.path, f"its {name} is too long", limit)
        return self.memory[begin : begin + size]

    def place(self, name: str) -> tuple[int, int]:
        """First byte and number of bytes."""
        entry = self.entries.get(self.folder + name)
        if entry is None or entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise refusal(self.path, "an entry is missing, compressed or encrypted")
        local = self.memory[entry.header_offset : entry.header_offset + LOCAL_HEADER]
        names = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        begin = entry.header_offset + LOCAL_HEADER + names
        if local[:4] != b"PK\3\4" or begin + entry.file_size > len(self.memory):
            raise refusal(self.path, "an entry lies beyond the end of the file")
        return begin, entry.file_size

    def stored(self, name: str, strided: Strided) -> Stored:
        begin, size = self.place("data/" + strided.stretch.key)
        dtype = strided.stretch.dtype
        tensor = Stored(
            self.path,
            self.memory,
            dtype,
            strided.shape,
            begin,
            size // dtype.itemsize,
            strided.offset,
            strided.stride,
        )
        return checked(tensor, name)


class Sparing:
    """A file of which nobody reads much at once: an archive's directory says how much there is of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        found = self.file.read(MAX_DIRECTORY_BYTES + 1 if size < 0 else min(size, MAX_DIRECTORY_BYTES + 1))
        if len(found) > MAX_DIRECTORY_BYTES:
            raise ValueError("a directory too long")
        return found


@dataclass
class Program:
    """A pickle that makes a state dict, carried out on plain values: what it would import is `Global`."""

    code: bytes
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def result(self) -> Any:
        for count, (operation, argument, _) in enumerate(pickletools.genops(BytesIO(self.code))):
            if count >= MAX_OPERATIONS:
                raise Refused("its pickle is too long")
            if operation.name == "STOP":
                break
            do = OPERATIONS.get(operation.name)
            if do is None:
                raise Refused(f"its pickle holds {operation.name}, which no weights need")
            do(self, argument)
        return self.stack.pop()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def above(self) -> list[Any]:
        """What lies above the latest mark, taken off."""
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def last(self, count: int) -> tuple[Any, ...]:
        if count > len(self.stack):
            raise IndexError
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values

    def put(self, place: int | None) -> None:
        self.memo[len(self.memo) if place is None else place] = self.stack[-1]

    def named(self, argument: str | None) -> None:
        module, name = self.last(2) if argument is None else argument.split(" ", 1)
        self.push(Global(f"{module}.{name}"))

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(values[::2], values[1::2]):
            if type(key) not in (str, int) or type(target) is not dict:  # hashing others may take for ever
                raise Refused("its pickle holds keys that are no names")
            target[key] = value

    def append(self, values: list[Any]) -> None:
        cast("list[Any]", self.stack[-1]).extend(values)

    def persistent(self) -> None:
        kind, storage, key, _, _ = self.stack.pop()
        name = storage.name.removeprefix("torch.")
        if kind != "storage" or name not in STORAGES or type(key) is not str:
            raise Refused("its pickle refers to something that is no stretch of numbers")
        self.push(Stretch(STORAGES[name], key))

    def call(self) -> None:
        function, arguments = self.last(2)
        make = CALLS.get(function.name)
        if make is None:
            raise Refused(f"its pickle would call {function.name[:80]!a}: weights need no such thing")
        self.push(make(arguments))


def strided(arguments: tuple[Any, ...]) -> Strided:
    stretch, offset, shape, stride = arguments[:4]
    if not (isinstance(stretch, Stretch) and isinstance(shape, tuple) and isinstance(stride, tuple)):
        raise TypeError
    return Strided(stretch, offset, shape, stride)


CALLS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": lambda _: {},
    "torch._utils._rebuild_tensor_v2": strided,
    "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
    "torch.Size": lambda arguments: arguments[0],
}
OPERATIONS: dict[str, Callable[[Program, Any], None]] = {
    "PROTO": lambda program, _: None,
    "FRAME": lambda program, _: None,
    "MARK": lambda program, _: program.marks.append(len(program.stack)),
    "EMPTY_DICT": lambda program, _: program.push({}),
    "EMPTY_LIST": lambda program, _: program.push([]),
    "EMPTY_TUPLE": lambda program, _: program.push(()),
    "TUPLE": lambda program, _: program.push(tuple(program.above())),
    "TUPLE1": lambda program, _: program.push(program.last(1)),
    "TUPLE2": lambda program, _: program.push(program.last(2)),
    "TUPLE3": lambda program, _: program.push(program.last(3)),
    "NONE": lambda program, _: program.push(None),
    "NEWTRUE": lambda program, _: program.push(True),
    "NEWFALSE": lambda program, _: program.push(False),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"), Program.push
    ),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), Program.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda program, place: program.push(program.memo[place])),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), Program.named),
    "SETITEM": lambda program, _: program.set_items(list(program.last(2))),
    "SETITEMS": lambda program, _: program.set_items(program.above()),
    "APPEND": lambda program, _: program.append(list(program.last(1))),
    "APPENDS": lambda program, _: program.append(program.above()),
    "BUILD": lambda program, _: cast(None, program.stack.pop()),  # a state dict's versions
    "BINPERSID": lambda program, _: program.persistent(),
    "REDUCE": lambda program, _: program.call(),
}
