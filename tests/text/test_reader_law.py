"""Cut anywhere, same words; and no text, however odd, brings the reader down."""

import itertools
import re
import string

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.errors import InvalidPronunciation
from stream_server.text.segment import TextReader
from stream_server.text.word import PAUSES, Word

PHONES = frozenset(["hh", "ax0", "ax1", "l", "ow0", "ow1"])

#: Whatever the rules look ahead for, and what might confuse them.
BITS = [
    "Hello", "world", "the", "A", "I", "The", "may", "May", "March", "Nov.", "22", "5", "5,", "2026", "1999.", "3.5",
    "3:30", "p.m.", "am", "kg", "ft.", "million", "$5", "$", "€", "-", "–", "—", "...", "…", ".", ",", "?", "!", ":",
    "(", ")", "\"", "'", "*", "**", "`", "```", "#", "|", "[", "]", "[[", "]]", "[[hh ax l ow]]", "[[a|l ow1]]", "](",
    "Dr.", "St.", "U.S.", "etc.", "Inc.", "No.", "e.g.", "J.", "Henry", "VIII", "War", "II", "+1", "(555)", "123-4567",
    "1/2", "½", "%", "°C", "example.com", "@", "/", "end.Next", "python", "3.11", "é", "ß", "😀", "Привет", "。",
    "\u200b", "\u0301", "\ud800", "1.", "-", "x2", "<b>", "~5", "a" * 90, "9" * 90,
]  # fmt: skip
SPACES = ["", " ", " ", " ", "  ", "\n", "\n\n", "\r\n", "\t"]

written = st.lists(st.tuples(st.sampled_from(BITS), st.sampled_from(SPACES)), max_size=25).map(
    lambda pairs: "".join(bit + space for bit, space in pairs)
)
anything = st.text(max_size=60) | st.text(alphabet=string.printable, max_size=60)
texts = written | anything | st.lists(written | anything, max_size=3).map("".join)
any_text = texts | st.text(alphabet=st.characters(), max_size=80)  # surrogates and control characters, too


def said(reader: TextReader, pieces: list[str]) -> list[Word]:
    return [word for piece in pieces for word in reader.push(piece)] + reader.flush()


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(ends)]


@settings(max_examples=500, deadline=None)
@given(texts.filter(lambda text: "[[" not in text or "hh" in text), st.lists(st.integers(0, 10_000), max_size=12),
       st.sampled_from([10, 60, 400]))  # fmt: skip
def test_cut_anywhere_same_words(text: str, places: list[int], longest: int) -> None:
    def reader() -> TextReader:
        return TextReader(AnyPhone(), longest)

    whole = said(reader(), [text])
    assert said(reader(), cut(text, places)) == whole
    assert said(reader(), list(text)) == whole


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, max_size=4), st.lists(st.integers(0, 10_000), max_size=12))
def test_the_law_holds_between_flushes(stretches: list[str], places: list[int]) -> None:
    whole, parted = TextReader(AnyPhone()), TextReader(AnyPhone())
    for stretch in stretches:
        assert said(parted, cut(stretch, places)) == said(whole, [stretch])


@settings(max_examples=500, deadline=None)
@given(any_text)
def test_every_word_is_sound(text: str) -> None:
    words = said(TextReader(AnyPhone(), 50), [text])
    at = 0
    for word in words:
        assert at <= word.start <= word.end
        assert word.source == text[word.start : word.end] == word.source.strip()
        assert re.fullmatch(r"[a-z']+(?: [a-z']+)*|", word.spoken)
        assert word.spoken or word.phones or (word.pause and not word.source)
        assert word.pause in PAUSES
        at = word.end
    if words:
        assert words[-1].ends_sentence


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=string.ascii_letters + string.digits, min_size=1, max_size=12),
    st.text(alphabet=".,-/:'$%#@&+", max_size=3),
    st.text(alphabet=string.ascii_letters + string.digits, max_size=8),
)
def test_what_has_a_letter_or_digit_is_spoken(start: str, marks: str, end: str) -> None:
    typed = start + marks + end
    if typed not in ("xD", "XD"):
        assert any(word.spoken for word in said(TextReader(), [typed]))


@settings(max_examples=200, deadline=None)
@given(any_text)
def test_only_a_pronunciation_can_be_refused(text: str) -> None:
    reader = TextReader(PHONES)
    try:
        said(reader, [text])
    except InvalidPronunciation:
        reader.push("")
    assert TextReader(PHONES).push("Fine ") == [Word("Fine", 0, 4, "fine")]


class AnyPhone(frozenset[str]):
    """A voice that has every phone, so that fuzzed brackets are read and not refused."""

    def __contains__(self, phone: object) -> bool:
        return True
