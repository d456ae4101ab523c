import pytest

from stream_server.training.word_errors import interval, normalised, rate, word_errors


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "words"),
    [
        ("He struck a match.", "he struck a match", 0, 4),
        ("So he struck a match.", "so he struck imagine", 2, 5),
        ("I can't, it's over!", "i can't it's over", 0, 4),
        ("I can’t.", "i can't", 0, 2),
        ("Don't go.", "dont go", 1, 2),
        ("one two three", "one three", 1, 3),
        ("one three", "one two three", 1, 2),
        ("one two", "two one", 2, 2),
        ("one two", "", 2, 2),
        ("yes", "a b c", 3, 1),
        ("", "a b", 2, 0),
        ("", "", 0, 0),
    ],
)
def test_word_errors(reference: str, hypothesis: str, errors: int, words: int) -> None:
    assert word_errors(reference, hypothesis) == (errors, words)


def test_quotation_marks_are_no_part_of_a_word() -> None:
    assert normalised("'Well,' said he; well-known.") == ["well", "said", "he", "well", "known"]


def test_interval_holds_the_rate_and_narrows_with_more_sentences() -> None:
    few, many = [0, 1, 3, 0, 2] * 4, [0, 1, 3, 0, 2] * 40
    low, high = interval(few, [8] * len(few))
    closer_low, closer_high = interval(many, [8] * len(many))
    assert low < closer_low < rate(many, [8] * len(many)) == 0.15 < closer_high < high
    assert (high - low) / (closer_high - closer_low) == pytest.approx(10**0.5, rel=0.15)


def test_interval_of_sentences_all_alike_is_a_point() -> None:
    assert interval([1] * 20, [10] * 20) == (0.1, 0.1)
    assert interval([0] * 20, [10] * 20) == (0.0, 0.0)
