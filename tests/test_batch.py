"""Files of texts into folders of sound: every good item once, the broken ones named, a cut-off run taken up."""

import json
import wave
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_server.batch import Batch, clone_once, read_item
from stream_server.cli import app
from stream_server.engine.core import EngineCore
from stream_server.errors import ClientError, InvalidSetting
from stream_server.events import Settings
from stream_server.loading import make_quiet_core
from tests.fakes import SAMPLES_PER_TOKEN, TOKENS_PER_WORD, FakeModel

WORD = SAMPLES_PER_TOKEN * TOKENS_PER_WORD
ITEMS = 200


class Cut(Exception):
    """The process was killed."""


def tasks(path: Path, *items: dict[str, Any] | str) -> Path:
    path.write_text("\n".join(item if isinstance(item, str) else json.dumps(item) for item in items) + "\n")
    return path


def many(path: Path) -> Path:
    """ITEMS good ones by both spellings, three broken ones among them."""
    items: list[dict[str, Any] | str] = []
    for number in range(ITEMS):
        names = ("uttid", "syn_text") if number % 2 else ("id", "text")
        items.append(
            {names[0]: f"item-{number}", names[1]: "One two. Three." if number % 3 else "One.", "seed": number}
        )
    items.insert(10, "{no JSON")
    items.insert(50, {"uttid": "../escape", "syn_text": "One."})
    items.insert(120, {"uttid": "no-voice", "syn_text": "One.", "voice": "nobody"})
    return tasks(path, *items)


def seconds(folder: Path) -> dict[str, int]:
    """Samples by file."""
    found = {}
    for path in folder.glob("*.wav"):
        with wave.open(str(path)) as file:
            found[path.stem] = file.getnframes()
    return found


def test_every_good_item_once_and_the_broken_ones_named(tmp_path: Path) -> None:
    summary = Batch(EngineCore(FakeModel(), 4), tmp_path / "out").run(many(tmp_path / "tasks.jsonl"))
    assert (summary.done, summary.skipped) == (ITEMS, 0)
    assert set(summary.broken) == {"line 11", "line 51", "no-voice"}
    expected = {f"item-{n}": WORD * (3 if n % 3 else 1) for n in range(ITEMS)}
    assert seconds(tmp_path / "out") == expected
    manifest = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert sorted(line["id"] for line in manifest) == sorted(expected)
    assert all(line["seed"] == int(line["id"].split("-")[1]) and line["text"].startswith("One") for line in manifest)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["done"] == ITEMS


def test_a_run_that_was_killed_is_taken_up(tmp_path: Path) -> None:
    path, out = many(tmp_path / "tasks.jsonl"), tmp_path / "out"
    told: list[str] = []

    def until_seventy(id: str) -> None:
        told.append(id)
        if len(told) == 70:
            raise Cut

    with pytest.raises(Cut):
        Batch(EngineCore(FakeModel(), 4), out, told=until_seventy).run(path)
    with (out / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"id": "item-')  # it was writing when it was killed
        manifest.write("\n")
    before = (out / "item-0.wav").stat().st_mtime_ns
    summary = Batch(EngineCore(FakeModel(), 4), out).run(path)
    assert summary.done + summary.skipped == ITEMS and summary.skipped > 50
    assert (out / "item-0.wav").stat().st_mtime_ns == before
    whole = [line for line in (out / "manifest.jsonl").read_text().splitlines() if line.endswith("}")]
    ids = [json.loads(line)["id"] for line in whole]
    assert len(ids) == len(set(ids)) == ITEMS
    assert not list(out.glob(".*partial"))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("[]", "line"),
        ("{", "line"),
        ('{"text": "x"}', "id"),
        ('{"id": "a"}', "text"),
        ('{"id": "a/b", "text": "x"}', "id"),
        ('{"id": "a", "text": ["x"]}', "text"),
        ('{"id": "a", "text": "x", "seed": "1"}', "seed"),
        ('{"id": "a", "text": "x", "seed": true}', "seed"),
        ('{"id": "a", "text": "x", "carry_over": 1}', "carry_over"),
        ('{"id": "a", "text": "x", "speed": 9}', "speed"),
        ('{"id": "a", "text": "x", "temperature": NaN}', "temperature"),
        ('{"id": "a", "text": "x", "top_k": 0}', "top_k"),
        ('{"id": "a", "text": "x", "pronunciations": {"x": 1}}', "pronunciations"),
        ('{"id": "a", "text": "x", "pronunciations": {"x": "\\ud83d"}}', "pronunciations"),
        ('{"id": "a", "text": "x", "sed": 1}', "sed"),
        ('{"id": "a", "text": "x", "voice": "two", "prompt_speech": "a.wav", "prompt_text": "A."}', "voice"),
        ('{"id": "a", "text": "x", "\\ud83d": 1}', "(unnamed)"),
        ('{"id": "a", "text": "' + "x" * 100_001 + '"}', "text"),
    ],
)
def test_what_is_wrong_with_an_item_is_named(line: str, field: str) -> None:
    with pytest.raises(ClientError) as refused:
        read_item(line)
    assert refused.value.field == field


def test_all_spellings_are_one() -> None:
    usual = Settings(seed=3)
    plain = read_item('{"id": 7, "text": "Hi.", "reference": "a.wav", "reference_text": "A."}', usual)
    assert plain == read_item(
        '{"uttid": "7", "syn_text": "Hi.", "prompt_speech": "a.wav", "prompt_text": "A.", "emotion": 0}', usual
    )
    assert plain == read_item(
        '{"output_name": "7", "input_text": "Hi.", "prompt_audio": "a.wav", "prompt_text": "A."}', usual
    )
    assert (plain.id, plain.settings.seed) == ("7", 3)


def test_a_misspelt_field_costs_its_item_alone_and_the_nearest_is_named(tmp_path: Path) -> None:
    items = [
        {"uttid": "good", "syn_text": "One.", "embedding": "embedding/1.npy", "syn_text_tn": ["one."]},
        {"uttid": "quick", "syn_text": "One.", "speeed": 1.5},
        {"uttid": "on", "syn_text": "One.", "Carry-over": True},
        {"uttid": "what", "syn_text": "One.", "zzz": None},
    ]
    summary = Batch(EngineCore(FakeModel(), 2), tmp_path / "out").run(tasks(tmp_path / "t.jsonl", *items))
    assert (summary.done, seconds(tmp_path / "out").keys()) == (1, {"good"})
    assert summary.broken == {
        "line 2": "speeed: no such field, speed perhaps",
        "line 3": "Carry-over: no such field, carry_over perhaps",
        "line 4": "zzz: no such field",
    }


def test_a_recording_is_read_once_and_a_bad_one_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "bad.wav").write_bytes(b"noise")
    read: list[bytes] = []

    def make(data: bytes, text: str) -> str:
        read.append(data)
        if data == b"noise":
            raise InvalidSetting("audio: not a recording that can be read", field="audio")
        return "two"

    items = [
        {"uttid": f"{n}", "syn_text": "One.", "prompt_speech": str(tmp_path / name), "prompt_text": "A."}
        for n, name in enumerate(("a.wav", "a.wav", "bad.wav", "none.wav", "a.wav"))
    ]
    batch = Batch(EngineCore(FakeModel(), 2), tmp_path / "out", clone_once(make))
    summary = batch.run(tasks(tmp_path / "tasks.jsonl", *items))
    assert summary.done == 3 and set(summary.broken) == {"2", "3"}
    assert read.count(b"sound") == 1
    alone = Batch(EngineCore(FakeModel(), 2), tmp_path / "alone").run(tmp_path / "tasks.jsonl")
    assert alone.done == 0 and "voices of its own" in alone.broken["0"]


def test_from_the_command_line(tmp_path: Path) -> None:
    path = tasks(tmp_path / "t.jsonl", {"id": "a", "text": "Hello there.", "voice": "slt"}, {"id": "b"})
    result = CliRunner().invoke(app, ["batch", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0 and "1 spoken" in result.output and "line 2" in result.output
    assert seconds(tmp_path / "out")["a"] > 10_000
    missing = CliRunner().invoke(app, ["batch", str(tmp_path / "none.jsonl")])
    assert missing.exit_code == 2 and "no such file" in missing.output


def test_an_item_is_spoken_on_from_itself_where_the_model_can(tmp_path: Path) -> None:
    path = tasks(
        tmp_path / "tasks.jsonl",
        {"id": "on", "text": "One two. Three.", "carry_over": True},
        {"id": "off", "text": "One two. Three."},
    )
    summary = Batch(EngineCore(FakeModel(False, carry_tokens=100), 2), tmp_path / "able").run(path)
    assert not summary.broken
    sounds = [(tmp_path / "able" / f"{name}.wav").read_bytes() for name in ("on", "off")]
    assert len(sounds[0]) == len(sounds[1]) and sounds[0] != sounds[1]
    summary = Batch(EngineCore(FakeModel(False), 2), tmp_path / "unable").run(path)
    assert (list(summary.broken), summary.done) == (["on"], 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": 1 << 63},
        {"seed": -1},
        {"text": "One \ud83d two."},
        {"voice": "\udc00"},
        {"sample_rate": 1},
        {"reference": "a\0b"},
        "[" * 100_000,
    ],
    ids=str,
)
def test_one_bad_item_stops_nobody(wrong: dict[str, Any] | str, tmp_path: Path) -> None:
    good = [{"id": name, "text": "One two."} for name in ("a", "b")]
    bad = wrong if isinstance(wrong, str) else {"id": "bad", "text": "One."} | wrong
    path = tasks(tmp_path / "tasks.jsonl", good[0], bad, good[1])
    summary = Batch(EngineCore(FakeModel(), 4), tmp_path / "out", clone_once(lambda data, text: "two")).run(path)
    assert summary.done == 2 and len(summary.broken) == 1
    assert seconds(tmp_path / "out").keys() == {"a", "b"}


def test_a_manifest_cut_off_in_mid_line_goes_on_with_a_new_one(tmp_path: Path) -> None:
    path, out = tasks(tmp_path / "t.jsonl", *({"id": f"{n}", "text": "One."} for n in range(3))), tmp_path / "out"
    Batch(EngineCore(FakeModel(), 1), out).run(path)
    whole = (out / "manifest.jsonl").read_bytes()
    (out / "manifest.jsonl").write_bytes(whole[:-20])
    summary = Batch(EngineCore(FakeModel(), 1), out).run(path)
    assert (summary.done, summary.skipped) == (1, 2)
    ids = []
    for line in (out / "manifest.jsonl").read_text().splitlines():
        ids += [json.loads(line)["id"]] if line.endswith("}") else []
    assert sorted(ids) == ["0", "1", "2"]
    assert Batch(EngineCore(FakeModel(), 1), out).run(path).skipped == 3


def test_a_line_keeps_what_an_item_was_spoken_with(tmp_path: Path) -> None:
    item = {"id": "a", "text": "It costs $5.", "seed": 7, "reference": __file__, "reference_text": "A."}
    batch = Batch(EngineCore(FakeModel(), 1), tmp_path / "out", clone_once(lambda data, text: "two"))
    batch.run(tasks(tmp_path / "t.jsonl", item))
    line = json.loads((tmp_path / "out" / "manifest.jsonl").read_text())
    assert line["text"] == "It costs $5." and line["normalised"] != line["text"] and "five" in line["normalised"]
    assert (line["seed"], line["reference"], line["reference_text"]) == (7, __file__, "A.")
    own = dict.fromkeys(("temperature", "top_k"))  # the model's
    assert line["parameters"] == {"speed": 1.0, **own, "use_cache": True, "carry_over": False}
    assert line["audio_s"] > 0 and (tmp_path / "out" / line["file"]).exists()


def test_an_item_is_spoken_as_it_asks_and_one_that_asks_too_much_is_told_the_bound(tmp_path: Path) -> None:
    item = {"id": "a", "text": "One two.", "speed": 1.5, "temperature": 0.5, "top_k": 7, "use_cache": False}
    wrong = [
        {"id": "fast", "text": "One.", "speed": 3.0},
        {"id": "rate", "text": "One.", "sample_rate": 1},
        {"id": "phone", "text": "One.", "pronunciations": {"one": "zz"}},
        {"id": "both", "text": "One.", "voice": "two", "reference": "a.wav", "reference_text": "A."},
    ]
    summary = Batch(EngineCore(FakeModel(), 2), tmp_path / "out").run(tasks(tmp_path / "t.jsonl", item, *wrong))
    (line,) = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    asked = {name: item[name] for name in ("speed", "temperature", "top_k", "use_cache")}
    assert json.loads(line)["parameters"] == {**asked, "carry_over": False}
    assert [word in summary.broken["line 2"] for word in ("speed", "2.0")] == [True, True]
    assert summary.broken["line 5"] == "voice: the reference is the voice (null)"
    assert "sample_rate: " in summary.broken["rate"] and "24000" in summary.broken["rate"]
    assert "pronunciations: " in summary.broken["phone"] and "aa1" in summary.broken["phone"]


def test_an_item_s_own_pronunciations_go_before_those_for_all(tmp_path: Path) -> None:
    own = {"tomato": "t ax0 m aa1 t ow0"}
    path = tasks(
        tmp_path / "t.jsonl",
        {"id": "common", "text": "Tomato."},
        {"id": "own", "text": "Tomato.", "pronunciations": own},
    )
    core = make_quiet_core("lark")
    for folder, common in (("plain", {}), ("all", {"tomato": "k ae1 t"})):
        assert Batch(core, tmp_path / folder, pronunciations=common).run(path).done == 2
    lines = {each["id"]: each for each in map(json.loads, (tmp_path / "all/manifest.jsonl").read_text().splitlines())}
    assert lines["own"]["pronunciations"] == own and lines["common"]["pronunciations"] == {}
    sound = {
        (folder, id): (tmp_path / folder / f"{id}.wav").read_bytes() for folder in ("plain", "all") for id in lines
    }
    assert sound["plain", "own"] == sound["all", "own"]
    assert sound["plain", "common"] != sound["all", "common"]
