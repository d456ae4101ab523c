"""What the next word is, where more than one token may make it: "5 kg", "May 5, 2026", "Dr. Smith", "Henry VIII".

A rule is a function that reads the phrase or says None; the first that reads wins.  Rules look ahead as they please
(see `lookahead`) and back at one word.  How a single token is read, `normalize` knows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from stream_server.text import numbers
from stream_server.text.lookahead import Lookahead
from stream_server.text.normalize import MONEY, NUMBER, UNIT, amount, initials_spoken, speak
from stream_server.text.tables import (
    BARE_FORMS,
    CAPITAL_ENDINGS,
    ENDINGS,
    LETTERED,
    MAGNITUDES,
    MONTH_NAMES,
    NAME_ENDINGS,
    ROMAN_COUNTED,
    SHORT_FORMS,
    STARTERS,
    TITLES,
    VERSIONED,
)
from stream_server.text.token import Token, pause_of


@dataclass(frozen=True)
class Phrase:
    """The next `count` tokens, as they are said, and the pause their punctuation asks for."""

    count: int
    spoken: str
    mark: str


Rule = Callable[[Lookahead, str], Phrase | None]

DAY = re.compile(r"(0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?")
YEAR = re.compile(r"(?:1[1-9]|20)\d\d")
CLOCK = re.compile(r"(?:[01]?\d|2[0-3])(?::[0-5]\d)?")
MERIDIEM = re.compile(r"[aApP]\.?[mM]")
COUNT = re.compile(rf"[-+~<>]?{NUMBER}(?:[-–]{NUMBER})?")
SUM = re.compile(rf"([-+~<>]?){MONEY}(?P<number>{NUMBER})")
FRACTION = re.compile(r"\d+/\d+")
LONG_MAGNITUDES = {name for name in MAGNITUDES if len(name) > 1}
UNIT_NAME = re.compile(rf"(?:{UNIT})(?:/[A-Za-z]+)?")
INITIALS = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]|Ph\.D|[BM]\.Sc|[A-HJ-Z]")
PHONE = re.compile(r"(?:\+\d{1,3} ?)?(?:\d{3}[- .]?)?\d{3}[- .]?\d{4}|\+\d{1,3}(?:[ -]\d+){2,5}")
PHONE_START = re.compile(r"\+\d{1,3}|\d{3}")
PHONE_TOKENS = 5


def next_phrase(ahead: Lookahead, previous: str) -> Phrase:
    """`previous` is the body of the word before, "" where a sentence or line begins."""
    head = ahead.head
    for rule in RULES if head.body else (times_sign,):
        phrase = rule(ahead, previous)
        if phrase:
            return phrase
    return Phrase(1, speak(head.body), head.mark)


# Lists, letters and numerals


def list_number(ahead: Lookahead, previous: str) -> Phrase | None:
    """ "1. Wash": the period of a list's number ends no sentence."""
    head = ahead.head
    listed = head.opens_line and not head.closes_line and not head.lead and head.trail in (".", ")")
    if listed and head.body.isdecimal() and len(head.body) <= 3:
        return Phrase(1, numbers.cardinal(head.body), ",")
    return None


def letter_a(ahead: Lookahead, previous: str) -> Phrase | None:
    if ahead.head.body == "A" and previous.lower() in LETTERED:
        return Phrase(1, "ay", ahead.head.mark)
    return None


def roman_numeral(ahead: Lookahead, previous: str) -> Phrase | None:
    body = ahead.head.body
    if not numbers.ROMAN_NUMERAL.fullmatch(body):
        return None
    if previous.lower() in ROMAN_COUNTED:
        return Phrase(1, numbers.cardinal(str(numbers.roman(body))), ahead.head.mark)
    if len(body) > 1 and previous[:1].isupper() and previous[1:].islower():
        return Phrase(1, "the " + numbers.ordinal(str(numbers.roman(body))), ahead.head.mark)
    return None


def version(ahead: Lookahead, previous: str) -> Phrase | None:
    """Python 3.11 is three point eleven; as a plain number it would be three point one one."""
    body = ahead.head.body
    if previous.lower() in VERSIONED and re.fullmatch(r"\d+(?:\.\d+)+", body):
        return Phrase(1, " point ".join(map(numbers.cardinal, body.split("."))), ahead.head.mark)
    return None


def times_sign(ahead: Lookahead, previous: str) -> Phrase | None:
    """A lone * is markup, but between numbers."""
    if ahead.head.source == "*" and previous[-1:].isdecimal() and ahead.initial().isdecimal():
        return Phrase(1, "times", "")
    return None


# Abbreviations


def abbreviation(ahead: Lookahead, previous: str) -> Phrase | None:
    head = ahead.head
    if head.trail[:1] != ".":
        return Phrase(1, short_form(head.body), head.mark) if head.body in BARE_FORMS else None
    key = head.body.lower()
    if key == "st" or key == "dr":
        return saint_or_street(ahead, previous)
    if key in ("no", "nos") and ahead.initial().isdecimal():
        return Phrase(1, "number" if key == "no" else "numbers", rest_of_mark(head))
    if key in SHORT_FORMS or (key in TITLES and head.body[0].isupper()):
        return Phrase(1, short_form(head.body), rest_of_mark(head))
    if key in ENDINGS:
        return Phrase(1, ENDINGS[key], ending(ahead))
    named = NAME_ENDINGS.get(key) or (CAPITAL_ENDINGS.get(key) if head.body[0:1].isupper() else None)
    return Phrase(1, named, ending(ahead, among_names=True)) if named else None


def short_form(body: str) -> str:
    return "doctor" if body == "Dr" else SHORT_FORMS.get(body.lower()) or TITLES[body.lower()]


def saint_or_street(ahead: Lookahead, previous: str) -> Phrase:
    """Before a name a saint or a doctor; behind one, or before nothing, a street or a drive."""
    head = ahead.head
    titled = ahead.initial().isupper() and not (previous[:1].isupper() and head.body.lower() == "st")
    if titled:
        return Phrase(1, "saint" if head.body.lower() == "st" else "doctor", rest_of_mark(head))
    return Phrase(1, "street" if head.body.lower() == "st" else "drive", ending(ahead, among_names=True))


def initials(ahead: Lookahead, previous: str) -> Phrase | None:
    """U.S., p.m., J. Smith: the last period may end the sentence as well."""
    head = ahead.head
    if head.trail[:1] != "." or not INITIALS.fullmatch(head.body):
        return None
    if len(head.body) == 1:
        alone = not ahead.initial().isupper()
        return Phrase(1, initials_spoken(head.body), head.mark if alone else rest_of_mark(head))
    meridiem = MERIDIEM.fullmatch(head.body) is not None
    return Phrase(1, initials_spoken(head.body), ending(ahead, among_names=not meridiem))


def rest_of_mark(token: Token) -> str:
    """The pause asked for by what follows the abbreviation's own period."""
    return pause_of(token.closing[1:])


def ending(ahead: Lookahead, index: int = 0, among_names: bool = False) -> str:
    """The mark of an abbreviation whose period may end the sentence: it does where a capital follows.

    Among names ("U.S. Army") the capital proves nothing, and only a word that starts sentences does.
    """
    token = ahead.token(index)
    assert token is not None
    rest = rest_of_mark(token)
    if rest or token.closes_line:
        return rest or "."
    initial = ahead.initial(index)
    if not initial:
        return "."
    if not initial.isupper():
        return ""
    following = ahead.token(index + 1) if among_names else None
    return "." if following is None or following.body.lower() in STARTERS else ""


# Dates and times


def month_first(ahead: Lookahead, previous: str) -> Phrase | None:
    """May 5, 2026; Nov. 22; March 2026."""
    head = ahead.head
    if not is_month(head) or not ahead.initial().isdecimal():
        return None
    month, day = MONTH_NAMES[head.body.lower()], ahead.token(1)
    if day is None:
        return None
    if YEAR.fullmatch(day.body):
        return Phrase(2, f"{month} {numbers.year(day.body)}", day.mark)
    matched = DAY.fullmatch(day.body)
    if not matched:
        return Phrase(1, month, "")
    spoken = f"{month} {numbers.ordinal(matched[1])}"
    year = year_after(ahead, 1)
    return Phrase(3, f"{spoken} {numbers.year(year.body)}", year.mark) if year else Phrase(2, spoken, day.mark)


def is_month(token: Token) -> bool:
    known = token.body.lower() in MONTH_NAMES and token.body[0].isupper() and not token.closes_line
    return known and (not token.trail or (token.trail == "." and len(token.body) <= 4))


def year_after(ahead: Lookahead, index: int) -> Token | None:
    token = ahead.token(index)
    if token is None or token.closes_line or token.trail not in ("", ",") or not ahead.initial(index).isdecimal():
        return None
    year = ahead.token(index + 1)
    return year if year and YEAR.fullmatch(year.body) else None


def day_first(ahead: Lookahead, previous: str) -> Phrase | None:
    """12 March 2026, 22 Nov., the 5th May."""
    day = DAY.fullmatch(ahead.head.body)
    month = follower(ahead) if day else None
    if not day or month is None or month.body.lower() not in MONTH_NAMES:
        return None
    if month.body in ("may", "march", "mar", "sun", "dec"):
        return None
    the = "" if previous.lower() == "the" else "the "
    spoken = f"{the}{numbers.ordinal(day[1])} of {MONTH_NAMES[month.body.lower()]}"
    year = year_after(ahead, 1)
    return Phrase(3, f"{spoken} {numbers.year(year.body)}", year.mark) if year else Phrase(2, spoken, month.mark)


def clock_and_half(ahead: Lookahead, previous: str) -> Phrase | None:
    """3 p.m., 3:30 PM."""
    if not CLOCK.fullmatch(ahead.head.body):
        return None
    half = follower(ahead)
    if half is None or not MERIDIEM.fullmatch(half.body):
        return None
    return Phrase(2, speak(f"{ahead.head.body} {half.body}"), mark_at(ahead, 1))


# Numbers and what they count


def measured(ahead: Lookahead, previous: str) -> Phrase | None:
    """5 kg, 3-4 km, 60 km/h."""
    if not COUNT.fullmatch(ahead.head.body):
        return None
    unit = follower(ahead)
    if unit is None or not UNIT_NAME.fullmatch(unit.body):
        return None
    return Phrase(2, speak(f"{ahead.head.body} {unit.body}"), mark_at(ahead, 1))


def mixed_number(ahead: Lookahead, previous: str) -> Phrase | None:
    """3 1/2."""
    if not ahead.head.body.isdecimal():
        return None
    part = follower(ahead)
    if part is None or not FRACTION.fullmatch(part.body):
        return None
    return Phrase(2, speak(f"{ahead.head.body} {part.body}"), part.mark)


def great_sum(ahead: Lookahead, previous: str) -> Phrase | None:
    """$5 million."""
    matched = SUM.fullmatch(ahead.head.body)
    magnitude = follower(ahead) if matched else None
    if not matched or magnitude is None or magnitude.body.lower() not in LONG_MAGNITUDES:
        return None
    sign = speak(matched[1] + "0").removesuffix("zero") if matched[1] else ""
    spoken = amount(matched["symbol"], matched["number"], MAGNITUDES[magnitude.body.lower()])
    return Phrase(2, sign + spoken, magnitude.mark)


def phone_number(ahead: Lookahead, previous: str) -> Phrase | None:
    """+1 (555) 123-4567: the longest run of tokens that makes one, digit by digit."""
    if not PHONE_START.fullmatch(ahead.head.body) or not continues_phone(ahead.head):
        return None
    bodies, found = [ahead.head.body], None
    for index in range(1, PHONE_TOKENS):
        token = ahead.token(index)
        if token is None or not re.fullmatch(r"[\d.-]+", token.body):
            break
        bodies.append(token.body)
        if PHONE.fullmatch(" ".join(bodies)):
            found = Phrase(index + 1, numbers.spell_digits("".join(bodies)), token.mark)
        if not continues_phone(token):
            break
    return found


def continues_phone(token: Token) -> bool:
    return token.trail in ("", ")") and not token.closes_line


def follower(ahead: Lookahead) -> Token | None:
    """The next token, if nothing stands between it and the head."""
    return ahead.token(1) if ahead.head.is_bare else None


def mark_at(ahead: Lookahead, index: int) -> str:
    """Behind "p.m" or "ft" a period may be the abbreviation's, the sentence's, or both."""
    token = ahead.token(index)
    assert token is not None
    return ending(ahead, index) if token.trail[:1] == "." else token.mark


RULES: tuple[Rule, ...] = (
    list_number,
    month_first,
    abbreviation,
    initials,
    letter_a,
    roman_numeral,
    version,
    phone_number,
    clock_and_half,
    day_first,
    mixed_number,
    measured,
    great_sum,
)
