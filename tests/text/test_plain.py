"""Units and segments of text that a model reads itself; however it arrives, the same ones."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.errors import InvalidPronunciation
from stream_server.text.plain import FOLLOWING, HELD, LONGEST, PlainReader, weigh
from stream_server.text.word import Word

MIXED = "你好，世界！Hello there, 今天3.5度。<|J|><|IANG3|>好吗？don't-stop… ok\n再见"
#: Whatever the rules look ahead for, and what might confuse them.
BITS = [
    "你", "好", "世界", "年", "月", "日", "个", "元", "度", "第", "万", "亿", "码", "号是", "〇",
    "、", "，", "。", "！", "？", "：", "…",
    "——",
    "2", "12", "2026", "3.5", "1,234", "007", "13800138000", "138", "0013", "8000", "010-12345678", "12:30", "14：30",
    "-3", "3-5", "~5", "3/4", "30%", "5‰", "¥320", "$5", "US$", "€", "℃", "°C", "km", "km/h", "ms", "m²", "２", "％",
    "2026-11-23", "2026/1", "am", "p.m.", "e", "10^8", "*", "x", "=", "+", "-", "–", "/", "^", "&", "@", "#", "_", "|",
    "Hello", "the", "May", "Dr.", "U.S.", "e.g.", "GPT-4", "MP3", "C++", "don't", "a@b.com", "www.a.com/b", "α", "é",
    "<|A1|>", "<|ZH|>", "<|", "|>", "<", ">", "<b>",
    "](", "](http://a.b)", "[", "]", "[[", "😀", "**", "~~", "`", "(", ")",
    "“", "”", '"', "'", ".", ",", "?", "!", ";", "...", "\u0301", "\ud800", "\U00020000", "カ", "①", "½",
    "x" * 70, "9" * 70,
]  # fmt: skip
SPACES = ["", "", "", " ", " ", "  ", "\n", "\t", "　", " " * 30]
written = st.lists(st.tuples(st.sampled_from(BITS), st.sampled_from(SPACES)), max_size=20).map(
    lambda pairs: "".join(bit + space for bit, space in pairs)
)
texts = written | st.text(max_size=60)
WHOLE = ["你", "好。", "3", "个", "-3℃", "word", "Dr.", "5 kg", "30%，", "😀", "**", "(b)", "2026-11-23", "。"]
DICTIONARY = {"你好": "<|N|><|I3|>好", "你好世界": "你们好", "gpt-4": "gpt四", "3": "叁", "hello there": "hi", "a": "b"}


def read(*pieces: str, dictionary: dict[str, str] | None = None) -> list[Word]:
    reader = PlainReader(pronunciations=dictionary)
    words = [word for piece in pieces for word in reader.push(piece)]
    return words + reader.flush()


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def segments(words: list[Word]) -> list[str]:
    found, held = [], ""
    for word in words:
        held += word.spoken
        if word.ends_sentence:
            found.append(held)
            held = ""
    assert not held, "every segment has an end"
    return found


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_units_are_characters_words_numbers_and_syllables_with_what_stands_behind_them() -> None:
    assert [word.source for word in read(MIXED)] == [
        *("你", "好，", "世", "界！", "Hello", "there,", "今", "天", "3.5", "度。", "<|J|><|IANG3|>", "好", "吗？"),
        *("don't-stop…", "ok", "再", "见"),
    ]
    assert [word.spoken for word in read("共3.5 kg，好")] == ["共", "三点五公斤，", "好"]


def test_places_are_those_of_the_text() -> None:
    for word in read(MIXED):
        assert MIXED[word.start : word.end] == word.source


def test_the_first_segments_are_short() -> None:
    clause = "一二三四五六七八，"
    found = segments(read(clause * 12))
    assert [len(segment) for segment in found[:3]] == [9, 18, 36]
    assert "".join(found) == clause * 12


def test_a_number_s_point_ends_nothing_and_a_sentence_s_does() -> None:
    found = segments(read("The value of it is 3.14 and not more. The next one is another."))
    assert found == ["The value of it is three point one four and not more. ", "The next one is another."]


def test_an_abbreviation_s_point_ends_no_segment() -> None:
    assert len(segments(read("We saw all of them with Dr. Smith at 3 p.m. on the hill"))) == 1


@pytest.mark.parametrize("unit", ["字", "word ", "polysyllabic ", "<|J|><|IANG3|>", "3天", "<|A1|>"])
def test_what_has_no_marks_ends_all_the_same(unit: str) -> None:
    words = read(unit * 2_000)
    assert "".join(word.source for word in words) == bare(unit * 2_000)
    found = segments(words)
    assert [weigh(each) <= longest for each, longest in zip(found, LONGEST)] == [True] * 3
    assert max(map(weigh, found)) <= LONGEST[-1] and weigh(found[-2]) > LONGEST[-1] - 2


def test_a_word_without_an_end_is_cut() -> None:
    words = read("x" * 500 + "." * 500)
    assert max(len(word.spoken) for word in words) <= HELD + FOLLOWING
    assert max(weigh(segment) for segment in segments(read("9" * 10_000))) <= 110


def test_a_segment_holds_no_more_than_its_longest_however_long_its_last_unit_is() -> None:
    number = "123456789012345"
    for segment in segments(read("字" * 25 + number + "字" * 40 + number)):
        assert weigh(segment) <= LONGEST[-1]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "。", "，。！？", "…", "😀", "** **", "- "])
def test_nothing_is_nothing(text: str) -> None:
    assert read(text) == []
    [word] = read(text, "好", text)
    assert bare(word.source) == bare(f"{text}好{text}")


def test_a_flush_ends_a_segment_and_one_of_nothing_says_nothing() -> None:
    reader = PlainReader()
    assert reader.push("你好") == read("你好")[:1]
    [last] = reader.flush()
    assert last.ends_sentence and last.source == "好"
    assert reader.flush() == []
    assert reader.push("   ") == [] and reader.flush() == []


def test_no_more_is_held_than_may_still_change() -> None:
    """A text without end does not gather; what leaves last is at most a run, a link or a name's width behind."""
    reader, left = PlainReader(), 0
    text = "字" * 50 + "word " * 20 + "9" * 100 + "。" * 100 + "<|" * 50 + "](" * 10 + "x" * 300
    for pushed, character in enumerate(text * 5, 1):
        left = max([left, *(word.end for word in reader.push(character))])
        assert pushed - left < 500
    assert len(vars(reader)["_text"]) < 500


@settings(max_examples=150, deadline=None)
@given(texts, st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([None, DICTIONARY]))
def test_cut_anywhere_the_same_units(text: str, places: list[int], dictionary: dict[str, str] | None) -> None:
    whole = read(text, dictionary=dictionary)
    assert read(*cut(text, places), dictionary=dictionary) == whole
    assert read(*text, dictionary=dictionary) == whole


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_the_law_holds_between_flushes(stretches: list[str], places: list[int]) -> None:
    whole, parted = PlainReader(), PlainReader()
    for stretch in stretches:
        expected = whole.push(stretch) + whole.flush()
        assert [word for piece in cut(stretch, places) for word in parted.push(piece)] + parted.flush() == expected


@settings(max_examples=150, deadline=None)
@given(texts)
def test_every_unit_has_its_place_and_every_segment_its_end(text: str) -> None:
    words = read(text)
    at = 0
    for word in words:
        assert at <= word.start <= word.end
        assert word.source == text[word.start : word.end] == word.source.strip()
        assert word.spoken or (word.pause and not word.source)
        at = word.end
    assert not words or words[-1].ends_sentence
    segments(words)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(WHOLE), max_size=20), st.sampled_from(["", " "]))
def test_the_sources_put_together_are_the_text(bits: list[str], between: str) -> None:
    text = "字" + between + between.join(bits)
    assert bare("".join(word.source for word in read(text))) == bare(text)


# Phonemes and the dictionary


def test_an_unknown_phoneme_is_refused_and_the_reader_lives_on() -> None:
    reader = PlainReader(frozenset({"J", "IANG3"}))
    with pytest.raises(InvalidPronunciation) as refused:
        reader.push("你<|J|><|IANG9|>吗吧")
    assert (refused.value.field, refused.value.limit) == ("text", "IANG3 J")
    assert [word.source for word in reader.push("") + reader.flush()] == ["你", "吗", "吧"]


def test_the_longest_entry_is_what_is_said_in_place_of_the_text() -> None:
    words = read("你好，你好世界。3个GPT-4和Hello there！A cat", dictionary=DICTIONARY)
    assert [(word.source, word.spoken) for word in words] == [
        ("你好，", "<|N|><|I3|>好，"), ("你好世界。", "你们好。"), ("3", "叁"), ("个", "个"), ("GPT-4", "gpt四"),
        ("和", "和"), ("Hello there！", "hi！"), ("A", "b "), ("cat", "cat"),
    ]  # fmt: skip


def test_an_entry_of_letters_is_a_word_and_no_part_of_one() -> None:
    assert [word.spoken.strip() for word in read("a ab ba 33 3a", dictionary=DICTIONARY)] == [
        "b",
        "ab",
        "ba",
        "thirty three",
        "three a",
    ]


def test_an_entry_waits_for_no_more_than_a_longer_one_may_need() -> None:
    reader = PlainReader(pronunciations=DICTIONARY)
    assert reader.push("你好世") == []
    assert [word.spoken for word in reader.push("间")] == ["<|N|><|I3|>好", "世"]


# How long a unit waits: until what stands behind it has begun, or, for what may go on, has ended.


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        ("你好", "你"),
        ("你好，", "你"),
        ("你好，我", "你 好，"),
        ("有3", "有"),
        ("有3个", "有 3"),
        ("有3 ", "有"),
        ("有3 k", "有"),
        ("有3 kg好", "有 3 kg"),
        ("是2026年", "是 2026"),
        ("是2026年1", "是 2026 年"),
        ("Hello wor", "Hello"),
        ("Hello, world ", "Hello,"),
        ("I have 3 app", "I have"),
        ("I have 3 apples a", "I have 3 apples"),
        ("用<|J|>", "用"),
        ("用<|J|><|IANG3|>好", "用 <|J|><|IANG3|>"),
    ],
)
def test_a_unit_waits_for_no_more_than_it_needs(typed: str, left: str) -> None:
    reader = PlainReader()
    assert " ".join(word.source for character in typed for word in reader.push(character)) == left
