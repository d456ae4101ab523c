"""What is certain after which piece; where words lie in the text; how much work it takes."""

import pytest

from stream_server.errors import InvalidPronunciation
from stream_server.text import lookahead
from stream_server.text.segment import TextReader
from stream_server.text.token import Token
from stream_server.text.word import Word

PHONES = frozenset(["hh", "ax0", "ax1", "l", "ow0", "ow1"])


def arrivals(*pieces: str) -> list[str]:
    """For each piece, what was said on its arrival."""
    reader = TextReader(PHONES)
    return [" ".join(word.spoken + word.pause for word in reader.push(piece)) for piece in pieces]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (("Hello ", "world "), ["hello", "world"]),
        (("Hel", "lo", " "), ["", "", "hello"]),
        (("Hello", ",", " you"), ["", "hello,", ""]),
        (("Hello", "; "), ["", "hello,"]),
        (("Hello", "—", "you"), ["", "hello,", ""]),
        (("Hello", ".", " "), ["", "", "hello."]),  # .com?
        (("Hello", "\n"), ["", "hello."]),
        (("Hello. ", "You"), ["hello.", ""]),
        (("What?", "!", " "), ["", "", "what?"]),
        (("Mr. ", "Smith "), ["mister", "smith"]),
        (("I have 5 ", "apples", " "), ["i have", "", "five apples"]),
        (("5 ", "kg", " "), ["", "", "five kilograms"]),
        (("5, ", "6"), ["five,", ""]),
        (("$5 ", "million "), ["", "five million dollars"]),
        (("the U.S. ", "a"), ["the", "u s"]),
        (("the U.S. ", "Then "), ["the", "u s. then"]),
        (("etc. ", "T"), ["", "et cetera."]),
        (("3 p.m. ", "to"), ["", "three p m"]),
        (("May ", "I "), ["", "may i"]),
        (("May ", "5 ", "is "), ["", "", "may fifth is"]),
        (("May 5, ", "2026 "), ["", "may fifth twenty twenty six"]),
        (("Dr. ", "W"), ["", "doctor"]),
        (("Henry ", "VIII "), ["henry", "the eighth"]),
        (("Hello ", "— ", "you "), ["hello", ",", "you"]),
        (("Hello ", "\n"), ["hello", "."]),
        (("[[hh ax", " l ow]]", " "), ["", "", ""]),
    ],
)
def test_a_word_leaves_when_nothing_can_change_it(pieces: tuple[str, ...], said: list[str]) -> None:
    assert arrivals(*pieces) == said


def test_spans_count_from_the_beginning_of_all_text() -> None:
    reader = TextReader()
    assert reader.push("Hi, $5 ") == [Word("Hi,", 0, 3, "hi", ",")]
    assert reader.push("million. ") == [Word("$5 million.", 4, 15, "five million dollars", ".")]
    assert reader.push("Bye") == []
    assert reader.flush() == [Word("Bye", 16, 19, "bye", ".")]
    assert reader.push("Again ") == [Word("Again", 19, 24, "again")]


def test_a_flush_ends_the_sentence_once() -> None:
    reader = TextReader()
    assert reader.flush() == []
    reader.push("Hello ")
    assert reader.flush() == [Word("", 5, 5, "", ".")]  # the word has left already
    assert reader.flush() == []
    reader.push("Why?")
    assert reader.flush() == [Word("Why?", 6, 10, "why", "?")]


def test_a_long_sentence_is_ended_behind_a_late_comma() -> None:
    reader = TextReader(max_segment_chars=20)
    words = reader.push("one two three four, five six ")
    assert [word.spoken + word.pause for word in words] == ["one", "two", "three", "four.", "five", "six"]


def test_a_long_sentence_without_a_comma_is_ended_before_it_is_too_long() -> None:
    reader = TextReader(max_segment_chars=20)
    words = reader.push("alpha beta gamma delta epsilon " * 20) + reader.flush()
    start = None
    for word in words:
        start = word.start if start is None else start
        assert word.end - start <= 20
        start = None if word.ends_sentence else start


def test_inline_pronunciation() -> None:
    reader = TextReader(PHONES)
    words = reader.push("Say [[hh ax l ow]], or [[Hello You|HH ax0 l ow1]]. Done")
    assert words[1:4:2] == [
        Word("[[hh ax l ow]],", 4, 19, "", ",", ("hh", "ax1", "l", "ow0")),
        Word("[[Hello You|HH ax0 l ow1]].", 23, 50, "hello you", ".", ("hh", "ax0", "l", "ow1")),
    ]


def test_an_unknown_phone_is_named_and_the_reader_goes_on() -> None:
    reader = TextReader(PHONES)
    with pytest.raises(InvalidPronunciation, match="'qq'") as error:
        reader.push("Before [[hh qq]] after ")
    assert (error.value.field, error.value.limit) == ("text", "ax0 ax1 hh l ow0 ow1")
    assert [word.spoken for word in reader.push("this ")] == ["before", "after", "this"]


def test_brackets_that_never_close_are_plain_text() -> None:
    reader = TextReader(PHONES)
    assert reader.push("[[hello " + "a " * 90) == []
    assert reader.push("a " * 20)[0] == Word("[[hello", 0, 7, "hello")


def test_a_word_without_end_is_cut() -> None:
    words = TextReader().push("a" * 1000)
    assert [len(word.source) for word in words] == [200, 200, 0, 200, 200, 0, 200]  # 0: too long a sentence


@pytest.mark.parametrize("text", ["a", "9", "-5", "[[", "May 5, ", "+1 ", "$5 ", "U.S. ", "St.", "1/", "](a", "a.b"])
def test_work_grows_with_the_text_and_no_faster(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in tokens read, each at most 200 characters long; pushed in small pieces, the worst case."""
    reads = 0
    read = lookahead.Lookahead._read

    def counting(self: lookahead.Lookahead, start: int, opens_line: bool) -> Token:
        nonlocal reads
        reads += 1
        return read(self, start, opens_line)

    monkeypatch.setattr(lookahead.Lookahead, "_read", counting)
    reader, long = TextReader(), (text * 20_000)[:20_000]
    for start in range(0, len(long), 5):
        reader.push(long[start : start + 5])
        assert len(reader._text) < 5 * lookahead.LONGEST + 200
    reader.flush()
    assert reads <= 5 * len(long)
