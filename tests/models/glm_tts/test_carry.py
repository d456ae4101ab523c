"""What of a text stays before its next segment."""

from hypothesis import given
from hypothesis import strategies as some

from stream_server.models.glm_tts.carry import BUDGET, Said, kept

segments = some.builds(
    Said,
    some.lists(some.just(1), min_size=1, max_size=40).map(tuple),
    some.lists(some.just(2), max_size=400).map(tuple),
)


def spoken(text: int, codes: int) -> Said:
    return Said((1,) * text, (2,) * codes)


def test_the_first_segment_has_the_reference_before_it() -> None:
    reference = spoken(20, 140)
    assert kept(reference, [], upcoming=30) == (reference,)


def test_all_stays_while_it_and_what_comes_fit_the_budget() -> None:
    reference, one, two = spoken(20, 140), spoken(30, 210), spoken(10, 70)
    # 420 codes for 60 ids, 7 for each: 47 more ids come to 749 in all, 48 to 756.
    assert kept(reference, [one, two], upcoming=47) == (reference, one, two)
    assert kept(reference, [one, two], upcoming=48) == (reference, two)


def test_the_budget_may_be_reached_exactly() -> None:
    reference, one = spoken(10, 50), spoken(10, 50)
    assert kept(reference, [one], upcoming=130) == (reference, one)  # 100 + 5 × 130 = 750
    assert kept(reference, [one], upcoming=131) == (reference,)


def test_the_reference_stays_however_long_it_is() -> None:
    reference, one = spoken(5, 2000), spoken(5, 10)
    assert kept(reference, [one], upcoming=1) == (reference,)


def test_a_reference_without_words_is_no_division_by_nothing() -> None:
    assert kept(spoken(0, 0), [], upcoming=10) == (spoken(0, 0),)
    assert kept(spoken(0, 100), [], upcoming=10) == (spoken(0, 100),)


@given(segments, some.lists(segments, max_size=12), some.integers(1, 200))
def test_what_stays_is_the_reference_and_the_longest_end_that_fits(ref: Said, past: list[Said], new: int) -> None:
    def fits(found: tuple[Said, ...]) -> bool:
        codes, text = sum(len(s.codes) for s in found), sum(len(s.text) for s in found)
        return codes + codes / text * new <= BUDGET

    found = kept(ref, past, new)
    assert found[0] is ref and list(found[1:]) == past[len(past) - len(found) + 1 :]
    assert len(found) == 1 or fits(found)
    # Dropping goes one by one from the oldest: each longer end did not fit.
    assert not any(fits((ref, *past[-more:])) for more in range(len(found), len(past) + 1))
