from stream_server.training.held_out import COUNT, TEST_SENTENCES, choose, is_plain, letters
from stream_server.training.word_errors import normalised


def test_the_file_holds_unique_plain_sentences() -> None:
    sentences = TEST_SENTENCES.read_text().splitlines()
    assert len(sentences) == len({letters(line) for line in sentences}) == COUNT == 200
    assert all(is_plain(line, lambda word: True) for line in sentences)


def test_plain() -> None:
    def known(word: str) -> bool:
        return word != "zyx"

    assert is_plain("Well, I can't do it, I'm sure.", known)
    assert not is_plain("Well, said Darcy, I do not.", known)
    assert not is_plain("Yes,' said he, 'I do not.", known)
    assert not is_plain("It cost me 5 pounds then.", known)
    assert not is_plain("This is what zyx means.", known)
    assert not is_plain("Much too short.", known)


def test_choice_keeps_clear_of_repeats_and_prompts() -> None:
    names = [f"{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"]
    lines = [f"It is plain that {name}." for name in names]
    repeated, prompted = lines[0], lines[1]
    chosen = choose([*lines, repeated.upper()], [letters(f"Oh! {prompted} He went.")], lambda word: True, seed=0)
    assert len(chosen) == len(set(chosen)) == COUNT
    assert repeated not in chosen and prompted not in chosen
    assert all(len(normalised(line)) == 5 for line in chosen)
