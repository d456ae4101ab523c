"""Dictionaries of pronunciations: what may stand in one, what is said instead, and files of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from stream_server.errors import ConfigError, InvalidPronunciation
from stream_server.limits import Limits
from stream_server.text.dictionary import checked, read_dictionary, server_dictionary
from stream_server.text.reader import make_reader
from stream_server.text.word import Word

PHONEMES = ("CH", "ONG2", "Q", "ING4")
PHONES = ("t", "m", "ax0", "ax1", "aa1", "ow0", "ow1")
LIMITS = replace(Limits(), pronunciations=3, pronunciation_chars=20)


def read(kind: str, phones: tuple[str, ...], entries: dict[str, str], text: str) -> list[Word]:
    reader = make_reader(kind, phones, pronunciations=checked(entries, kind, phones, Limits()))
    return reader.push(text) + reader.flush()


def test_text_and_phonemes_take_the_place_of_what_is_written() -> None:
    words = read("plain", PHONEMES, {" 重庆 ": "<|CH|><|ONG2|><|Q|><|ING4|>", "ＧＰＵ": "显卡"}, "在重庆有gpu。")
    assert [(word.source, word.spoken) for word in words] == [
        ("在", "在"), ("重庆", "<|CH|><|ONG2|><|Q|><|ING4|>"), ("有", "有"), ("gpu。", "显卡。"),
    ]  # fmt: skip


def test_a_word_is_said_in_its_phones_wherever_and_however_it_is_typed() -> None:
    words = read("words", PHONES, {"Tomato": "t ax0 m aa1 t ow0"}, 'No tomato, "TOMATO"! Tomatoes.')
    said = [(word.source, word.phones, word.pause) for word in words if word.phones]
    phones = ("t", "ax0", "m", "aa1", "t", "ow0")
    assert said == [("tomato,", phones, ","), ('"TOMATO"!', phones, "!")]


def test_a_vowel_written_without_its_digit_is_stressed_where_it_is_the_first() -> None:
    [word] = read("words", PHONES, {"x": "ow t ax"}, "x")
    assert word.phones == ("ow1", "t", "ax0")


@pytest.mark.parametrize(
    ("kind", "entries", "limit"),
    [
        ("plain", {"a": "<|CH|>", "b": "<|SECRET1|>"}, "CH ING4 ONG2 Q"),
        ("plain", {"a": "<|user|>"}, "CH ING4 ONG2 Q"),
        ("plain", {"a": "<|CH"}, "CH ING4 ONG2 Q"),
        ("words", {"a": "t zz1"}, "aa1 ax0 ax1 m ow0 ow1 t"),
        ("words", {"two words": "t"}, None),
        ("plain", {"": "b"}, 20),
        ("plain", {"  ": "b"}, 20),
        ("plain", {"a": " "}, 20),
        ("plain", {"a" * 21: "b"}, 20),
        ("plain", {"a": "b" * 21}, 20),
        ("plain", {"-a": "b"}, None),
        ("plain", {"a": "b", "c": "d", "e": "f", "g": "h"}, 3),
    ],
)
def test_what_may_not_be_is_refused(kind: str, entries: dict[str, str], limit: object) -> None:
    phones = {"plain": PHONEMES, "words": PHONES}[kind]
    with pytest.raises(InvalidPronunciation) as refused:
        checked(entries, kind, phones, LIMITS)
    assert (refused.value.field, refused.value.limit) == ("pronunciations", limit)
    assert "SECRET" not in refused.value.message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"重庆": "<|CH|>", "GPU": "显卡"}'),
        ("a.toml", '"重庆" = "<|CH|>"\nGPU = "显卡"\n'),
        ("a.jsonl", '{"重庆": "<|CH|>"}\n\n{"origin": "GPU", "new": "显卡"}\n'),
    ],
)
def test_a_file_is_a_table_in_any_of_three_forms(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_dictionary(tmp_path / name) == {"重庆": "<|CH|>", "GPU": "显卡"}
    assert server_dictionary(tmp_path / name, "plain", PHONEMES) == {"重庆": "<|CH|>", "gpu": "显卡"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[1]"),
        ("a.json", '{"a": 1}'),
        ("a.json", "{"),
        ("a.toml", "a = 1"),
        ("a.jsonl", '"a"'),
        ("a.json", '{"a": "<|NO1|>"}'),
        ("a.json", "\udcff"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError) as refused:
        server_dictionary(tmp_path / name, "plain", PHONEMES)
    assert name in refused.value.message and refused.value.field == "pronunciations"


def test_a_file_that_is_not_there_is_named_and_none_is_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        server_dictionary(tmp_path / "no.json", "plain", PHONEMES)
    assert "no.json" in refused.value.message
    assert server_dictionary(None, "plain", PHONEMES) == {}
