"""Loading is strict, exact, and no file makes it run code or take more than it should."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.weights import Checkpoint, Table, dtype_of, load

WRITERS: dict[str, Callable[[dict, Path], object]] = {
    "x.safetensors": save_file,
    "bare.pt": torch.save,
    "nested.pt": lambda tensors, path: torch.save({"epoch": 3, "model": tensors, "rate": 0.1, "best": None}, path),
    "ordered.pt": lambda tensors, path: torch.save(OrderedDict(tensors), path),
    "parameters.pt": lambda tensors, path: torch.save(
        {n: torch.nn.Parameter(t, requires_grad=t.dtype.is_floating_point) for n, t in tensors.items()}, path
    ),
}
HUGE = 1 << 40


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"a.weight": torch.randn(3, 4), "a.bias": torch.randn(3), "b": torch.randn(2, 3, 5)}


def table(tensors: dict[str, torch.Tensor], **more: object) -> Table:
    return Table({name: tuple(tensor.shape) for name, tensor in tensors.items()}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("file", WRITERS)
def test_every_kind_of_file_gives_back_what_was_saved(file: str, tensors: dict, tmp_path: Path) -> None:
    WRITERS[file](tensors, tmp_path / file)
    found = load(tmp_path / file, table(tensors))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_module_s_state_and_views_of_larger_tensors_are_read(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Conv1d(3, 3, 2))
    base = torch.randn(10, 6)
    saved = module.state_dict() | {"turned": base.t(), "cut": base[2:5, 1:4], "scalar": torch.tensor(2.5)}
    torch.save(saved, tmp_path / "x.pt")
    found = load(tmp_path / "x.pt", table(saved))
    assert all(torch.equal(found[name], saved[name]) and found[name].is_contiguous() for name in saved)


@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("wanted", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("file", ["x.safetensors", "bare.pt"])
def test_numbers_are_held_as_asked(stored: torch.dtype, wanted: str, file: str, tmp_path: Path) -> None:
    x = {"x": torch.randn(7).to(stored)}
    WRITERS[file](x, tmp_path / file)
    dtype = dtype_of(wanted, "llm_dtype")
    assert torch.equal(load(tmp_path / file, table(x), dtype)["x"], x["x"].to(dtype))


def test_an_unknown_type_of_number_names_the_setting() -> None:
    with pytest.raises(ConfigError) as refused:
        dtype_of("int4", "llm_dtype")
    assert refused.value.field == "llm_dtype" and "bf16" in str(refused.value.limit)


def test_what_is_read_may_be_written_to_and_the_file_stays(tensors: dict, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    load(tmp_path / "x.safetensors", table(tensors))["b"].zero_()
    assert torch.equal(load(tmp_path / "x.safetensors", table(tensors))["b"], tensors["b"])


@pytest.mark.parametrize("file", ["x.safetensors", "bare.pt"])
def test_missing_surplus_and_misshapen_names_are_told(file: str, tensors: dict, tmp_path: Path) -> None:
    WRITERS[file](tensors, tmp_path / file)
    wanted = Table({"a.weight": (3, 5), "a.bias": (None,), "c": (1,)})
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / file, wanted)
    message = str(refused.value)
    assert refused.value.field == str(tmp_path / file)
    assert "missing: c" in message and "surplus: b" in message and "a.weight [3, 4] instead of [3, 5]" in message
    assert "a.bias" not in message


def test_of_many_names_ten_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    tensors = {f"t{i:03}": torch.zeros(1) for i in range(37)}
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=r"surplus: t000.* t009 and 27 more"):
        load(tmp_path / "x.safetensors", Table({}))
    with pytest.raises(ConfigError, match=r"missing: u000.* u009 and 27 more"):
        load(tmp_path / "x.safetensors", Table({f"u{i:03}": (1,) for i in range(37)}, skipped=("t",)))


def test_the_table_says_what_may_be_missing_and_what_is_not_read(tensors: dict, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "x.safetensors")
    shapes = {"a.weight": (3, None), "a.bias": (3,), "head": (9,)}
    found = load(tmp_path / "x.safetensors", Table(shapes, frozenset({"head"}), ("b",)))
    assert found.keys() == {"a.weight", "a.bias"}


def test_a_prefix_is_dropped_and_may_not_make_two_of_one(tensors: dict, tmp_path: Path) -> None:
    torch.save({f"llama.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "x.pt")
    assert load(tmp_path / "x.pt", table(tensors), prefix="llama.").keys() == tensors.keys()
    torch.save({"llama.b": tensors["b"], "b": tensors["b"]}, tmp_path / "y.pt")
    with pytest.raises(ConfigError, match=r"b is there with and without llama\."):
        Checkpoint(tmp_path / "y.pt", "llama.")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("file", ["x.safetensors", "bare.pt"])
def test_numbers_that_are_none_are_refused_by_the_tensor_s_name(
    bad: float, file: str, tensors: dict, tmp_path: Path
) -> None:
    tensors["b"][1, 2, 3] = bad
    WRITERS[file](tensors, tmp_path / file)
    with pytest.raises(ConfigError, match="b holds NaN or infinity"):
        load(tmp_path / file, table(tensors))


def test_numbers_too_large_for_what_they_are_to_be_held_in_are_refused(tmp_path: Path) -> None:
    x = {"x": torch.tensor([1.0, 1e6])}
    save_file(x, tmp_path / "x.safetensors")
    assert load(tmp_path / "x.safetensors", table(x), torch.bfloat16)
    with pytest.raises(ConfigError, match="x holds NaN or infinity, read as float16"):
        load(tmp_path / "x.safetensors", table(x), torch.float16)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    x = {"x": torch.arange(4)}
    torch.save(x, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="whole numbers: x"):
        load(tmp_path / "x.pt", table(x))


def test_what_lies_in_several_files_is_found_by_their_index(tensors: dict, tmp_path: Path) -> None:
    shards(tmp_path, tensors)
    found = load(tmp_path / "m.safetensors.index.json", table(tensors))
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        (None, "no weight_map"),
        ({"a.weight": 3}, "no weight_map"),
        ({"a.weight": "../1.safetensors"}, "no safetensors file beside it"),
        ({"a.weight": "/etc/passwd"}, "no safetensors file beside it"),
        ({"a.weight": "9.safetensors"}, "no such file"),
        ({"a.weight": "1.safetensors", "a.bias": "2.safetensors"}, "b lies in 2.safetensors"),
        ({n: f"{i}.safetensors" for n, i in [("a.weight", 1), ("a.bias", 2), ("b", 2), ("c", 2)]}, "c is not in 2"),
        ({"a.weight": "2.safetensors", "a.bias": "2.safetensors", "b": "2.safetensors"}, "a.weight is not in 2"),
    ],
)
def test_an_index_that_lies_is_refused(weight_map: object, said: str, tensors: dict, tmp_path: Path) -> None:
    shards(tmp_path, tensors)
    (tmp_path / "m.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(ConfigError, match=said):
        Checkpoint(tmp_path / "m.safetensors.index.json")


def shards(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    places = {"a.weight": "1.safetensors", "a.bias": "2.safetensors", "b": "2.safetensors"}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / "m.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def header(entries: object, data: int = 16, length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(data)


def entry(shape: object, begin: object = 0, end: object = 16, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HEADERS = {
    "nothing": b"",
    "a few bytes": b"abc",
    "a length beyond the file": header({"x": entry([4])}, length=HUGE),
    "a length beyond all": header({"x": entry([4])}, length=(1 << 64) - 1),
    "cut short": header({"x": entry([4])}, data=12),
    "something behind": header({"x": entry([4])}, data=20),
    "a shape beyond its bytes": header({"x": entry([HUGE, HUGE])}),
    "offsets beyond the file": header({"x": entry([HUGE], 0, 4 * HUGE)}),
    "offsets backwards": header({"x": entry([4], 16, 0)}),
    "negative offsets": header({"x": entry([4], -16, 0)}),
    "a negative shape": header({"x": entry([-2, -2])}),
    "a broken size": header({"x": entry([4.0])}),
    "truth as a size": header({"x": entry([True, 4])}),
    "many axes": header({"x": entry([1] * 100_000 + [4])}),
    "a gap": header({"x": entry([2], 8, 16)}),
    "overlap": header({"x": entry([4]), "y": entry([4])}),
    "an unknown type": header({"x": entry([4], dtype="F99")}),
    "no entry": header({"x": None}),
    "not JSON": header(b"{nonsense" + b" " * 100),
    "no object": header([1, 2]),
    "a name twice": header(b'{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"x":{}}'),
    "a deep nest": header(b"[" * 1_000_000),
    "no text": header(b"\xff\xfe" * 50),
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.usefixtures("bounded")
def test_a_hostile_safetensors_file_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(HEADERS[kind])
    with pytest.raises(ConfigError):
        load(tmp_path / "x.safetensors", Table({"x": (4,)}))


@pytest.mark.parametrize("file", ["x.safetensors", "bare.pt"])
def test_a_file_cut_anywhere_is_refused(file: str, tensors: dict, tmp_path: Path) -> None:
    WRITERS[file](tensors, tmp_path / file)
    saved = (tmp_path / file).read_bytes()
    for size in range(0, len(saved), max(1, len(saved) // 60)):
        (tmp_path / file).write_bytes(saved[:size])
        with pytest.raises(ConfigError):
            load(tmp_path / file, table(tensors))


class Call:
    """Pickles to a call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize(
    "call",
    [
        lambda mark: Call(os.mkdir, str(mark)),
        lambda mark: Call(eval, f"__import__('os').mkdir({str(mark)!r})"),
        lambda mark: Call(torch.zeros, 1 << 40),
        lambda mark: Call(bytearray, HUGE),
    ],
)
@pytest.mark.usefixtures("bounded")
def test_a_pickle_that_would_call_something_is_refused_and_nothing_is_called(
    call: Callable[[Path], Call], tmp_path: Path
) -> None:
    torch.save({"x": torch.zeros(4), "y": call(tmp_path / "made")}, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="would call"):
        load(tmp_path / "x.pt", Table({"x": (4,)}))
    assert not (tmp_path / "made").exists()


def program(*operations: bytes) -> bytes:
    return b"\x80\x02" + b"".join(operations) + b"."


def archive(path: Path, code: bytes, storage: bytes = bytes(16), how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", how) as file:
        file.writestr("x/data.pkl", code)
        file.writestr("x/data/0", storage)


def tensor(count: int, offset: int, shape: tuple, stride: tuple, storage: str = "FloatStorage") -> bytes:
    """A state dict of one tensor, x, as torch.save writes it."""

    class Persistent:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", getattr(torch, storage), "0", "cpu", count) if isinstance(value, Persistent) else None

    made = Call(torch._utils._rebuild_tensor_v2, Persistent(), offset, shape, stride, False, OrderedDict())
    written = io.BytesIO()
    Pickler(written, protocol=2).dump({"x": made})
    return written.getvalue()


def test_the_hostile_files_below_would_load_if_they_were_honest(tmp_path: Path) -> None:
    archive(tmp_path / "x.pt", tensor(4, 0, (4,), (1,)), struct.pack("<4f", 1, 2, 3, 4))
    assert load(tmp_path / "x.pt", Table({"x": (4,)}))["x"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "code",
    [
        tensor(HUGE, 0, (HUGE,), (1,)),
        tensor(4, 0, (HUGE,), (0,)),
        tensor(4, 0, (5,), (0,)),
        tensor(4, 1, (4,), (1,)),
        tensor(4, -1, (4,), (1,)),
        tensor(4, 0, (4,), (-1,)),
        tensor(4, 0, (4,), (HUGE,)),
        tensor(4, 0, (4,), ()),
        tensor(4, 0, (-4,), (1,)),
        tensor(4, 0, (2.0, 2), (2, 1)),
        tensor(4, 0, (True, 4), (4, 1)),
        tensor(4, 0, (4,), (1,), "DoubleStorage"),
        program(b"\x96", struct.pack("<Q", HUGE)),  # a bytearray of so many bytes
        program(b"}", b"r\xff\xff\xff\x7f"),  # memory at a far place
        program(b"}", b"X", struct.pack("<I", 1 << 30), b"short"),
        program(b"(" * 100_000),
        program(b"N" * 1_000_000),
        program(b")", *[b"q\x00h\x00h\x00\x86"] * 60, b"}", b"h\x00", b"N", b"s"),  # a key of 2⁶⁰ parts
        program(b"0"),
        program(b"s"),
        program(b"cos\nsystem\n", b"X\x02\x00\x00\x00ls", b"\x85R"),
        program(b"I12\n"),
        b"",
        b"nonsense",
    ],
)
@pytest.mark.usefixtures("bounded")
def test_a_hostile_pickle_is_refused(code: bytes, tmp_path: Path) -> None:
    archive(tmp_path / "x.pt", code)
    with pytest.raises(ConfigError):
        load(tmp_path / "x.pt", Table({"x": (4,)}))


@pytest.mark.usefixtures("bounded")
def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    archive(tmp_path / "x.pt", tensor(1 << 21, 0, (1 << 21,), (1,)), bytes(4 << 21), zipfile.ZIP_DEFLATED)
    with pytest.raises(ConfigError, match="compressed"):
        load(tmp_path / "x.pt", Table({"x": (1 << 21,)}))


@pytest.mark.usefixtures("bounded")
def test_many_large_tensors_of_one_stretch_are_refused(tmp_path: Path) -> None:
    x = torch.zeros(1000)
    torch.save({f"t{i}": x for i in range(1000)}, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="larger than the file"):
        Checkpoint(tmp_path / "x.pt")


@pytest.mark.usefixtures("bounded")
def test_an_archive_of_very_many_entries_is_refused(tmp_path: Path) -> None:
    one = b"PK\1\2" + bytes(42)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(one) * 100_000, 4, 0)
    (tmp_path / "x.pt").write_bytes(b"PK\3\4" + one * 100_000 + end)
    with pytest.raises(ConfigError):
        Checkpoint(tmp_path / "x.pt")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(4)], tmp_path / "list.pt")
    torch.save({"x": torch.zeros(4), "step": 3}, tmp_path / "mixed.pt")
    torch.save({"x": torch.zeros(4)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "folder.pt").mkdir()
    for name in ("list.pt", "mixed.pt", "old.pt", "folder.pt", "absent.pt"):
        with pytest.raises(ConfigError) as refused:
            Checkpoint(tmp_path / name)
        assert refused.value.field == str(tmp_path / name)
