"""What a scanner delivered, read as a drug traceability code (药品追溯码), or said to be none.

A till hands over whatever came out of a keyboard-wedge scanner: a 20-digit code, a GS1 element string with
or without its separators, a URL, the label's text, a product barcode scanned by mistake. This module folds
what can be folded with certainty, names what it repaired, and builds the canonical key under which a code is
compared, stored and counted. What has two readings is called AMBIGUOUS; what has none, MALFORMED. It never
guesses, never folds letter case, never accuses: a bad scan gets a hint for the clerk, not a suspicion.

This file is the readable oracle. `tracecode._native` holds its twin in C, which must agree on every text.

Canonical keys (sorted keys cluster by product):

    N + 10 bytes BCD                      20 digits
    G + 7 bytes BCD + serial (1..20)      GS1: GTIN-14 and serial
    E + the code itself (8..100)          an enterprise's own code, printable ASCII
    S + 9 bytes BCD                       SSCC of a logistic unit: a parent package among goods received

Sources named below: NMPAB/T 1002-2019 (coding of drug traceability codes), GS1 General Specifications
(GenSpecs), GS1 Digital Link URI Syntax, ISO/IEC 15424 (symbology identifiers), NHSA questions and answers of
2024-12-06, GB 18937 (本位码), GB 11643 (identity numbers). A rule marked "ours" has no official text.
"""

import calendar
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import Enum, IntEnum, IntFlag
from types import MappingProxyType
from typing import Final
from zlib import crc32

SCAN_LENGTH_MAX: Final = 4096
"""Characters of a scan that are read at all, before and after folding (ours). A field holds a code of at most
100 characters; this leaves room for a list of them."""

ENTERPRISE_LENGTH_MIN: Final = 8
"""Shortest enterprise code (ours). NMPAB/T 1002-2019 asks a code to hold a product, a serial and a check
position; fewer than eight characters cannot number the packs of one product."""

ENTERPRISE_LENGTH_MAX: Final = 100
"""Longest code on the wire: `drug_trac_codg` is a string of 100 in the NHSA interface 3505."""

URL_TOKEN_LENGTH_MIN: Final = 12
"""Shortest token that makes a URL one pack's own (ours). Shorter words name pages; the same page on every
pack, taken for a code, would look like a code sold many times."""

CENTURY_WINDOW_YEAR: Final = 2026
"""The year around which two-digit years are read. GenSpecs 7.12 slides the window with the calendar; it is
pinned here because a scan must read the same when the journal is replayed years later. The two agree for
every date within 49 years back and 50 years ahead of it, more than any drug's life."""

PARSE_STEPS_MAX: Final = 4096
"""Steps spent on looking for lost separators before a text counts as ambiguous (ours)."""

ELEMENTS_MAX: Final = 32
"""Element strings read from one GS1 symbol (ours); real packs carry four to eight."""

BUCKETS: Final = 4096

GS: Final = "\x1d"

SET_82: Final = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""GS1 character set 82, in which letter case counts (GenSpecs 7.11)."""

AROUND_A_SCAN: Final = "".join(map(chr, (*range(0x1D), 0x1E, 0x1F, 0x20, 0x7F)))
"""What may surround a scan: scanner suffixes (CR, LF, TAB), STX, ETX, spaces; not GS, which has a meaning."""


class CodeClass(IntEnum):
    """What a scan turned out to be. Numbers are for life; 0 is left for "unspecified" on the wire."""

    EMPTY = 1
    TWENTY_DIGIT = 2
    GS1 = 3
    ENTERPRISE = 4
    PLACEHOLDER = 5
    PRODUCT_BARCODE = 6
    STANDARD_DRUG_CODE = 7
    LOGISTIC_UNIT = 8
    AMBIGUOUS = 9
    MALFORMED = 10


class Repair(IntFlag):
    """What had to be undone to read the scan. Numbers are for life."""

    NONE = 0
    INVISIBLE = 1
    """Scanner suffix, byte order mark, zero-width or other invisible characters dropped."""
    FULL_WIDTH = 2
    """Full-width or other compatibility characters folded (Unicode NFKC)."""
    INNER_SPACES = 4
    """Spaces between digits removed."""
    AIM_PREFIX = 8
    """Symbology identifier such as `]d2` taken off."""
    ESCAPED_SEPARATOR = 16
    """A spelled-out separator such as `<GS>` read as GS."""
    LOST_SEPARATOR = 32
    """A missing separator put back: exactly one reading fitted."""
    LABEL_TEXT = 64
    """The code was taken out of the label's printed text."""
    URL = 128
    """The code was taken out of a URL."""
    SPLIT = 256
    """Cut out of a field that held several scans."""
    PADDED_GTIN = 512
    """A GTIN-8, -12 or -13 filled up to 14 digits."""
    INPUT_METHOD = 1024
    """Punctuation that a Chinese input method had put in place of the typed key put back."""
    BRACKETS = 2048
    """Brackets around the application identifiers taken off."""


class Hint(IntEnum):
    """What the clerk should do; texts in `HINT_TEXTS`. Numbers are for life."""

    NONE = 0
    RESCAN = 1
    CAPS_LOCK = 2
    KEYBOARD_LAYOUT = 3
    SEPARATOR_LOST = 4
    SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE = 5
    SCAN_ONE_AT_A_TIME = 6
    CHECK_DIGIT = 7
    PLACEHOLDER = 8
    WRONG_LENGTH = 9
    NO_SERIAL = 10
    URL_WITHOUT_CODE = 11
    TWO_CANDIDATES = 12
    DRUG_CODE = 13
    PERSON_ID = 14
    NOT_SCANNED = 15


@dataclass(frozen=True, slots=True)
class HintText:
    """One hint in both languages: what is the matter, then what to do."""

    zh_cn: str
    en: str


HINT_TEXTS: Final[Mapping[Hint, HintText]] = MappingProxyType(
    {
        Hint.RESCAN: HintText(
            "扫码内容无法识别。请对准药盒上的药品追溯码重新扫描。",
            "The scan cannot be read as a code. Aim at the traceability code on the box and scan again.",
        ),
        Hint.CAPS_LOCK: HintText(
            "大小写可能被颠倒。请关闭大写锁定键（Caps Lock）后重新扫描；"
            "这是扫码设备的问题，不代表药品有问题。",
            "Upper and lower case seem swapped. Turn Caps Lock off and scan again; "
            "this is the keyboard's doing and says nothing about the drug.",
        ),
        Hint.KEYBOARD_LAYOUT: HintText(
            "键盘布局或中文输入法改变了扫码内容。请切换到英文（美式键盘）输入后重新扫描。",
            "The keyboard layout or a Chinese input method changed the scan. "
            "Switch to English input (US keyboard) and scan again.",
        ),
        Hint.SEPARATOR_LOST: HintText(
            "GS1 分隔符（GS）丢失，内容可能有多种读法。"
            "请把扫码枪设置为发送 GS 和 AIM 前缀（如 ]d2）后重新扫描。",
            "The GS1 separator was lost, so the scan may be read in several ways. "
            "Set the scanner to send GS and the AIM prefix (such as ]d2), then scan again.",
        ),
        Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE: HintText(
            "扫到的是商品条码（69码）或本位码，不是药品追溯码。请扫描盒上每盒不同的药品追溯码。",
            "This is the product barcode (69 code) or the standard drug code, not the traceability code. "
            "Scan the code that differs on every box.",
        ),
        Hint.SCAN_ONE_AT_A_TIME: HintText(
            "一次扫入了多个码，且无法可靠拆开。请逐盒扫描。",
            "Several scans ran into one and cannot be taken apart safely. Scan one box at a time.",
        ),
        Hint.CHECK_DIGIT: HintText(
            "校验位不符，可能误读或手工录入有误。请重新扫描。",
            "The check digit does not fit: misread or mistyped. Scan again.",
        ),
        Hint.PLACEHOLDER: HintText(
            "这是占位内容，不是真实的药品追溯码。请扫描实物；确实无码的，请按无码药品规定上报。",
            "This is a placeholder, not a real code. Scan the box itself; "
            "if it truly has no code, report it under the rule for drugs without a code.",
        ),
        Hint.WRONG_LENGTH: HintText(
            "长度不符合任何已知的追溯码（常见为20位数字）。请完整地重新扫描，不要补位或截断。",
            "No known code has this length (the usual one has 20 digits). "
            "Scan the whole symbol again; do not pad or cut it.",
        ),
        Hint.NO_SERIAL: HintText(
            "此条码不含序列号，不能区分到每一盒。请扫描盒上的药品追溯码（通常为二维码）。",
            "This symbol has no serial number and cannot tell one box from another. "
            "Scan the traceability code, usually the two-dimensional one.",
        ),
        Hint.URL_WITHOUT_CODE: HintText(
            "这是一个不含追溯码的网址。请扫描药品追溯码，而不是宣传或说明二维码。",
            "This is a web address without a code. Scan the traceability code, not the leaflet's QR code.",
        ),
        Hint.TWO_CANDIDATES: HintText(
            "内容里有不止一个可能的码，无法确定是哪一个。请只扫描药品追溯码本身。",
            "More than one code can be read from this. Scan the traceability code alone.",
        ),
        Hint.DRUG_CODE: HintText(
            "这是医保药品编码或批准文号，不是药品追溯码。请扫描盒上的药品追溯码。",
            "This is an insurance drug code or an approval number, not a traceability code. Scan the box.",
        ),
        Hint.PERSON_ID: HintText(
            "这像是身份证号码，请勿录入追溯码栏。请扫描药品追溯码。",
            "This looks like an identity number, which must not be entered here. Scan the traceability code.",
        ),
        Hint.NOT_SCANNED: HintText(
            "没有扫码内容。请扫描药盒上的药品追溯码。",
            "Nothing was scanned. Scan the traceability code on the box.",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One scan as read.

    raw: the scan as it came, whole, also when several readings were cut out of it.
    code_class: what it is.
    key: the canonical key; b"" when it identifies nothing.
    text: 20 digits, "(01)…(21)…", "(00)…", an enterprise's code, a product's digits; else the folded scan.
    identifier: the first 7 digits of a 20-digit code (药品标识码), or the GTIN-14; else "".
    lot: AI 10 of a GS1 string. expiry, production: AI 17 and AI 11, day 00 being the month's last.
    repairs: what was undone. hint: what the clerk should do; NONE when nothing is to be done.
    foreign_issuer: 20 digits that do not begin with 8 (not issued by 码上放心).
    """

    raw: str
    code_class: CodeClass
    key: bytes = b""
    text: str = ""
    identifier: str = ""
    lot: str = ""
    expiry: date | None = None
    production: date | None = None
    repairs: Repair = Repair.NONE
    hint: Hint = Hint.NONE
    foreign_issuer: bool = False


# Application identifiers ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApplicationIdentifier:
    """One GS1 application identifier (GenSpecs chapter 3).

    digits: how many leading characters of the value must be digits; the rest is character set 82.
    length_min, length_max: of the value, in characters.
    predefined: the value's length is predefined and no separator follows (GenSpecs 7.8.5).
    is_date: the value is YYMMDD. has_check_digit: the value ends in a mod 10 check digit that is verified.
    """

    number: str
    digits: int
    length_min: int
    length_max: int
    predefined: bool
    is_date: bool
    has_check_digit: bool

    def fits(self, value: str) -> bool:
        """Whether the value has the length, the characters and, for a date, the days this identifier asks."""
        return (
            self.length_min <= len(value) <= self.length_max
            and (not self.digits or _is_digits(value[: self.digits]))
            and _in_set_82(value)
            and not (self.is_date and read_date(value) is None)
        )


def _identifiers() -> Iterator[ApplicationIdentifier]:
    # One row: numbers, then digits, length_min, length_max of the value. "310-316:5" stands for 3100..3165.
    table = """
    00 18 18 18 | 01-03 14 14 14 | 10 0 1 20 | 11-13 6 6 6 | 15-17 6 6 6 | 20 2 2 2 | 21-22 0 1 20
    235 0 1 28 | 240-241 0 1 30 | 242 6 1 6 | 243 0 1 20 | 250-251 0 1 30 | 253 13 13 30 | 254 0 1 20
    255 25 13 25 | 30 8 1 8 | 310-316:5 6 6 6 | 320-337:5 6 6 6 | 340-357:5 6 6 6 | 360-369:5 6 6 6
    37 8 1 8 | 390:9 15 1 15 | 391:9 18 4 18 | 392:9 15 1 15 | 393:9 18 4 18 | 394:3 4 4 4 | 395:5 6 6 6
    400-401 0 1 30 | 402 17 17 17 | 403 0 1 30 | 410-417 13 13 13 | 420 0 1 20 | 421 3 4 12 | 422 3 3 3
    423 15 3 15 | 424 3 3 3 | 425 15 3 15 | 426 3 3 3 | 427 0 1 3 | 4300-4301 0 1 35 | 4302-4306 0 1 70
    4307 0 2 2 | 4308 0 1 30 | 4309 20 20 20 | 4310-4311 0 1 35 | 4312-4316 0 1 70 | 4317 0 2 2
    4318 0 1 20 | 4319 0 1 30 | 4320 0 1 35 | 4321-4323 1 1 1 | 4324-4325 10 10 10 | 4326 6 6 6
    4330-4333 6 6 7 | 7001 13 13 13 | 7002 0 1 30 | 7003 10 10 10 | 7004 4 1 4 | 7005 0 1 12 | 7006 6 6 6
    7007 12 6 12 | 7008 0 1 3 | 7009 0 1 10 | 7010 0 1 2 | 7011 10 6 10 | 7020-7022 0 1 20 | 7023 0 1 30
    703:9 3 4 30 | 7040 1 4 4 | 7041 0 1 4 | 710-717 0 1 20 | 723:9 0 3 30 | 7240 0 1 20 | 7241 2 2 2
    7242 0 1 25 | 7250 8 8 8 | 7251 12 12 12 | 7252 1 1 1 | 7253-7254 0 1 40 | 7255 0 1 10 | 7256 0 1 90
    7257 0 1 70 | 7258 1 3 3 | 7259 0 1 40 | 8001 14 14 14 | 8002 0 1 20 | 8003 14 14 30 | 8004 0 1 30
    8005 6 6 6 | 8006 18 18 18 | 8007 0 1 34 | 8008 12 8 12 | 8009 0 1 50 | 8010 0 1 30 | 8011 12 1 12
    8012 0 1 20 | 8013-8014 0 1 25 | 8017-8018 18 18 18 | 8019 10 1 10 | 8020 0 1 25 | 8026 18 18 18
    8030 0 1 90 | 8040-8041 15 15 15 | 8042 32 32 32 | 8043 20 18 20 | 8110 0 1 70 | 8111 4 4 4
    8112 0 1 70 | 8200 0 1 70 | 90 0 1 30 | 91-99 0 1 90
    """
    predefined = {"00", "01", "02", "03", "11", "12", "13", "15", "16", "17", "20", "31", "32", "33", "34"}
    predefined |= {"35", "36", "41"}
    for row in table.replace("\n", "|").split("|"):
        if not row.strip():
            continue
        numbers, digits, length_min, length_max = row.split()
        span, _, decimals = numbers.partition(":")
        first, _, last = span.partition("-")
        for stem in range(int(first), int(last or first) + 1):
            for tail in range(int(decimals) + 1) if decimals else [-1]:
                number = f"{stem:0{len(first)}d}" + (str(tail) if tail >= 0 else "")
                yield ApplicationIdentifier(
                    number,
                    int(digits),
                    int(length_min),
                    int(length_max),
                    predefined=number[:2] in predefined,
                    is_date=number in ("11", "12", "13", "15", "16", "17"),
                    has_check_digit=number in ("00", "01", "02"),
                )


APPLICATION_IDENTIFIERS: Final[Mapping[str, ApplicationIdentifier]] = MappingProxyType(
    {identifier.number: identifier for identifier in _identifiers()}
)
"""Every GS1 application identifier this module reads, by number."""

PACK_IDENTIFIERS: Final = frozenset(
    ("10", "11", "15", "17", "21", "710", "711", "712", "713", "714", "715", "716", "717")
)
"""The identifiers a pack may carry beside 01 when separators are lost (ours): lot, dates, serial and the
national numbers. 30 and 37 are left out because GenSpecs 4.13 ties them to variable measure and to 02."""

AIM_PREFIXES_GS1: Final = ("]d2", "]d5", "]d8", "]C1", "]Q3", "]Q4", "]e0", "]J1")
"""Symbology identifiers of GS1 DataMatrix, GS1-128, GS1 QR, DataBar and composite, DotCode (ISO/IEC 15424);
`]d8` is what decoders send for the rectangular extension of Data Matrix."""

AIM_PREFIXES_PLAIN: Final = ("]d1", "]d7", "]C0", "]Q0", "]Q1", "]E0")
"""Symbology identifiers without GS1 data that the codes on drugs have: Data Matrix, Code 128, QR, EAN-13."""

_INVERTED_LETTERS = "Dcqj"
"""First letters that only Caps Lock makes of a d, C, Q or J: no drug carries Code One or Channel Code."""

SEPARATOR_ESCAPES: Final = (
    *(f"{left}{name}{right}" for name in ("GS", "FNC1") for left, right in ("<>", "{}", "[]", "()")),
    *("<0x1D>", "{0x1D}", "\\x1d", "\\x1D", "\\u001d", "\\u001D", "\\035", "~d029", "~1"),
    *("&#29;", "&#x1d;", "&#x1D;", "%1D", "%1d", "^]"),
    *("\u241d", "\u2194", "\u00e8"),
)
"""Spellings of GS seen from scanners, gateways and label programs (ours). U+241D is its picture, U+2194 what
Alt+029 types, U+00E8 the number 232 of FNC1 in Data Matrix."""

SEPARATOR_SIGNS: Final = ("^", "|")
"""Single signs outside character set 82 that stand for GS in GS1's own tools and in gateways."""

SEPARATOR_ESCAPES_INVERTED: Final = (
    *(f"{left}{name}{right}" for name in ("gs", "fnc1") for left, right in ("<>", "{}", "[]", "()")),
    *("<0X1d>", "{0X1d}", "\\X1d", "\\X1D", "\\U001d", "\\U001D", "~D029", "&#X1d;", "&#X1D;"),
)
"""The same with upper and lower case swapped: Caps Lock was on."""

PLACEHOLDER_WORDS: Final = frozenset(
    (
        *("无", "无码", "没有", "没有码", "无追溯码", "无条码", "没有追溯码", "暂无", "未知", "不详", "空"),
        *("拆零", "未采集", "未扫码", "0", "n/a", "na", "none", "null", "nil", "nan", "undefined"),
        *("12345678901234567890", "01234567890123456789"),
    )
)
"""Words typed or generated where a code was missing (ours), letters in lower case, without spaces."""

PLACEHOLDER_SIGNS: Final = frozenset("-/\\*._?#+=~xX")
_LABEL_WORDS = ("追溯码", "标识码", "资源码", "序列号", "监管码")

_INPUT_METHOD = {
    **dict.fromkeys("【", "["),
    **dict.fromkeys("】", "]"),
    **dict.fromkeys("「『", "{"),
    **dict.fromkeys("」』", "}"),
    **dict.fromkeys("《〈", "<"),
    **dict.fromkeys("》〉", ">"),
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    "、": ",",
    "。": ".",
}
"""What a Chinese input method types for a key, and the key's own sign (ours)."""

_LINES = {"\u0085": "\n", "\u2028": "\n", "\u2029": "\n", "\u1680": " "}
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u3164\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)

_SET_82 = re.compile(f"[{re.escape(SET_82)}]*")
_AIM_PREFIX = re.compile(r"\][A-Za-z][0-9A-Za-z]")
_LEADING_GTIN = re.compile(r"01[0-9]{14}")
_LEADING_SSCC = re.compile(r"00[0-9]{18}")
_TWENTY_ALONE = re.compile(r"(?<![0-9A-Za-z])[0-9]{20}(?![0-9A-Za-z])")
_SEVEN_AND_THIRTEEN = re.compile(r"([0-9]{7})[ \-+\t\r\n]{1,3}([0-9]{13})")
_GARBLED_PREFIX = re.compile(
    f"[^0-9A-Za-z]?(?:{'|'.join(prefix[1:] for prefix in AIM_PREFIXES_GS1)})(01[0-9]{{14}})", re.DOTALL
)
_URL = re.compile(r"(https?)://", re.ASCII | re.IGNORECASE)
_URL_END = re.compile("[^!#-;=?-~]")
_FIELD_END = re.compile(r"[,;\r\n\t]")
_NEXT_SCAN = re.compile(
    "|".join((*map(re.escape, (*AIM_PREFIXES_GS1, *AIM_PREFIXES_PLAIN)), "(?i:https?://)")), re.ASCII
)
_DRUG_CODE = re.compile(
    r"X[A-V][0-9]{2}[A-Z]{2}[A-Z][0-9]{3}[A-Z][0-9]{12}|Z[A-Z][0-9]{2}[A-Z]{2}[A-Z][0-9]{13}|[HZSJTFB][CJ]?[0-9]{8}"
)
_PERSON_ID = re.compile(
    r"[1-9][0-9]{5}(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx]"
)
_ESCAPED = re.compile("|".join(map(re.escape, (*SEPARATOR_ESCAPES, *SEPARATOR_SIGNS))))
_ESCAPED_INVERTED = re.compile("|".join(map(re.escape, SEPARATOR_ESCAPES_INVERTED)))
_SPELLED_OUT = re.compile("|".join(map(re.escape, (*SEPARATOR_ESCAPES, *SEPARATOR_ESCAPES_INVERTED))))


class _Symbology(Enum):
    """What the AIM prefix says: nothing, GS1 data, or data of another kind."""

    UNSAID = 0
    GS1 = 1
    OTHER = 2


# The door ---------------------------------------------------------------------------------------------------


def read_scan(raw: str) -> tuple[Reading, ...]:
    """Read one scan; several readings only when several scans ran together and every part is a code.

    Takes any text of any length and raises nothing. Source of the order of rules: ours; each rule names its
    own.
    """
    if len(raw) > SCAN_LENGTH_MAX:
        return (Reading(raw, CodeClass.MALFORMED, hint=Hint.WRONG_LENGTH),)
    folded, repairs = fold(raw)
    if len(folded) > SCAN_LENGTH_MAX:
        return (Reading(raw, CodeClass.MALFORMED, hint=Hint.WRONG_LENGTH),)
    text = folded.strip(AROUND_A_SCAN)
    if text != folded:
        repairs |= Repair.INVISIBLE
    readings = _read_fields(text)
    if repairs & Repair.INPUT_METHOD:
        readings = [_doubt_punctuation(reading, text) for reading in readings]
    return tuple(replace(reading, raw=raw, repairs=reading.repairs | repairs) for reading in readings)


def key_text(key: bytes) -> str:
    """The canonical text of a key: 20 digits, "(01)…(21)…", "(00)…" or the enterprise's code.

    Raises ValueError when the bytes are no canonical key.
    """
    kind, payload = key[:1], key[1:]
    digits = payload.hex()
    if kind == b"N" and len(payload) == 10 and digits.isdigit():
        return digits
    if kind == b"S" and len(payload) == 9 and digits.isdigit():
        return f"(00){digits}"
    if kind == b"G" and 8 <= len(payload) <= 27 and digits[:14].isdigit() and payload[7:].isascii():
        return f"(01){digits[:14]}(21){payload[7:].decode('ascii')}"
    if kind == b"E" and 1 <= len(payload) <= ENTERPRISE_LENGTH_MAX and payload.isascii():
        return payload.decode("ascii")
    raise ValueError(f"not a canonical key: {key!r}; keys come from Reading.key and begin with N, G, S or E")


def bucket(key: bytes) -> int:
    """The bucket 0..4095 of a key: crc32 modulo 4096, so that codes can be spread over engines (ours)."""
    return crc32(key) % BUCKETS


# Folding ----------------------------------------------------------------------------------------------------


def fold(raw: str) -> tuple[str, Repair]:
    """Fold what a scanner or an input method did to single characters; ASCII passes untouched.

    Full-width characters become ASCII (Unicode NFKC), invisible ones vanish, Chinese punctuation becomes the
    key that was typed, unpaired surrogates become U+FFFD. Shared by both twins. Ours.
    """
    if raw.isascii():
        return raw, Repair.NONE
    repairs = Repair.NONE
    text = unicodedata.normalize("NFKC", raw)
    if text != raw:
        repairs |= Repair.FULL_WIDTH
    if text.startswith("ï»¿"):
        # A UTF-8 byte order mark that was decoded as Latin-1 on its way here.
        text = text[3:]
        repairs |= Repair.INVISIBLE
    kept = []
    for character in text:
        category = "" if character.isascii() else unicodedata.category(character)
        if category == "Cf" or (category and _INVISIBLE.match(character)):
            repairs |= Repair.INVISIBLE
        elif category == "Cs":
            kept.append("\ufffd")
        elif character in _LINES:
            kept.append(_LINES[character])
        elif character in _INPUT_METHOD:
            kept.append(_INPUT_METHOD[character])
            repairs |= Repair.INPUT_METHOD
        else:
            kept.append(character)
    return "".join(kept), repairs


# Several scans in one field ---------------------------------------------------------------------------------


def _read_fields(text: str) -> list[Reading]:
    """Read a stripped text as one scan, or as several when each part is a code (ours).

    Two scans can be joined by `,` `;` or a line end, run together as 40 digits, or be told apart by the AIM
    prefix or the URL with which the second begins. A part that is no code spoils the split: then the whole
    is AMBIGUOUS, because neither dropping nor guessing a part would be honest.
    """
    whole = _read_one(text)
    parts = list(_parts(text))
    if not parts or parts == [text]:
        return [whole]
    readings = [_read_one(part) for part in parts]
    if all(_is_code(reading) or reading.code_class is CodeClass.PLACEHOLDER for reading in readings):
        if whole.code_class in (CodeClass.GS1, CodeClass.LOGISTIC_UNIT):
            return [Reading("", CodeClass.AMBIGUOUS, text=text, hint=Hint.SCAN_ONE_AT_A_TIME)]
        return [replace(reading, repairs=reading.repairs | Repair.SPLIT) for reading in readings]
    unsure = (CodeClass.ENTERPRISE, CodeClass.AMBIGUOUS, CodeClass.MALFORMED)
    if whole.code_class in unsure and any(map(_is_code, readings)):
        return [Reading("", CodeClass.AMBIGUOUS, text=text, hint=Hint.SCAN_ONE_AT_A_TIME)]
    return [whole]


def _is_code(reading: Reading) -> bool:
    """Whether a part stands on its own: an enterprise's code may itself hold a comma, so it does not."""
    return bool(reading.key) and reading.code_class is not CodeClass.ENTERPRISE


def _parts(text: str) -> Iterator[str]:
    for entry in _FIELD_END.split(text):
        start = 0
        for match in _NEXT_SCAN.finditer(entry):
            before = entry[start : match.start()]
            prefixed = len(before) == 3 and before[0] == "]"
            # Words before a URL belong to it, as on a label: "药品追溯码 https://…".
            if before and before.isascii() and not prefixed:
                yield from _twenties(before.strip(AROUND_A_SCAN))
                start = match.start()
        yield from _twenties(entry[start:].strip(AROUND_A_SCAN))


def _twenties(part: str) -> Iterator[str]:
    digits = part.replace(" ", "")
    glued = _is_digits(digits) and len(digits) > 20 and len(digits) % 20 == 0
    if glued and _read_one(part).code_class is CodeClass.MALFORMED:
        yield from (digits[start : start + 20] for start in range(0, len(digits), 20))
    elif part:
        yield part


# One scan ---------------------------------------------------------------------------------------------------


def _read_one(text: str) -> Reading:
    if not text:
        return Reading("", CodeClass.EMPTY, hint=Hint.NOT_SCANNED)
    symbology, body, inverted = _take_aim_prefix(text)
    if _is_placeholder(body):
        reading = Reading("", CodeClass.PLACEHOLDER, hint=Hint.PLACEHOLDER)
    elif url := _find_url(body):
        reading = _read_url(body, *url)
    else:
        reading = _read_content(body, symbology)
    if inverted:
        reading = _doubt_case(reading)
    if symbology is not _Symbology.UNSAID:
        reading = replace(reading, repairs=reading.repairs | Repair.AIM_PREFIX)
    return reading if reading.text else replace(reading, text=text)


def _read_content(body: str, symbology: _Symbology) -> Reading:
    """Read what is neither a placeholder nor a URL: the column of rules, most certain first."""
    bare = body.strip(GS)
    digits = bare.replace(" ", "")
    if _is_digits(digits):
        # A separator at an end shows that the scanner sends them, as the AIM prefix does.
        reading = _read_digits(digits, symbology if bare == body else _Symbology.GS1)
        return reading if digits == bare else replace(reading, repairs=reading.repairs | Repair.INNER_SPACES)
    if match := _SEVEN_AND_THIRTEEN.fullmatch(body):
        return _twenty_digits(match[1] + match[2], Repair.LABEL_TEXT)
    if reading_gs1 := _read_gs1(body, symbology):
        return reading_gs1
    if (match := _GARBLED_PREFIX.match(body)) and check_digit_holds(match[1][2:]):
        return Reading("", CodeClass.AMBIGUOUS, hint=Hint.KEYBOARD_LAYOUT)
    if not body.isascii():
        return _read_label(body)
    return _read_enterprise(body)


def _is_placeholder(body: str) -> bool:
    """Whether a text stands for "no code" (ours; 99999999999999999999 is what a hospital system uploads for
    every split pack): a listed word, one digit repeated, one sign alone or repeated."""
    compact = body.replace(" ", "")
    if len(set(compact)) == 1:
        if compact[0] in PLACEHOLDER_SIGNS or (len(compact) > 1 and _is_digits(compact)):
            return True
    return "".join(c.lower() if c.isascii() else c for c in compact) in PLACEHOLDER_WORDS


def _take_aim_prefix(text: str) -> tuple[_Symbology, str, bool]:
    """Take the symbology identifier off (ISO/IEC 15424; GenSpecs 5.1.3).

    Returns what it says, the body, and whether its letters arrived with upper and lower case swapped. `]E0`
    is EAN-13, but before anything else than a retail code's digits it is `]e0` with Caps Lock on.
    """
    if not _AIM_PREFIX.match(text):
        return _Symbology.UNSAID, text, False
    prefix, body = text[:3], text[3:].strip(AROUND_A_SCAN)
    retail = _is_digits(body) and len(body) in (8, 12, 13)
    inverted = prefix[1] in _INVERTED_LETTERS or (prefix == "]E0" and body.startswith("01") and not retail)
    if inverted:
        prefix = prefix.swapcase()
    return (_Symbology.GS1 if prefix in AIM_PREFIXES_GS1 else _Symbology.OTHER), body, inverted


def _twenty_digits(digits: str, repairs: Repair = Repair.NONE) -> Reading:
    """20 digits: 7 of the product, 9 of the item, 4 of a secret check (NMPAB/T 1002-2019, case a)."""
    if _is_placeholder(digits):
        return Reading("", CodeClass.PLACEHOLDER, repairs=repairs, hint=Hint.PLACEHOLDER)
    return Reading(
        "",
        CodeClass.TWENTY_DIGIT,
        key=b"N" + bytes.fromhex(digits),
        text=digits,
        identifier=digits[:7],
        repairs=repairs,
        foreign_issuer=digits[0] != "8",
    )


def _read_digits(digits: str, symbology: _Symbology) -> Reading:
    """Read a text of digits only.

    20 digits are a 20-digit code first (NMPAB/T 1002-2019). Without an AIM prefix they may also be GS1: a
    GTIN with a two-digit lot or serial (01…10xx, 01…21xx) or an SSCC (00…); with a fitting check digit that
    is AMBIGUOUS (ours). No GS1 string of ours begins with 8. 8, 12, 13 and 14 digits are product barcodes
    (NHSA question of 2024-12-06: scan the traceability code instead), 14 beginning 869 the 本位码 (GB 18937).
    18 to 26 digits that lax clients cut into 7 and the rest stay MALFORMED.
    """
    length = len(digits)
    if length == 20:
        if digits[0] == "8" or symbology is _Symbology.OTHER:
            return _twenty_digits(digits)
        if symbology is _Symbology.UNSAID:
            as_gtin = digits[:2] == "01" and digits[16:18] in ("10", "21") and check_digit_holds(digits[2:16])
            as_sscc = digits[:2] == "00" and check_digit_holds(digits[2:])
            if as_gtin or as_sscc:
                return Reading("", CodeClass.AMBIGUOUS, hint=Hint.SEPARATOR_LOST)
            return _twenty_digits(digits)
    if length in (8, 12, 13, 14) and symbology is not _Symbology.GS1:
        if not check_digit_holds(digits):
            return Reading("", CodeClass.MALFORMED, hint=Hint.CHECK_DIGIT)
        standard = length == 14 and digits.startswith("869")
        return Reading(
            "",
            CodeClass.STANDARD_DRUG_CODE if standard else CodeClass.PRODUCT_BARCODE,
            text=digits,
            identifier="" if standard else digits.zfill(14),
            hint=Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE,
        )
    if reading := _read_gs1(digits, symbology):
        return reading
    if _is_person_id(digits):
        return Reading("", CodeClass.MALFORMED, hint=Hint.PERSON_ID)
    if length > 20 and length % 20 == 0:
        return Reading("", CodeClass.MALFORMED, hint=Hint.SCAN_ONE_AT_A_TIME)
    if 27 <= length <= ENTERPRISE_LENGTH_MAX and digits[0] != "8":
        return _enterprise(digits)
    return Reading("", CodeClass.MALFORMED, hint=Hint.WRONG_LENGTH)


def _read_label(body: str) -> Reading:
    """Read the label's printed text: "药品标识码：8385793 序列号：0000879766660", 7 and 13 digits of one
    code, or a label word and 20 digits (seen on boxes; ours)."""
    if "国药准字" in body:
        missing = Hint.DRUG_CODE
    elif any(word in body for word in _LABEL_WORDS):
        missing = Hint.RESCAN
    else:
        return Reading("", CodeClass.MALFORMED, hint=Hint.KEYBOARD_LAYOUT)
    tight = re.sub("(?<=[0-9]) (?=[0-9])", "", body)
    candidates = set(_TWENTY_ALONE.findall(tight))
    product = re.search("(?:标识码|资源码)[^0-9]*([0-9]+)", tight)
    serial = re.search("序列号[^0-9]*([0-9]+)", tight)
    if product and serial and len(product[1]) == 7 and len(serial[1]) == 13:
        candidates.add(product[1] + serial[1])
    if not candidates:
        return Reading("", CodeClass.MALFORMED, hint=missing)
    if len(candidates) > 1:
        return Reading("", CodeClass.AMBIGUOUS, hint=Hint.TWO_CANDIDATES)
    return _twenty_digits(candidates.pop(), Repair.LABEL_TEXT)


def _read_enterprise(body: str) -> Reading:
    """Read an enterprise's own code: printable ASCII that nothing else explains (NMPAB/T 1002-2019 allows the
    graphic characters of GB/T 1988; what counts as opaque is ours).

    It must not look like something else: an NHSA drug code, an approval number, an identity number, a GS1
    string that cannot be read, text around a 20-digit code, or such a code mistyped.
    """
    if not body.isprintable():
        return Reading("", CodeClass.MALFORMED, hint=Hint.RESCAN)
    if _DRUG_CODE.fullmatch(body):
        return Reading("", CodeClass.MALFORMED, hint=Hint.DRUG_CODE)
    if _is_person_id(body):
        return Reading("", CodeClass.MALFORMED, hint=Hint.PERSON_ID)
    if _SPELLED_OUT.search(body):
        return Reading("", CodeClass.MALFORMED, hint=Hint.SEPARATOR_LOST)
    if _TWENTY_ALONE.search(body):
        return Reading("", CodeClass.AMBIGUOUS, hint=Hint.TWO_CANDIDATES)
    if len(body) > ENTERPRISE_LENGTH_MAX:
        return Reading("", CodeClass.MALFORMED, hint=Hint.WRONG_LENGTH)
    if len(body) >= ENTERPRISE_LENGTH_MIN and not any(c.isalnum() for c in body):
        # The digit row with Shift held or on another layout: !)^(@#...
        return Reading("", CodeClass.MALFORMED, hint=Hint.KEYBOARD_LAYOUT)
    if len(body) == 20 and body[0] == "8" and sum(c in "0123456789" for c in body) >= 17:
        # A mistyped 20-digit code, or an enterprise's: 8300385000000013188O.
        return Reading("", CodeClass.AMBIGUOUS, hint=Hint.RESCAN)
    if " " in body or not _is_opaque(body, ENTERPRISE_LENGTH_MIN):
        return Reading("", CodeClass.MALFORMED, hint=Hint.RESCAN)
    return _enterprise(body)


def _enterprise(body: str, repairs: Repair = Repair.NONE) -> Reading:
    return Reading("", CodeClass.ENTERPRISE, key=b"E" + body.encode("ascii"), text=body, repairs=repairs)


def _is_opaque(token: str, length_min: int) -> bool:
    """Whether a token can number single packs: long enough, and with digits in it (ours)."""
    digits = sum(c in "0123456789" for c in token)
    return (len(token) >= length_min and digits >= 4) or (len(token) >= 16 and digits >= 1)


def _is_person_id(text: str) -> bool:
    """An identity number by form, birth date and check character (GB 11643, ISO 7064 MOD 11-2)."""
    if not _PERSON_ID.fullmatch(text):
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(text[:17]))
    return "10X98765432"[total % 11] == text[17].upper()


def _doubt_case(reading: Reading) -> Reading:
    """Upper and lower case were swapped: digits are sure, letters are not, so a key with letters is none."""
    letters = re.compile("[A-Za-z]")
    payload = _payload(reading)
    if letters.search(payload):
        return Reading("", CodeClass.AMBIGUOUS, repairs=reading.repairs, hint=Hint.CAPS_LOCK)
    lot = "" if letters.search(reading.lot) else reading.lot
    if reading.key or reading.code_class in (CodeClass.AMBIGUOUS, CodeClass.MALFORMED):
        return replace(reading, lot=lot, hint=Hint.CAPS_LOCK)
    return replace(reading, lot=lot)


def _doubt_punctuation(reading: Reading, text: str) -> Reading:
    """An input method was on: letters and digits are sure, punctuation inside a key is not."""
    signs = re.compile("[^0-9A-Za-z]")
    if signs.search(_payload(reading)):
        hint = Hint.KEYBOARD_LAYOUT
        return Reading("", CodeClass.AMBIGUOUS, text=text, repairs=reading.repairs, hint=hint)
    return replace(reading, lot="" if signs.search(reading.lot) else reading.lot)


def _payload(reading: Reading) -> str:
    """The part of a key that was read as free text: a GS1 serial, an enterprise's code."""
    if reading.key[:1] == b"G":
        return reading.key[8:].decode("ascii")
    if reading.key[:1] == b"E":
        return reading.key[1:].decode("ascii")
    return ""


# GS1 element strings ----------------------------------------------------------------------------------------


def check_digit_holds(digits: str) -> bool:
    """Whether the last digit is the mod 10 check digit of those before it (GenSpecs 7.9.1; GB 18937).

    From the right, the data digits weigh 3, 1, 3, 1 ….
    """
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))
    return total % 10 == 0


def read_date(digits: str) -> date | None:
    """YYMMDD as a date, day 00 being the month's last (GenSpecs 3.4, 7.12); None if there is no such day."""
    if len(digits) != 6 or not _is_digits(digits):
        return None
    year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    # GenSpecs 7.12: more than 50 years ahead means the century before, 50 or more years back the next one.
    distance = year - CENTURY_WINDOW_YEAR % 100
    year += CENTURY_WINDOW_YEAR - CENTURY_WINDOW_YEAR % 100
    if distance >= 51:
        year -= 100
    elif distance <= -50:
        year += 100
    if not 1 <= month <= 12:
        return None
    last = calendar.monthrange(year, month)[1]
    return date(year, month, day or last) if day <= last else None


def _read_gs1(body: str, symbology: _Symbology) -> Reading | None:
    """Read a GS1 element string (GenSpecs 3 and 7.8); None when the text is not one and may be another thing.

    The separators are known to be whole when at least one arrived, as GS or spelled out, or when brackets
    mark the identifiers. With a GS1 AIM prefix alone they should be, but a keyboard wedge may have dropped
    them: a reading that would yield lot, expiry and serial where the plain one does not makes it AMBIGUOUS.
    Without any sign, a text is GS1 only if 01 comes first, its check digit holds and exactly one reading
    fits (ours).
    """
    text, repairs, inverted = _unescape(body)
    reading = _read_bracketed(text) or _read_elements(text, symbology)
    if reading is None:
        return None
    if reading.key or reading.code_class is CodeClass.PRODUCT_BARCODE:
        reading = replace(reading, repairs=reading.repairs | repairs)
    if inverted:
        reading = _doubt_case(reading)
    if reading.code_class is CodeClass.MALFORMED and reading.hint is Hint.NO_SERIAL:
        certain = symbology is _Symbology.GS1 or GS in body or Repair.BRACKETS in reading.repairs
        return reading if certain else None
    return reading


def _unescape(body: str) -> tuple[str, Repair, bool]:
    """Read spelled-out separators as GS, unless a true GS is there to show that none was lost."""
    if GS in body:
        return body, Repair.NONE, False
    text, inverted = _ESCAPED_INVERTED.subn(GS, body)
    text, plain = _ESCAPED.subn(GS, text)
    return text, (Repair.ESCAPED_SEPARATOR if inverted or plain else Repair.NONE), bool(inverted)


def _read_elements(text: str, symbology: _Symbology) -> Reading | None:
    """Read the raw form, separators as GS."""
    bare = text.strip(GS)
    intact = GS in text
    leading = _LEADING_GTIN.match(bare) is not None
    gtin_holds = leading and check_digit_holds(bare[2:16])
    plain, check_holds = _parse(bare)
    if intact or symbology is _Symbology.GS1:
        if plain and not check_holds:
            return Reading("", CodeClass.MALFORMED, hint=Hint.CHECK_DIGIT)
        lost = _Lost() if intact or not gtin_holds else _find_lost_separators(bare)
        if plain:
            whole = _PACK <= plain.keys()
            if (lost.whole and not whole) or (lost.serial and "21" not in plain):
                return Reading("", CodeClass.AMBIGUOUS, hint=Hint.SEPARATOR_LOST)
            return _identify(plain)
        if lost.count == 1:
            return _with_lost_separator(_identify(lost.elements))
        if lost.count > 1:
            return Reading("", CodeClass.AMBIGUOUS, hint=Hint.SEPARATOR_LOST)
        if gtin_holds or symbology is _Symbology.GS1:
            return Reading("", CodeClass.MALFORMED, hint=Hint.RESCAN)
        return None
    if gtin_holds:
        lost = _find_lost_separators(bare)
        plain = plain if check_holds else {}
        count = lost.count + bool(plain)
        if count == 1:
            return _identify(plain) if plain else _with_lost_separator(_identify(lost.elements))
        if count == 0 and _is_digits(bare):
            return None
        return Reading("", CodeClass.AMBIGUOUS, hint=Hint.SEPARATOR_LOST)
    if leading and plain and "21" in plain:
        return Reading("", CodeClass.MALFORMED, hint=Hint.CHECK_DIGIT)
    if _LEADING_SSCC.match(bare) and plain and check_holds:
        return Reading("", CodeClass.AMBIGUOUS, hint=Hint.SEPARATOR_LOST)
    return None


_PACK = frozenset(("01", "10", "17", "21"))
"""The four element strings of a drug pack."""


def _parse(bare: str) -> tuple[dict[str, str], bool]:
    """The element strings by number, in order, and whether their check digits hold; {} when one does not fit.

    An identifier of predefined length takes its characters, any other runs to the separator or the end
    (GenSpecs 7.8.5, 7.8.6). The same identifier twice must carry the same value (GenSpecs 4.12).
    """
    elements: dict[str, str] = {}
    check_holds = True
    count = 0
    position = 0
    while position < len(bare):
        if bare[position] == GS:
            position += 1
            continue
        identifier = _identifier_at(bare, position)
        count += 1
        if identifier is None or count > ELEMENTS_MAX:
            return {}, check_holds
        start = position + len(identifier.number)
        end = start + identifier.length_max if identifier.predefined else bare.find(GS, start)
        position = len(bare) if end < 0 else end
        value = bare[start:position]
        if not identifier.fits(value) or elements.setdefault(identifier.number, value) != value:
            return {}, check_holds
        check_holds = check_holds and (not identifier.has_check_digit or check_digit_holds(value))
    return elements, check_holds


def _identifier_at(text: str, position: int) -> ApplicationIdentifier | None:
    numbers = (text[position : position + length] for length in (2, 3, 4))
    return next((APPLICATION_IDENTIFIERS[n] for n in numbers if n in APPLICATION_IDENTIFIERS), None)


@dataclass(slots=True)
class _Lost:
    """The readings of a text that put at least one lost separator back.

    count: how many. elements: the first of them. serial: one has a serial. whole: one has lot, expiry and
    serial.
    """

    count: int = 0
    elements: Mapping[str, str] = field(default_factory=dict)
    serial: bool = False
    whole: bool = False
    steps: int = 0


def _find_lost_separators(bare: str) -> _Lost:
    """Try every place where a separator can have been, for a text that begins with 01 and a GTIN (ours)."""
    lost = _Lost()
    _descend(bare, 16, {"01": bare[2:16]}, False, lost)
    return lost


def _descend(bare: str, position: int, elements: Mapping[str, str], cut: bool, lost: _Lost) -> None:
    lost.steps += 1
    if lost.steps > PARSE_STEPS_MAX:
        lost.count, lost.serial, lost.whole = 2, True, True
        return
    if position == len(bare):
        if cut:
            if lost.count == 0:
                lost.elements = elements
            lost.count += 1
            lost.serial = lost.serial or "21" in elements
            lost.whole = lost.whole or _PACK <= elements.keys()
        return
    identifier = _identifier_at(bare, position)
    if identifier is None or identifier.number not in PACK_IDENTIFIERS or identifier.number in elements:
        return
    start = position + len(identifier.number)
    if identifier.predefined:
        value = bare[start : start + identifier.length_max]
        if identifier.fits(value):
            _descend(bare, start + len(value), {**elements, identifier.number: value}, cut, lost)
        return
    for end in range(start + 1, min(start + identifier.length_max, len(bare)) + 1):
        if not _in_set_82(bare[end - 1]):
            return
        value = bare[start:end]
        _descend(bare, end, {**elements, identifier.number: value}, cut or end < len(bare), lost)
        if lost.steps > PARSE_STEPS_MAX:
            return


def _with_lost_separator(reading: Reading) -> Reading:
    return replace(
        reading,
        repairs=reading.repairs | Repair.LOST_SEPARATOR,
        hint=Hint.SEPARATOR_LOST if reading.key else reading.hint,
    )


def _read_bracketed(text: str) -> Reading | None:
    """Read "(01)…(21)…", the human readable form (GenSpecs 4.14), also in square brackets (ours).

    Spaces and separators around a value are dropped; a shorter GTIN is filled up to 14 digits.
    """
    if text[:1] not in ("(", "["):
        return None
    pattern = r"\(([0-9]{2,4})\)" if text[0] == "(" else r"\[([0-9]{2,4})\]"
    marks = [mark for mark in re.finditer(pattern, text) if mark[1] in APPLICATION_IDENTIFIERS]
    if not marks or marks[0].start() != 0:
        return None
    elements: dict[str, str] = {}
    repairs = Repair.BRACKETS
    check_holds = True
    fits = len(marks) <= ELEMENTS_MAX
    for mark, end in zip(marks, [*(mark.start() for mark in marks[1:]), len(text)], strict=True):
        identifier = APPLICATION_IDENTIFIERS[mark[1]]
        value = text[mark.end() : end].strip(AROUND_A_SCAN + GS)
        if mark[1] in ("01", "02") and len(value) in (8, 12, 13) and _is_digits(value):
            value = value.zfill(14)
            repairs |= Repair.PADDED_GTIN
        fits = fits and identifier.fits(value) and elements.setdefault(mark[1], value) == value
        check_holds = check_holds and (not identifier.has_check_digit or not fits or check_digit_holds(value))
    if not fits:
        identifies = marks[0][1] in ("01", "00")
        return Reading("", CodeClass.MALFORMED, hint=Hint.RESCAN) if identifies else None
    if not check_holds:
        return Reading("", CodeClass.MALFORMED, hint=Hint.CHECK_DIGIT)
    reading = _identify(elements)
    return replace(reading, repairs=reading.repairs | repairs)


def _identify(elements: Mapping[str, str]) -> Reading:
    """What the element strings identify: GTIN and serial one pack, an SSCC a logistic unit, a GTIN alone only
    a product (GenSpecs 2.1, 2.2; lot and dates are attributes, not identity)."""
    lot = elements.get("10", "")
    expiry = read_date(elements["17"]) if "17" in elements else None
    production = read_date(elements["11"]) if "11" in elements else None
    gtin, serial, sscc = elements.get("01", ""), elements.get("21", ""), elements.get("00", "")
    if gtin and serial:
        code_class, hint = CodeClass.GS1, Hint.NONE
        key = b"G" + bytes.fromhex(gtin) + serial.encode("ascii")
        text = f"(01){gtin}(21){serial}"
    elif sscc:
        code_class, hint, gtin = CodeClass.LOGISTIC_UNIT, Hint.NONE, ""
        key = b"S" + bytes.fromhex(sscc)
        text = f"(00){sscc}"
    elif gtin:
        code_class, hint, key, text = CodeClass.PRODUCT_BARCODE, Hint.NO_SERIAL, b"", f"(01){gtin}"
    else:
        return Reading("", CodeClass.MALFORMED, hint=Hint.NO_SERIAL)
    return Reading("", code_class, key, text, gtin, lot, expiry, production, hint=hint)


# URLs -------------------------------------------------------------------------------------------------------


def _find_url(body: str) -> tuple[int, int] | None:
    """Where a URL begins and ends in the text; `www.` counts at the beginning only (ours)."""
    match = _URL.search(body)
    if match is None and body[:4].lower() != "www.":
        return None
    start = match.start() if match else 0
    end = _URL_END.search(body, start)
    return start, end.start() if end else len(body)


def _read_url(body: str, start: int, end: int) -> Reading:
    """Read a QR code's URL: the query's `code` or `c` (the form 码上放心 prints), else a GS1 Digital Link,
    else the only 20 digits standing alone; two candidates are AMBIGUOUS. A URL with an opaque token is an
    enterprise's code, whole; one without is a leaflet's (ours)."""
    url, outside = body[start:end], body[:start] + " " + body[end:]
    scheme = _URL.match(url)
    reading = _read_url_parts(url, outside, scheme.end() if scheme else 0)
    reading = replace(reading, repairs=reading.repairs | Repair.URL)
    if scheme and scheme[1] not in (scheme[1].lower(), scheme[1].upper(), scheme[1].capitalize()):
        return _doubt_case(reading)
    return reading


def _read_url_parts(url: str, outside: str, host: int) -> Reading:
    rest = re.sub("^[^/?#]*", "", url[host:])
    path = re.split("[?#]", rest, maxsplit=1)[0]
    pairs = [piece.split("=", 1) for piece in re.split("[?&#]", rest[len(path) :]) if "=" in piece]

    candidates: list[Reading] = []
    doubts: list[Reading] = []
    for name, value in pairs:
        if name.lower() in ("code", "c"):
            reading = _read_code_value(value)
            if _is_code(reading):
                candidates.append(reading)
            elif reading.code_class not in (CodeClass.EMPTY, CodeClass.ENTERPRISE, CodeClass.MALFORMED):
                doubts.append(reading)
    link = _read_digital_link(path.split("/"), pairs)
    alone = set(_TWENTY_ALONE.findall(outside))
    if link and _is_code(link):
        candidates.append(link)
    elif link and not candidates:
        return link
    if not candidates:
        alone |= set(_TWENTY_ALONE.findall(_percent_decode(url)))
        if len(alone) == 1:
            return _read_digits(alone.pop(), _Symbology.UNSAID)
    if len({reading.key for reading in candidates}) > 1 or alone - {reading.text for reading in candidates}:
        return Reading("", CodeClass.AMBIGUOUS, hint=Hint.TWO_CANDIDATES)
    if candidates:
        return candidates[0]
    if doubts:
        return doubts[0]
    if len(url) <= ENTERPRISE_LENGTH_MAX and any(map(_is_url_token, re.split("[/?&#=]", rest))):
        return _enterprise(url)
    return Reading("", CodeClass.MALFORMED, hint=Hint.URL_WITHOUT_CODE)


def _read_code_value(value: str) -> Reading:
    text = _percent_decode(value).strip(AROUND_A_SCAN)
    if not text or not text.isascii():
        return Reading("", CodeClass.EMPTY)
    if _is_placeholder(text):
        return Reading("", CodeClass.PLACEHOLDER, hint=Hint.PLACEHOLDER)
    return _read_content(text, _Symbology.UNSAID)


def _is_url_token(piece: str) -> bool:
    """Whether a piece of a URL can number single packs: opaque, and no product's barcode."""
    barcode = _is_digits(piece) and len(piece) in (8, 12, 13, 14) and check_digit_holds(piece)
    return _is_opaque(piece, URL_TOKEN_LENGTH_MIN) and not barcode


def _percent_decode(text: str) -> str:
    """Undo percent-encoding byte by byte (RFC 3986, 2.1); bytes above 127 stay foreign to every rule here."""
    return re.sub("%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), text)


def _read_digital_link(segments: Sequence[str], pairs: Sequence[Sequence[str]]) -> Reading | None:
    """Read `/01/{gtin}/22/…/10/…/21/…?17=…` or `/00/{sscc}` (GS1 Digital Link URI Syntax 1.2, 4.3 to 4.12).

    A GTIN-8, -12 or -13 with its zeros suppressed is filled up to 14 digits. The qualifiers' order is not
    insisted on, and lot or serial in the query are taken too (ours). None when the path is no such link.
    """
    lengths = {"01": (8, 12, 13, 14), "00": (18,)}
    for place, name in enumerate(segments[:-1]):
        number = _percent_decode(segments[place + 1])
        if _is_digits(number) and len(number) in lengths.get(name, ()):
            break
    else:
        return None
    if not check_digit_holds(number):
        return Reading("", CodeClass.MALFORMED, hint=Hint.CHECK_DIGIT) if len(number) >= 14 else None
    elements = {name: number.zfill(14)}
    qualifiers: list[tuple[str, str]] = []
    for step in range(place + 2, len(segments) - 1, 2):
        if segments[step] not in ("22", "10", "21", "235"):
            break
        qualifiers.append((segments[step], segments[step + 1]))
    attributes = [(name, value) for name, value in pairs if name in ("10", "11", "17", "21")]
    for number_, value in (*qualifiers, *attributes):
        decoded = _percent_decode(value)
        if not APPLICATION_IDENTIFIERS[number_].fits(decoded):
            return Reading("", CodeClass.MALFORMED, hint=Hint.RESCAN)
        if elements.setdefault(number_, decoded) != decoded:
            return Reading("", CodeClass.AMBIGUOUS, hint=Hint.TWO_CANDIDATES)
    reading = _identify(elements)
    return replace(reading, repairs=Repair.PADDED_GTIN if len(number) < 14 else Repair.NONE)


# Characters -------------------------------------------------------------------------------------------------


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _in_set_82(text: str) -> bool:
    return _SET_82.fullmatch(text) is not None
