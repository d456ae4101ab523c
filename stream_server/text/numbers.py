"""Numbers as they are said, in words of letters and single spaces.  Knows nothing of what they count."""

import re
from functools import lru_cache

import inflect

LONGEST = 15  # digits; a longer number is read digit by digit
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ROMAN = {"I": 1, "V": 5, "X": 10}
ROMAN_NUMERAL = re.compile(r"(?=[IVX])X{0,3}(?:IX|IV|V?I{0,3})")

ENGINE = inflect.engine()  # without state as it is used here


def plain(words: str) -> str:
    """inflect's "one thousand, two hundred and thirty-four" → American, and without marks."""
    return " ".join(re.sub(r"[^a-z]", " ", words).replace(" and ", " ").split())


@lru_cache(maxsize=4096)
def small_cardinal(number: int) -> str:
    return plain(str(ENGINE.number_to_words(str(number))))


def cardinal(digits: str) -> str:
    """Digits, perhaps with thousands commas; leading zeros and very long numbers go digit by digit."""
    digits = digits.replace(",", "")
    if len(digits) > LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return spell_digits(digits)
    return small_cardinal(int(digits))


def ordinal(digits: str) -> str:
    digits = digits.replace(",", "")
    if len(digits) > LONGEST:
        return spell_digits(digits)
    return plain(str(ENGINE.number_to_words(ENGINE.ordinal(str(int(digits))))))


def spell_digits(text: str) -> str:
    """Each digit by its name; anything between them is passed over."""
    return " ".join(DIGITS[int(digit)] for digit in text if digit.isdecimal())


def decimal(number: str) -> str:
    """1,234.05 → one thousand two hundred thirty four point zero five; .5 → point five."""
    whole, point, part = number.partition(".")
    words = [cardinal(whole)] if whole else []
    return " ".join(words + (["point", spell_digits(part)] if point else []))


def year(digits: str) -> str:
    """Four digits, in pairs where people say pairs: 1999, 1905, 1900, but two thousand five."""
    century, rest = int(digits[:2]), int(digits[2:])
    if digits[1:3] == "00":
        return cardinal(digits)
    if rest == 0:
        return cardinal(digits[:2]) + " hundred"
    return f"{small_cardinal(century)} {'oh ' if rest < 10 else ''}{small_cardinal(rest)}"


def is_year(digits: str) -> bool:
    return len(digits) == 4 and digits.isdecimal() and 1100 <= int(digits) <= 2099


def number_or_year(number: str) -> str:
    return year(number) if is_year(number) else decimal(number)


def many(words: str) -> str:
    """The plural of a number's last word: nineteen ninety → nineteen nineties."""
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")


def fraction(above: str, below: str) -> str:
    """1/2 → one half, 3/4 → three quarters; where the whole is reached, "ten out of ten"."""
    count, parts = cardinal(above), below.lstrip("0")
    if not parts or len(below) > 3 or len(above) > 3:
        return f"{count} over {cardinal(below)}"
    if int(above) >= int(below):
        return f"{count} out of {cardinal(below)}"
    name = {"2": "half", "4": "quarter"}.get(parts) or ordinal(parts)
    if int(above) == 1:
        return f"{count} {name}"
    return f"{count} {'halves' if name == 'half' else name + 's'}"


def roman(numeral: str) -> int:
    """Up to thirty nine, which is as far as kings, chapters and wars go."""
    values = [ROMAN[letter] for letter in numeral]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))
