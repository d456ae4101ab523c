"""The alphabet between text and speech: what the pointer walks over.

A symbol is a phone of festival's US English set (cmudict-0.4), carrying its stress where it is a vowel and a mark
where it opens a word, or a pause named by the punctuation that made it.  Knows nothing of spelling or sound.
"""

VOWELS = ("aa", "ae", "ah", "ao", "aw", "ax", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw")
CONSONANTS = (
    "b", "ch", "d", "dh", "f", "g", "hh", "jh", "k", "l", "m", "n", "ng", "p", "r", "s", "sh", "t", "th", "v", "w",
    "y", "z", "zh",
)  # fmt: skip
PAUSES = (",", ".", "?", "!")
EDGE = "^"  # silence before the first word, and what a window beyond either end of the text holds

#: Every symbol, in the order of its id; a word's first phone is written with a leading "_".
SYMBOLS = (
    EDGE,
    *PAUSES,
    *(start + phone for start in ("", "_") for phone in CONSONANTS),
    *(start + phone + stress for start in ("", "_") for phone in VOWELS for stress in "01"),
)
SYMBOL_IDS = {symbol: index for index, symbol in enumerate(SYMBOLS)}
#: What an inline pronunciation may use: consonants, and vowels with their stress.
PHONES = CONSONANTS + tuple(phone + stress for phone in VOWELS for stress in "01")
EDGE_ID = SYMBOL_IDS[EDGE]
NUM_SYMBOLS = len(SYMBOLS)


def phone_symbols(phones: list[str]) -> list[str]:
    """One word's phones as ``["hh", "ax0", "l", "ow1"]`` → its symbols, the first one marked as the word's start."""
    return ["_" + phones[0], *phones[1:]]
