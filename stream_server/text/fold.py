"""Typed characters → the few the readings know: ASCII, and the symbols in `KEPT`.

Latin letters lose their accents, digits of any script become ours, typographic quotes become plain; what remains
(emoji, other scripts, control characters, lone surrogates) becomes a space.  Knows nothing of words.
"""

import unicodedata
from functools import lru_cache

KEPT = set("°€£¥¢₹±×÷²³–—…→≤≥≠≈")  # symbols with a reading, or a pause, of their own
INVISIBLE = {"Mn", "Me", "Cf"}  # accents, keycaps, joiners: they part no word

REPLACED = {
    "‘": "'", "’": "'", "ʼ": "'", "′": "'", "´": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "″": '"', "«": '"',
    "»": '"', "‐": "-", "‑": "-", "‒": "–", "−": "-", "―": "—", "。": ".", "、": ",", "،": ",", "؟": "?",
    "•": "*", "·": "*", "⁄": "/", "µ": "u", "μ": "u", "Ω": "ohm", "№": "#", "‰": " per mille", "℃": "°C", "℉": "°F",
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "ı": "i", "ħ": "h", "Ħ": "H",
}  # fmt: skip


def fold(text: str) -> str:
    return text if text.isascii() and text.isprintable() else "".join(map(fold_character, text))


@lru_cache(maxsize=4096)
def fold_character(character: str) -> str:
    if character in KEPT or " " <= character <= "~":
        return character
    if character in REPLACED:
        return REPLACED[character]
    if is_vulgar_fraction(character):
        return " " + unicodedata.normalize("NFKD", character).replace("⁄", "/") + " "
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    return fold_compatible(character)


def fold_compatible(character: str) -> str:
    """é → e, ﬁ → fi, Ｆ → F; anything else is a space, or nothing where it only dresses its neighbour."""
    if unicodedata.category(character) in INVISIBLE:
        return ""
    plain = unicodedata.normalize("NFKD", character)
    readable = "".join(fold_part(part) for part in plain)
    return readable if plain != character and readable.strip() else " "


def fold_part(character: str) -> str:
    return character if " " <= character <= "~" else REPLACED.get(character, "")


def is_vulgar_fraction(character: str) -> bool:
    return "⁄" in unicodedata.normalize("NFKD", character) and unicodedata.numeric(character, None) is not None
