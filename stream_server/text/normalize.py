"""What is typed → what is said, for one token's body: "$3.50" → three dollars and fifty cents.

A table of shapes, the first that matches the whole body reads it; what has no shape is read piece by piece.  Knows
nothing of neighbours (`phrase` does), of marks, or of sound.  Total: any folded text has a reading, and one with a
letter or a digit has words in it, of a to z, ' and single spaces.
"""

import re
from collections.abc import Callable
from itertools import pairwise

from stream_server.text import numbers
from stream_server.text.tables import (
    CENTS,
    COMMON_SHORT,
    CURRENCIES,
    DOMAINS,
    GLUED_UNITS,
    MAGNITUDES,
    MONTHS,
    PER,
    SPECIAL,
    SPELLED_LONG,
    SPELLED_SUFFIXES,
    SURNAME_PREFIXES,
    SYMBOLS,
    UNITS,
    VOWELLESS_WORDS,
)


def any_of(words: dict[str, tuple[str, str]] | set[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))


NUMBER = r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
MONEY = rf"(?P<symbol>[{''.join(CURRENCIES)}])"
UNIT = any_of(UNITS)
ALL_UNITS = UNITS | GLUED_UNITS
ANY_UNIT = any_of(ALL_UNITS)

PIECE = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*|\d[\d,]*(?:\.\d+)?|[^A-Za-z\d]")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
SPELLED_PLURAL = re.compile(r"[A-Z]{2,}s")

PREFIXES = {
    "-": "minus", "+": "plus", "~": "about", "<": "less than", ">": "greater than", "≈": "about", "≤": "at most",
    "≥": "at least", "±": "plus or minus", "=": "equals", "#": "number",
}  # fmt: skip
MERIDIEMS = {"a": "ay m", "p": "p m"}
ADDRESS_MARKS = {
    ".": "dot", "@": "at", "-": "dash", "_": "underscore", "/": "slash", "?": "question mark", "=": "equals",
    "&": "and", ":": "colon", "#": "hash", "%": "percent", "+": "plus",
}  # fmt: skip

Shape = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


def speak(body: str) -> str:
    special = SPECIAL.get(body.lower())
    if special:
        return special
    for pattern, reading in SHAPES:
        match = pattern.fullmatch(body)
        if match:
            return tidy(reading(match))
    return tidy(by_parts(body))


def tidy(words: str) -> str:
    return " ".join(words.split())


# Money, measures and counts


def money(match: re.Match[str]) -> str:
    magnitude = match["magnitude"]
    return amount(match["symbol"], match["number"], MAGNITUDES[magnitude.lower()] if magnitude else "")


def amount(symbol: str, number: str, magnitude: str = "") -> str:
    one, more = CURRENCIES[symbol]
    if magnitude:
        return f"{numbers.decimal(number)} {magnitude} {more}"
    whole, _, cents = number.partition(".")
    if len(cents) == 2 and symbol in CENTS:
        return with_cents(symbol, whole, int(cents))
    return f"{numbers.decimal(number)} {one if number == '1' else more}"


def with_cents(symbol: str, whole: str, cents: int) -> str:
    parts = []
    if whole.strip("0,") or not cents:
        parts.append(amount(symbol, whole or "0"))
    if cents:
        parts.append(f"{numbers.small_cardinal(cents)} {CENTS[symbol][0 if cents == 1 else 1]}")
    return " and ".join(parts)


def quantity(match: re.Match[str]) -> str:
    return f"{numbers.decimal(match['number'])} {unit(match['unit'], match['number'] == '1')}{per(match['per'])}"


def unit(symbol: str, one: bool) -> str:
    return ALL_UNITS[symbol][0 if one else 1]


def per(symbol: str | None) -> str:
    """What follows the slash in "60 km/h" or "5 mg/kg"."""
    if not symbol:
        return ""
    return f" per {PER.get(symbol) or (ALL_UNITS[symbol][0] if symbol in ALL_UNITS else speak(symbol))}"


def money_range(match: re.Match[str]) -> str:
    magnitude = MAGNITUDES[match["magnitude"].lower()] if match["magnitude"] else ""
    return f"{numbers.decimal(match['low'])} to {amount(match['symbol'], match['number'], magnitude)}"


def quantity_range(match: re.Match[str]) -> str:
    return f"{numbers.decimal(match['low'])} to {numbers.decimal(match['number'])} {unit(match['unit'], False)}"


def number_range(match: re.Match[str]) -> str:
    return f"{numbers.number_or_year(match[1])} to {numbers.number_or_year(match[2])}"


def mixed_number(match: re.Match[str]) -> str:
    return f"{numbers.cardinal(match[1])} and {numbers.fraction(match[2], match[3])}"


def feet_and_inches(match: re.Match[str]) -> str:
    feet, inches = match[1], match[2]
    return f"{numbers.cardinal(feet)} {'foot' if feet == '1' else 'feet'} {numbers.cardinal(inches)}"


def decade(match: re.Match[str]) -> str:
    digits = match[1]
    if digits == "00":
        return "two thousands"
    return numbers.many(numbers.year(digits) if numbers.is_year(digits) else numbers.cardinal(digits))


def version(match: re.Match[str]) -> str:
    return f"version {dotted_number(match[1])}"


def dotted_number(digits: str) -> str:
    """2.0.1 by points; an IP address, of four parts, by dots."""
    parts = digits.split(".")
    return (" dot " if len(parts) > 3 else " point ").join(map(numbers.cardinal, parts))


# Dates and times


def date(month: int, day: str, year: str) -> str:
    spoken_year = numbers.number_or_year(year)
    return f"{MONTHS[month - 1]} {numbers.ordinal(day)} {spoken_year}"


def iso_date(match: re.Match[str]) -> str:
    year, month, day, time = match[1], int(match[2]), match[3], match[4]
    if not is_day(month, int(day)):
        return numbers.spell_digits(match.group())
    return f"{date(month, day, year)} {speak(time) if time else ''}"


def slashed_date(match: re.Match[str]) -> str:
    """Month first, as Americans write it, unless that cannot be."""
    first, second, year = match[1], match[2], match[3]
    if is_day(int(first), int(second)):
        return date(int(first), second, year)
    if is_day(int(second), int(first)):
        return date(int(second), first, year)
    return numbers.spell_digits(match.group())


def is_day(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= 31


def clock(match: re.Match[str]) -> str:
    hour, minute, second, meridiem = match["hour"], match["minute"] or "", match["second"], match["meridiem"]
    words = [numbers.small_cardinal(int(hour)), spoken_minute(minute)]
    if second and second != "00":
        words.append(f"and {numbers.small_cardinal(int(second))} seconds")
    if meridiem:
        words.append(MERIDIEMS[meridiem.lower()])
    elif minute == "00" and not second:
        words.append("o'clock" if 1 <= int(hour) <= 12 else "hundred")
    return " ".join(words)


def spoken_minute(minute: str) -> str:
    if minute in ("", "00"):
        return ""
    return ("oh " if minute[0] == "0" else "") + numbers.small_cardinal(int(minute))


# Addresses


def address(match: re.Match[str]) -> str:
    """An e-mail or web address, each of its marks by name; the scheme and www are not said."""
    text = re.sub(r"^(?:https?://)?(?:www\.)?|/$", "", match.group(), flags=re.IGNORECASE)
    return " ".join(address_piece(mark, piece) for mark, piece in pairwise(["", *PIECE.findall(text)]))


def address_piece(before: str, piece: str) -> str:
    if before == "." and piece.lower() in SPELLED_SUFFIXES:
        return spell(piece)
    return speak(piece) if piece[0].isalnum() else ADDRESS_MARKS.get(piece, "")


def dashed_digits(match: re.Match[str]) -> str:
    return numbers.spell_digits(match.group())


def prefixed(match: re.Match[str]) -> str:
    return f"{PREFIXES[match[1]]} {speak(match[2])}"


def initials(match: re.Match[str]) -> str:
    return initials_spoken(match.group())


def initials_spoken(text: str) -> str:
    """U.S by its letters."""
    return SPECIAL.get(text.lower()) or spell(text)


SHAPES: list[Shape] = [
    (re.compile(pattern), reading)
    for pattern, reading in [
        (r"(?:https?://|www\.)\S+", address),
        (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", address),
        (rf"(?:[\w-]+\.)+(?:{any_of(DOMAINS)})(?:[/?:#]\S*)?", address),
        (r"@([\w.-]+)", lambda m: f"at {by_parts(m[1])}"),
        (r"#([A-Za-z]\w*)", lambda m: f"hashtag {by_parts(m[1])}"),
        (rf"([-+~<>≈≤≥±=])({NUMBER}.*|[{''.join(CURRENCIES)}].*)", prefixed),
        (rf"(#)({NUMBER})", prefixed),
        (rf"(?:US|A|C|NZ)?{MONEY}(?P<number>{NUMBER})(?P<magnitude>bn|mn|tn|[kKmMbB])?", money),
        (rf"(?P<number>{NUMBER}){MONEY}(?P<magnitude>)", money),
        (rf"{MONEY}(?P<low>{NUMBER})[-–](?:[{''.join(CURRENCIES)}])?(?P<number>{NUMBER})"
         r"(?P<magnitude>bn|mn|tn|[kKmMbB])?", money_range),
        (r"(\d{4})[-/](\d\d?)[-/](\d\d?)(?:T(\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?", iso_date),
        (r"(\d\d?)/(\d\d?)/(\d{4}|\d\d)", slashed_date),
        (r"(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?:\.\d+)?"
         r" ?(?:(?P<meridiem>[aApP])\.?[mM])?", clock),
        (r"(?P<hour>1[0-2]|0?[1-9])(?P<minute>)(?P<second>) ?(?P<meridiem>[aApP])\.?[mM]", clock),
        (r"\d{3}-\d\d(?!00)\d\d|0\d{1,4}-\d{5,8}|\+?(?:1-)?\(?\d{3}\)?[-.]\d{3}[-.]\d{4}|\d+(?:-\d+){2,}",
         dashed_digits),
        (rf"({NUMBER})[-–]({NUMBER})", number_range),
        (rf"(?P<low>{NUMBER})[-–](?P<number>{NUMBER}) ?(?P<unit>{ANY_UNIT})", quantity_range),
        (r"(\d+) +(\d+)/(\d+)", mixed_number),
        (r"(\d+)/(\d+)", lambda m: numbers.fraction(m[1], m[2])),
        (r"(\d[\d,]*)(?:st|nd|rd|th|ST|ND|RD|TH)", lambda m: numbers.ordinal(m[1])),
        (r"((?:1[1-9]|20)?\d0)'?s", decade),
        (r"(\d)'(\d\d?)", feet_and_inches),
        (rf"(?P<number>{NUMBER}) ?(?P<unit>{ANY_UNIT})(?:/(?P<per>[A-Za-z]+))?", quantity),
        (r"[vV](\d+(?:\.\d+)*)", version),
        (r"(\d+(?:\.\d+){2,})", lambda m: dotted_number(m[1])),
        (r"x(\d+)", lambda m: f"times {numbers.cardinal(m[1])}"),
        (r"(\d+)[x×](\d+)", lambda m: f"{numbers.cardinal(m[1])} by {numbers.cardinal(m[2])}"),
        (r"(\d+):(\d+)", lambda m: f"{numbers.cardinal(m[1])} to {numbers.cardinal(m[2])}"),
        (NUMBER, lambda m: numbers.number_or_year(m.group())),
        (r"(?:[A-Za-z]\.)+[A-Za-z]?", initials),
    ]
]  # fmt: skip


# What has no shape


def by_parts(body: str) -> str:
    """Parted where people part: at spaces, dashes, slashes; then piece by piece."""
    if " " in body:
        return " ".join(map(speak, body.split()))
    dashed = [part for part in re.split(r"[-–_]+", body) if part]
    if len(dashed) > 1:
        return dashed_parts(dashed)
    if "/" in body:
        return slashed_parts(body)
    return by_pieces(body)


def dashed_parts(parts: list[str]) -> str:
    """twenty-five, COVID-19; between numbers "to": 9am-5pm."""
    words = [speak(parts[0])]
    for before, part in pairwise(parts):
        words += (["to"] if before[0].isdecimal() and part[0].isdecimal() else []) + [speak(part)]
    return " ".join(words)


def slashed_parts(body: str) -> str:
    parts = body.split("/")
    if len(parts) == 2 and all(part.isalpha() and part.islower() for part in parts):
        return f"{speak(parts[0])} or {speak(parts[1])}"
    if len(parts) == 2 and parts[0] and parts[0][0] in "0123456789$€£¥₹" and parts[1].isalpha():
        return f"{speak(parts[0])} per {speak(parts[1])}"
    return " slash ".join(speak(part) if part else "" for part in parts)


def by_pieces(body: str) -> str:
    pieces = ["", *PIECE.findall(body), ""]
    return " ".join(piece_in(*around) for around in zip(pieces, pieces[1:], pieces[2:], strict=False))


def piece_in(before: str, piece: str, after: str) -> str:
    """One piece between its neighbours: letters beside a digit are rather spelled, a dot inside is said."""
    if piece[0].isdecimal():
        return numbers.decimal(piece)
    if piece == "." and before and after:
        return "dot"
    if not piece[0].isalpha():
        return SYMBOLS.get(piece, "")
    if before == "." and piece.lower() in SPELLED_SUFFIXES:
        return spell(piece)
    beside_digit = before[-1:].isdecimal() or after[:1].isdecimal()
    return beside_number(piece) if beside_digit else word(piece)


def beside_number(letters: str) -> str:
    if len(letters) <= 3 and "'" not in letters and (letters.isupper() or not has_vowel(letters)):
        return spell(letters)
    return word(letters)


def word(letters: str) -> str:
    """A run of letters and apostrophes: read, spelled, or parted where its capitals part it."""
    special = SPECIAL.get(letters.lower())
    if special:
        return special
    stem, apostrophe, ending = letters.partition("'")
    if apostrophe and stem.isupper() and ending == "s":
        return f"{capitals(stem)}'s"
    if letters.isupper():
        return letters.lower() if apostrophe else capitals(letters)
    if SPELLED_PLURAL.fullmatch(letters):
        return capitals(letters[:-1]) + "'s" if is_spelled(letters[:-1]) else letters.lower()
    return camel(letters)


def camel(letters: str) -> str:
    parts = CAMEL.split(letters)
    if len(parts) < 2 or parts[0] in SURNAME_PREFIXES:
        return letters.lower()
    return " ".join(capitals(part) if part.isupper() else part.lower() for part in parts)


def capitals(letters: str) -> str:
    return spell(letters) if is_spelled(letters) else letters.lower()


def is_spelled(letters: str) -> bool:
    """FBI, HTTP; but not NASA, HELLO, THE."""
    if len(letters) < 2 or letters.lower() in COMMON_SHORT or letters in VOWELLESS_WORDS:
        return False
    return len(letters) <= 3 or letters in SPELLED_LONG or not has_vowel(letters)


def has_vowel(letters: str) -> bool:
    return any(letter in "aeiouAEIOU" for letter in letters)


def spell(letters: str) -> str:
    """By the letters' names; "ay", for "a" alone is the article."""
    return " ".join("ay" if letter == "a" else letter for letter in letters.lower() if letter.isalpha())
