"""Guessed beginnings: every unit once, in order, by the end; longer ones longer, a slow voice slower."""

import random
from itertools import pairwise

import pytest

from stream_server.models.glm_tts.chunks import SCHEDULES, schedule
from stream_server.models.glm_tts.marks import FASTEST, SLOWEST, USUAL, closing, pace, syllables, unit_at, units
from stream_server.text.plain import PlainReader
from stream_server.text.word import Word


def words_of(text: str) -> list[Word]:
    reader = PlainReader()
    return reader.push(text) + reader.flush()


@pytest.mark.parametrize(
    ("spoken", "wanted"),
    [
        ("今", 1), ("今，", 2), ("今。”", 2.5), ("かゃ", 1), ("<|IANG3|>", 1), ("<|ZH|>", 0), ("42 ", 2),
        ("cat ", 1), ("table ", 2), ("make ", 1), ("university, ", 6), ("the ", 1), ("USA ", 3), ("nth ", 1),
        ("привет ", 2), ("😀", 0), ("", 0), ("it's ", 1), ("twenty five. ", 4.5),
    ],
)  # fmt: skip
def test_how_long_a_unit_is(spoken: str, wanted: float) -> None:
    assert syllables(spoken) == wanted


def test_a_voice_is_as_fast_as_its_recording() -> None:
    said = "今天天气很好，我们去公园散步吧。"
    assert pace(said, 132) == 2 * pace(said, 66) == 8.0  # 14 characters, a comma and a stop
    assert pace(said, 10_000) == SLOWEST and pace(said, 1) == FASTEST
    assert pace("", 100) == pace("😀", 100) == USUAL


def marked(text: str, codes: int, plan: str, speed: float) -> list[int]:
    """The units of a segment's codes as the engine comes to see them."""
    found = units(words_of(text))
    told = [unit_at(found, code, speed) for code in range(codes)]
    revised = closing(found, codes, codes - schedule(plan).settled(codes), speed)
    return told[: codes - len(revised)] + revised


TEXTS = (
    "好。",
    "今天天气很好，我们去公园散步吧。",
    "A quick brown fox jumps over the lazy dog, twice a day.",
    "😀😀 hm 😀",
)


@pytest.mark.parametrize("plan", SCHEDULES)
@pytest.mark.parametrize("text", TEXTS)
def test_all_are_marked_by_the_end_in_order(text: str, plan: str) -> None:
    rng = random.Random(0)
    for codes in (1, 2, 5, 18, 19, 20, 41, 100, 333, *rng.sample(range(1, 400), 20)):
        for speed in (FASTEST, USUAL, SLOWEST):
            found = marked(text, codes, plan, speed)
            assert len(found) == codes and found == sorted(found)
            assert found[-1] == len(words_of(text)) - 1 and found[0] >= 0


def test_what_is_short_is_shared_out_to_its_length() -> None:
    """Nothing of it has been told before its end is known, so its pace does not matter."""
    text = "今天天气"
    assert marked(text, 16, "early", FASTEST) == marked(text, 16, "early", SLOWEST)
    places = [marked(text, 16, "early", USUAL).index(unit) for unit in range(4)]
    assert places == [0, 4, 8, 12]


def test_a_segment_cut_off_early_marks_the_rest_over_its_last_codes_and_not_all_at_one() -> None:
    text = "今天天气很好我们去公园散步吧" * 3
    found = marked(text, 60, "early", USUAL)
    assert found[59] == 41 and found[60 - 7] < 41
    assert len(set(found[-7:])) == 7
    assert max(b - a for a, b in pairwise(found)) <= 2


def test_nothing_to_say_and_nothing_said() -> None:
    nothing = units([])
    assert unit_at(nothing, 3, USUAL) == -1 and closing(nothing, 3, 3, USUAL) == [-1, -1, -1]
    assert closing(units(words_of("好")), 0, 0, USUAL) == []
