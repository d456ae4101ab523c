"""Units and segments of text that a model reads itself; however it arrives, the same ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.text.plain import FOLLOWING, HELD, LONGEST, PlainReader
from stream_server.text.word import Word

MIXED = "你好，世界！Hello there, 今天3.5度。<|IANG3|>好吗？don't-stop… ok\n再见"
ALPHABET = "你好世界天气ab Z9.,，。！？\n'-<|A1>　"


def read(*pieces: str) -> list[Word]:
    reader = PlainReader()
    words = [word for piece in pieces for word in reader.push(piece)]
    return words + reader.flush()


def segments(words: list[Word]) -> list[str]:
    found, held = [], ""
    for word in words:
        held += word.spoken
        if word.ends_sentence:
            found.append(held)
            held = ""
    assert not held, "every segment has an end"
    return found


def test_units_are_characters_words_and_phonemes_with_what_stands_behind_them() -> None:
    spoken = [word.spoken for word in read(MIXED)]
    assert spoken == [
        *("你", "好，", "世", "界！", "Hello ", "there, ", "今", "天", "3.5", "度。", "<|IANG3|>", "好", "吗？"),
        *("don't-stop… ", "ok\n", "再", "见"),
    ]


def test_places_are_those_of_the_text() -> None:
    for word in read(MIXED):
        assert MIXED[word.start : word.end] == word.source == word.spoken.strip()


def test_the_first_segments_are_short() -> None:
    clause = "一二三四五六七八，"
    found = segments(read(clause * 12))
    assert [len(segment) for segment in found[:3]] == [9, 18, 36]
    assert "".join(found) == clause * 12


def test_a_number_s_point_ends_nothing_and_a_sentence_s_does() -> None:
    text = "The value of it is 3.14 and not more. The next one is another."
    assert segments(read(text)) == ["The value of it is 3.14 and not more. ", "The next one is another."]


def test_what_has_no_marks_ends_all_the_same() -> None:
    found = segments(read("字" * 500))
    assert max(map(len, found)) <= LONGEST and "".join(found) == "字" * 500
    assert max(len(word.spoken) for word in read("x" * 500 + "." * 500)) <= HELD + FOLLOWING


def test_a_flush_ends_a_segment_and_one_of_nothing_says_nothing() -> None:
    reader = PlainReader()
    assert reader.push("你好") == read("你好")[:1]
    [last] = reader.flush()
    assert last.ends_sentence and last.source == "好"
    assert reader.flush() == []
    assert reader.push("   ") == [] and reader.flush() == []


@settings(max_examples=150)
@given(st.text(ALPHABET, max_size=200), st.data())
def test_cut_anywhere_the_same_units(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
    assert read(*pieces) == read(text)


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_nothing_is_nothing(text: str) -> None:
    assert read(text) == []
