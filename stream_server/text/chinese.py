"""Numbers and what goes with them as they are said in Chinese: "30%" → 百分之三十, "2026-11-23" → 二零二六年十一月….

A table of shapes; the first that matches where one stands reads as far as it goes.  A shape may look at what stands
around it (2 before 个 is 两, four digits before 年 are a year).  Digits, letters and signs come in half width; what is
said is in simplified characters, whatever the text's are.  Knows no streams and no marks.
"""

import re
import unicodedata
from collections.abc import Callable

from stream_server.text.arrived import GREEK, LETTER
from stream_server.text.chinese_tables import (
    ADDRESS_MARKS,
    CURRENCIES,
    LETTERS,
    MEASURES,
    ORDERED,
    SYMBOLS,
    UNITS,
)
from stream_server.text.numbers import is_year
from stream_server.text.tables import DOMAINS

DIGITS = "零一二三四五六七八九"
PLACES = ("", "十", "百", "千")
GROUPS = ("", "万", "亿", "万亿")  # of four digits
LONGEST = 16  # digits; a longer number is read digit by digit
BEFORE = 12  # characters that a shape may look back on
SIGNS = ("负", "正", "约")  # said with the number behind them


# Numbers


def spell(digits: str) -> str:
    """Each digit by its name; anything between them is passed over."""
    return "".join(DIGITS[int(digit)] for digit in digits if digit.isdecimal())


def telephone(digits: str) -> str:
    """As digits are told on the telephone, where one is yao."""
    return ("加" if digits.startswith("+") else "") + spell(digits).replace("一", "幺")


def cardinal(digits: str) -> str:
    """Digits, perhaps with thousands commas; leading zeros and very long numbers go digit by digit."""
    digits = digits.replace(",", "")
    if len(digits) > LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return spell(digits)
    said, gap = "", False
    for order in range((len(digits) - 1) // 4, -1, -1):
        group = digits[max(0, len(digits) - 4 * order - 4) : len(digits) - 4 * order]
        if not group.strip("0"):
            gap = True
            continue
        said += ("零" if said and (gap or group[0] == "0") else "") + thousands(group) + GROUPS[order]
        gap = False
    if said.startswith("一十"):
        return said[1:]
    return "两" + said[1:] if re.match("二[千万亿]", said) else said or "零"


def thousands(group: str) -> str:
    """Up to four digits: 1020 → 一千零二十."""
    said = ""
    for place, digit in zip(range(len(group) - 1, -1, -1), group, strict=True):
        if digit != "0":
            said += DIGITS[int(digit)] + PLACES[place]
        elif said and said[-1] != "零":
            said += "零"
    return said.rstrip("零")


def decimal(number: str) -> str:
    """1,234.05 → 一千二百三十四点零五; .5 → 零点五."""
    whole, point, part = number.partition(".")
    return cardinal(whole or "0") + (f"点{spell(part)}" if point else "")


def counted(number: str) -> str:
    """A number of things: two of them are 两."""
    return "两" if number == "2" else decimal(number)


def signed(number: str) -> str:
    return f"负{decimal(number[1:])}" if number[0] == "-" else decimal(number.lstrip("+"))


# Readings of shapes; None where it is none after all

Reading = Callable[[re.Match[str]], str | None]


def address(match: re.Match[str]) -> str:
    """Letters as they stand, marks by name, digits one by one; the scheme and www are not said."""
    text = re.sub(r"^(?:https?://)?(?:www\.)?|/$", "", match.group(), flags=re.IGNORECASE)
    pieces = re.findall(r"[^\W\d_]+|\d|.", text)
    return "".join(spell(each) if each.isdecimal() else ADDRESS_MARKS.get(each, each) for each in pieces)


def date(match: re.Match[str]) -> str | None:
    year, month, day = match[1], int(match[3]), int(match[4])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{spell(year)}年{cardinal(str(month))}月{cardinal(str(day))}日"


def american_date(match: re.Match[str]) -> str | None:
    """Month first, unless that cannot be."""
    month, day = sorted((int(match[1]), int(match[2]))) if int(match[1]) > 12 else (int(match[1]), int(match[2]))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return f"{spell(match[3])}年{cardinal(str(month))}月{cardinal(str(day))}日"


def month_of_year(match: re.Match[str]) -> str:
    return f"{spell(match[1])}年{cardinal(str(int(match[2])))}月"


def clock(match: re.Match[str]) -> str:
    hour, minute, second = match["hour"], match["minute"], match["second"]
    said = half_of_day(match["half"]) + counted(str(int(hour))) + "点"
    if minute != "00" or second:
        said += ("零" if minute[0] == "0" and minute != "00" else "") + cardinal(str(int(minute))) + "分"
    if second:
        said += ("零" if second[0] == "0" and second != "00" else "") + cardinal(str(int(second))) + "秒"
    return said


def hour(match: re.Match[str]) -> str:
    return f"{half_of_day(match[2])}{counted(match[1])}点"


def half_of_day(letters: str | None) -> str:
    return "" if not letters else "上午" if letters[0] in "aA" else "下午"


def percent(match: re.Match[str]) -> str:
    """30%, 3-5%, 3%-5%."""
    parts = {"%": "百分之", "‰": "千分之"}
    low, first, high, last = match["low"], match["first"], match["number"], match["sign"]
    if low is None:
        return parts[last] + decimal(high)
    return f"{parts[first or last]}{decimal(low)}到{parts[last] if first else ''}{decimal(high)}"


def money(match: re.Match[str]) -> str:
    number = match["number"]
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    said = decimal(number) if not match["many"] else counted(number) + match["many"]
    return (said if said != "二" else "两") + CURRENCIES[match["symbol"]]


def power_of_ten(match: re.Match[str]) -> str:
    return f"{decimal(match[1])}乘十的{signed(match[2])}次方"


def power(match: re.Match[str]) -> str:
    return f"{decimal(match[1])}的{signed(match[2])}次方"


def quantity(match: re.Match[str]) -> str:
    per = match["per"]
    return counted(match["number"]) + UNITS[match["unit"]] + (f"每{UNITS[per]}" if per else "")


def version(match: re.Match[str]) -> str:
    """2.0.1, 192.168.0.1."""
    return "点".join(map(cardinal, match.group().split(".")))


def year(match: re.Match[str]) -> str | None:
    return spell(match[1]) if is_year(match[1]) else None


def code(match: re.Match[str]) -> str | None:
    """Digits of a number that counts nothing: 验证码 123456."""
    before = match.string[max(0, match.start() - BEFORE) : match.start()]
    return telephone(match.group()) if CODE_BEFORE.search(before) else None


def number(match: re.Match[str]) -> str:
    text, start = match.string, match.start()
    after = text[match.end() : match.endpos].lstrip(" ")[:1]
    many = match["many"]
    if match["number"] == "2" and (many or after in MEASURES) and text[start - 1 : start] not in tuple(ORDERED):
        return "两" + many
    return decimal(match["number"]) + many


def dash(match: re.Match[str]) -> str:
    """Between numbers a range, or where the result follows a difference; before one alone a sign."""
    before = match.string[max(0, match.start() - BEFORE) : match.start()]
    if not COUNTED_BEFORE.search(before):
        return "负" if match[1] in "-–" else "约"
    return "到" if match["equals"] is None else "减"


def plus(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - BEFORE) : match.start()]
    return "加" if COUNTED_BEFORE.search(before) or re.search(r"[A-Za-z²³)] ?$", before) else "正"


def any_of(words: dict[str, str] | set[str]) -> str:
    return "|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word))))


N = r"(?:(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?|\.\d+)"
UNIT = any_of(UNITS)
END = r"(?![A-Za-z\d])"
WORD = rf"{LETTER}+"
BEHIND_SPACE = re.compile(rf"\d|(?:{UNIT}|[aApP]\.?[mM]){END}|[%‰]")  # a number goes on with it
CODE_BEFORE = re.compile(
    r"(?:码|电话|热线|手机|[账帐型编尾单证票房车卡代批序Q]号|QQ)(?:是|为|：|:|\s){0,3}$|0\d{2,3}[)）]\s?$"
)
COUNTED_BEFORE = re.compile(r"\d(?: ?(?:[%‰]|[\u4e00-\u9fff]{1,2}|°?[A-Za-z℃℉°²³]{1,4}))?$")

SHAPES: list[tuple[re.Pattern[str], Reading]] = [
    (re.compile(pattern), reading)
    for pattern, reading in [
        (r"(?:https?://|www\.)[!-~]*[A-Za-z\d/]", address),
        (r"[A-Za-z\d_.+-]+@[A-Za-z\d-]+(?:\.[A-Za-z\d-]+)+", address),
        (rf"(?:[A-Za-z\d-]+\.)+(?:{any_of(DOMAINS)}){END}(?:/[!-~]*[A-Za-z\d/])?", address),
        (r"(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)", lambda m: telephone(m.group())),
        (r"0\d{2,3}(?:[)-] ?|\) )\d{7,8}(?:-\d{1,6})?(?!\d)", lambda m: telephone(m.group())),
        (r"0\d{2,3}(?=[)）])", lambda m: telephone(m.group())),
        (r"[48]00-\d{3,4}-\d{3,4}(?!\d)", lambda m: telephone(m.group())),
        (r"(\d{4})([-/.])(\d\d?)\2(\d\d?)(?![\d.])(?:T(?=\d))?", date),
        (r"\d+(?:-\d+){2,}", lambda m: telephone(m.group())),
        (r"(\d\d?)/(\d\d?)/((?:19|20)\d\d)(?!\d)", american_date),
        (r"((?:19|20)\d\d)[-/](0[1-9]|1[0-2])(?![\d/-])", month_of_year),
        (r"(?P<hour>[01]?\d|2[0-4])[:：](?P<minute>[0-5]\d)(?:[:：](?P<second>[0-5]\d))?(?!\d)"
         rf"(?: ?(?P<half>[aApP]\.?[mM]){END}\.?)?", clock),
        (rf"(1[0-2]|[1-9]) ?([aApP]\.?[mM]){END}\.?", hour),
        (r"(\d+)[:：](\d+)", lambda m: f"{cardinal(m[1])}比{cardinal(m[2])}"),
        (rf"(?:(?P<low>{N})(?P<first>[%‰])?[-–~])?(?P<number>{N}) ?(?P<sign>[%‰])", percent),
        (rf"(?P<symbol>{any_of(CURRENCIES)}) ?(?P<number>{N})(?P<many>[百千万亿]*)", money),
        (rf"({N}) ?[*×] ?10\^([+-]?\d+)", power_of_ten),
        (rf"({N})[eE]([+-]?\d+){END}", power_of_ten),
        (rf"({N})\^([+-]?\d+)", power),
        (r"24/7(?!\d)", lambda m: "二十四七"),
        (r"(\d+)/(\d+)(?![\d/])", lambda m: f"{cardinal(m[2])}分之{cardinal(m[1])}"),
        (r"\d+(?:\.\d+){2,}", version),
        (rf"(?P<number>{N}) ?(?P<unit>{UNIT})(?:/(?P<per>{UNIT}))?{END}", quantity),
        (r"(?<!\d)(\d{4})(?= ?年|[-–~]\d{4} ?年)", year),
        (r"((?:19|20)\d\d)(?= ?[届版款级春夏秋冬])", year),
        (r"(?<=[A-WYZa-wyz])\d{4,}(?![\d.,])", lambda m: spell(m.group())),
        (r"\d{4,}(?![\d.,])", code),
        (rf"(?P<number>{N})(?P<many>[百千万亿]*)", number),
        (r"(?<=\d)[xX](?=\d)", lambda m: "乘"),
        (rf"([-–~])(?=\.?\d|[$¥€£])(?P<equals>(?={N}=))?", dash),
        (r"\+(?=\.?\d)", plus),
        (r"[<>]=", lambda m: SYMBOLS["≤" if m.group() == "<=" else "≥"]),
        (r"[Nn][Oo]\.(\d+)", lambda m: f"第{cardinal(m[1])}"),
        (r"[cC]\+\+", lambda m: m.group()[0] + "加加"),
        (r"(?:[A-Za-z]\.){2,}|(?:[A-Za-z]\.)+[A-Za-z](?![A-Za-z])", lambda m: m.group().replace(".", "")),
        (rf"{WORD}(?:\.{WORD})+", lambda m: m.group().replace(".", "点")),
        (rf"{WORD}(?:['’]{WORD})*", lambda m: m.group()),
        (rf"[{GREEK}]+", lambda m: "".join(LETTERS.get(letter.lower(), letter) for letter in m.group())),
        (r"/(?=[\u4e00-\u9fff])", lambda m: "每"),
    ]
]  # fmt: skip


def speak(text: str, at: int, end: int) -> tuple[int, str]:
    """What stands at `at` → where it ends, and how it is said; text behind `end` has not come."""
    for pattern, reading in SHAPES:
        match = pattern.match(text, at, end)
        if match and (said := reading(match)) is not None:
            if said in SIGNS:
                stop, number = speak(text, match.end(), end)
                return stop, said + number
            return match.end(), said
    return at + 1, symbol(text[at])


def symbol(character: str) -> str:
    """½ and ① are numbers, Ⅳ and ﬁ letters; what has no name is not said."""
    said = SYMBOLS.get(character)
    plain = unicodedata.normalize("NFKC", character).replace("⁄", "/")
    if said is not None or plain == character or not plain.isprintable():
        return said or (character if character.isalnum() else "")
    pieces, at = "", 0
    while at < len(plain):
        at, piece = speak(plain, at, len(plain)) if plain[at] != character else (at + 1, "")
        pieces += piece
    return pieces
