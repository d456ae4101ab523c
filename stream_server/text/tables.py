"""What people write short and say long: the word lists behind the readings.  Data only."""

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
MONTH_NAMES = {month: month for month in MONTHS} | {month[:3]: month for month in MONTHS} | {"sept": "september"}

#: symbol: (one, many)
CURRENCIES = {
    "$": ("dollar", "dollars"), "€": ("euro", "euros"), "£": ("pound", "pounds"), "¥": ("yen", "yen"),
    "₹": ("rupee", "rupees"),
}  # fmt: skip
CENTS = {"$": ("cent", "cents"), "€": ("cent", "cents"), "£": ("penny", "pence"), "₹": ("paisa", "paise")}

MAGNITUDES = {
    "hundred": "hundred", "thousand": "thousand", "million": "million", "billion": "billion", "trillion": "trillion",
    "k": "thousand", "m": "million", "mn": "million", "mio": "million", "bn": "billion", "b": "billion",
    "tn": "trillion",
}  # fmt: skip

#: Written right after a number or as the word behind it; case matters (Mb is not MB).
UNITS = {
    "%": ("percent", "percent"), "°": ("degree", "degrees"), "°C": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"), "¢": ("cent", "cents"),
    "km": ("kilometer", "kilometers"), "cm": ("centimeter", "centimeters"), "mm": ("millimeter", "millimeters"),
    "nm": ("nanometer", "nanometers"), "um": ("micrometer", "micrometers"), "m": ("meter", "meters"),
    "ft": ("foot", "feet"), "yd": ("yard", "yards"), "mi": ("mile", "miles"),
    "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"), "kmh": ("kilometer per hour", "kilometers per hour"),
    "kg": ("kilogram", "kilograms"), "mg": ("milligram", "milligrams"), "g": ("gram", "grams"),
    "ug": ("microgram", "micrograms"), "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"),
    "l": ("liter", "liters"), "L": ("liter", "liters"), "ml": ("milliliter", "milliliters"),
    "mL": ("milliliter", "milliliters"), "cl": ("centiliter", "centiliters"), "gal": ("gallon", "gallons"),
    "s": ("second", "seconds"), "sec": ("second", "seconds"), "secs": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"), "us": ("microsecond", "microseconds"), "ns": ("nanosecond", "nanoseconds"),
    "min": ("minute", "minutes"), "mins": ("minute", "minutes"), "h": ("hour", "hours"), "hr": ("hour", "hours"),
    "hrs": ("hour", "hours"), "yr": ("year", "years"), "yrs": ("year", "years"),
    "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "dB": ("decibel", "decibels"),
    "B": ("byte", "bytes"), "kB": ("kilobyte", "kilobytes"), "KB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"), "GB": ("gigabyte", "gigabytes"), "TB": ("terabyte", "terabytes"),
    "PB": ("petabyte", "petabytes"), "KiB": ("kibibyte", "kibibytes"), "MiB": ("mebibyte", "mebibytes"),
    "GiB": ("gibibyte", "gibibytes"), "Mb": ("megabit", "megabits"), "Gb": ("gigabit", "gigabits"),
    "kbps": ("kilobit per second", "kilobits per second"), "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"), "fps": ("frame per second", "frames per second"),
    "rpm": ("revolution per minute", "revolutions per minute"), "px": ("pixel", "pixels"),
    "W": ("watt", "watts"), "kW": ("kilowatt", "kilowatts"), "MW": ("megawatt", "megawatts"),
    "kWh": ("kilowatt hour", "kilowatt hours"), "mAh": ("milliamp hour", "milliamp hours"), "V": ("volt", "volts"),
    "mA": ("milliamp", "milliamps"), "ohm": ("ohm", "ohms"), "J": ("joule", "joules"),
    "kJ": ("kilojoule", "kilojoules"),
    "cal": ("calorie", "calories"), "kcal": ("kilocalorie", "kilocalories"), "ha": ("hectare", "hectares"),
    "m²": ("square meter", "square meters"), "m2": ("square meter", "square meters"),
    "km²": ("square kilometer", "square kilometers"), "km2": ("square kilometer", "square kilometers"),
    "m³": ("cubic meter", "cubic meters"), "cm³": ("cubic centimeter", "cubic centimeters"),
    "sq": ("square", "square"), "USD": ("dollar", "dollars"), "EUR": ("euro", "euros"), "GBP": ("pound", "pounds"),
    "JPY": ("yen", "yen"),
}  # fmt: skip
#: These mean something else as a word behind a number ("5 in the morning", "5 A students").
GLUED_UNITS = {
    "in": ("inch", "inches"), "A": ("amp", "amps"), "x": ("times", "times"), "bn": ("billion", "billion"),
    "mn": ("million", "million"), "tn": ("trillion", "trillion"),
}  # fmt: skip
PER = {"h": "hour", "hr": "hour", "s": "second", "sec": "second", "min": "minute", "mo": "month", "yr": "year"}

#: Capitalised and before a name; their period never ends a sentence.
TITLES = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "messrs": "messers", "prof": "professor", "gen": "general",
    "sen": "senator", "rep": "representative", "gov": "governor", "capt": "captain", "lt": "lieutenant",
    "sgt": "sergeant", "col": "colonel", "cmdr": "commander", "rev": "reverend", "pres": "president", "mt": "mount",
    "ft": "fort",
}  # fmt: skip
#: In any case; their period never ends a sentence either.
SHORT_FORMS = {
    "vs": "versus", "e.g": "for example", "eg": "for example", "i.e": "that is", "ie": "that is",
    "approx": "approximately", "cf": "compare", "viz": "namely", "resp": "respectively", "fig": "figure",
    "figs": "figures", "eq": "equation", "vol": "volume", "pp": "pages", "dept": "department",
}  # fmt: skip
#: Said long without their period, too.
BARE_FORMS = {"Mr", "Mrs", "Ms", "Dr", "vs", "approx"}
#: Their period may end the sentence as well; only the next word tells.
ENDINGS = {"etc": "et cetera", "ave": "avenue", "blvd": "boulevard", "hwy": "highway", "tel": "telephone"}
#: So may these, but a name often follows them: only a word that starts sentences tells.
NAME_ENDINGS = {
    "inc": "incorporated", "ltd": "limited", "corp": "corporation", "jr": "junior", "sr": "senior",
}  # fmt: skip
#: The same, where capitalised.
CAPITAL_ENDINGS = {
    "co": "company", "jan": "january", "feb": "february", "apr": "april", "jun": "june", "jul": "july",
    "aug": "august", "sept": "september", "sep": "september", "oct": "october", "nov": "november", "dec": "december",
    "mon": "monday", "tue": "tuesday", "tues": "tuesday", "wed": "wednesday", "thu": "thursday", "thurs": "thursday",
    "fri": "friday",
}  # fmt: skip
#: Capitalised words that begin sentences far more often than they follow "U.S." or "Inc.".
STARTERS = {
    "the", "a", "an", "it", "its", "he", "she", "his", "her", "they", "their", "we", "our", "you", "your", "i", "my",
    "this", "that", "these", "those", "there", "then", "but", "and", "so", "or", "if", "when", "while", "what", "who",
    "why", "how", "where", "in", "on", "at", "for", "from", "to", "by", "with", "as", "after", "before", "however",
    "is", "are", "was", "were", "do", "does", "did", "can", "will", "yes", "no", "not", "now", "let", "please",
}  # fmt: skip

#: Read as given, whatever the rules below would say; keys in lower case.
SPECIAL = {
    "24/7": "twenty four seven", "9/11": "nine eleven", "50/50": "fifty fifty", "20/20": "twenty twenty",
    "c++": "c plus plus", "c#": "c sharp", "f#": "f sharp", "w/": "with", "w/o": "without", "and/or": "and or",
    "n/a": "not applicable", "km/h": "kilometers per hour", "m/s": "meters per second", "phd": "p h d",
    "ph.d": "p h d", "ok": "okay", "ieee": "i triple e", "ios": "i o s", "macos": "mac o s", "o'clock": "o'clock",
    "hmm": "hum", "hmmm": "hum", "mm": "hum", "mmm": "hum", "shh": "shush", "psst": "pist", "brr": "burr",
    "pfft": "puft", "grr": "gurr", "mhm": "um hum", "nth": "enth", "n": "en", "a/c": "ay c",
    "at&t": "ay t and t",
    "jpeg": "jay peg", "wifi": "why fie", "wi-fi": "why fie", "sql": "sequel", "mysql": "my sequel",
    "json": "jason", "yaml": "yammel", "gpus": "g p u's", "cpus": "c p u's", "llms": "l l m's", "iot": "i o t",
}  # fmt: skip

#: Capitals of two and three letters that are words, or said as one.
COMMON_SHORT = {
    "am", "an", "as", "at", "be", "by", "do", "go", "he", "hi", "if", "in", "is", "it", "me", "my", "no", "of",
    "oh", "on", "or", "so", "to", "up", "we", "all", "and", "any", "are", "ask", "bad", "bag", "bar", "bed", "big",
    "bit", "box", "boy", "bus", "but", "buy", "can", "car", "cat", "cup", "cut", "day", "did", "die", "dog", "due",
    "eat", "end", "far", "few", "fly", "for", "fun", "get", "god", "got", "had", "has", "her", "hey", "him", "his",
    "hit", "hot", "how", "its", "job", "joy", "key", "kid", "law", "led", "let", "lie", "lot", "low", "mad", "man",
    "map", "may", "men", "met", "mom", "new", "nor", "not", "now", "odd", "off", "old", "one", "our", "out", "own",
    "pay", "put", "ran", "red", "run", "sad", "saw", "say", "see", "set", "she", "sit", "six", "sky", "son", "sun",
    "tax", "ten", "the", "too", "top", "try", "two", "use", "war", "was", "way", "wet", "who", "why", "win", "won",
    "yes", "yet", "you", "ram", "rom", "sim", "pin", "gif", "zip",
}  # fmt: skip
#: Longer capitals with a vowel that are still spelled.
SPELLED_LONG = {
    "ISBN", "YMCA", "YWCA", "NAACP", "AARP", "ESPN", "UCLA", "ICAO", "USSR", "OECD", "LAPD", "USPS", "IPCC", "ASAP",
    "HTTPS", "IMDB", "RSVP", "NCAA", "USDA", "ASMR", "USCIS", "ADHD", "AWS", "IBAN", "UUID", "OLED", "AMOLED",
    "UNHCR",
}  # fmt: skip
#: Capitals without a vowel that are words.
VOWELLESS_WORDS = {"BY", "CRY", "DRY", "FLY", "GYM", "HYMN", "LYNX", "MY", "MYTH", "PSST", "SHY", "SKY", "SPY", "TRY",
                   "WHY", "MR", "MRS", "DR", "RHYTHM", "VS"}  # fmt: skip

#: Suffixes of domains and files that are said letter by letter, whatever they look like.
SPELLED_SUFFIXES = {
    "uk", "us", "io", "ai", "eu", "de", "fr", "es", "ca", "au", "nl", "ru", "ie", "tv", "py", "js", "ts", "rs", "md",
    "rb", "sh", "cc", "pdf", "txt", "csv", "tsv", "exe", "dll", "png", "svg", "html", "htm", "css", "xml", "php", "cpp",
    "gz", "tgz", "jpg", "mkv", "docx", "xlsx", "pptx", "doc", "xls", "ppt", "yml", "aac", "ogg",
}  # fmt: skip
DOMAINS = {
    "com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "dev", "app", "io", "ai", "co", "uk", "us", "eu",
    "de", "fr", "es", "it", "ca", "au", "nl", "ru", "ie", "tv", "me", "xyz", "online", "tech", "ch", "at", "jp", "cn",
}  # fmt: skip

SYMBOLS = {
    "&": "and", "+": "plus", "=": "equals", "%": "percent", "@": "at", "°": "degrees", "<": "less than",
    ">": "greater than", "±": "plus or minus", "×": "times", "÷": "divided by", "²": "squared", "³": "cubed",
    "≤": "at most", "≥": "at least", "≠": "not equal to", "≈": "about", "~": "about", "$": "dollars", "€": "euros",
    "£": "pounds", "¥": "yen", "¢": "cents", "₹": "rupees", "→": "to",
}  # fmt: skip

#: A Roman numeral behind these is a count; behind any other capitalised word, an order (Henry VIII).
ROMAN_COUNTED = {
    "war", "part", "chapter", "act", "scene", "volume", "book", "phase", "type", "class", "section", "article",
    "title", "level", "episode", "bowl", "appendix", "stage", "grade", "mark", "figure", "table", "step",
}  # fmt: skip
#: A dotted number behind these is a version: 3.11 is three point eleven.
VERSIONED = {
    "python", "java", "version", "ios", "android", "ubuntu", "macos", "node", "django", "rust", "go", "ruby", "php",
    "pytorch", "cuda", "release", "gcc", "postgres", "postgresql", "mysql", "kubernetes", "swift", "kotlin",
}  # fmt: skip
#: Behind these a lone A is the letter, not the article.
LETTERED = ROMAN_COUNTED | {"vitamin", "plan", "hepatitis", "group", "option", "team", "series", "size", "model"}
SURNAME_PREFIXES = {"Mc", "Mac", "Fitz", "Van", "De", "Le", "La", "Du", "Di"}
