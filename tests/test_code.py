"""What each scan is read as: the tolerance table, row by row, as values.

Every row is a scan as a till delivers it. The real codes are public samples: 83003850000000131888,
83515410004748401667, and one box that prints 8385793 and 0000879766660 beside the product barcode
6924561884074.
"""

from datetime import date
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import (
    add_check_digit,
    bracket_elements,
    digit_texts,
    gtins,
    pack_elements,
    plain_texts,
    scans,
    set_82_texts,
    twenty_digit_codes,
    widen,
)
from tracecode.code import (
    APPLICATION_IDENTIFIERS,
    HINT_TEXTS,
    PLACEHOLDER_WORDS,
    SEPARATOR_ESCAPES,
    SEPARATOR_ESCAPES_INVERTED,
    SEPARATOR_SIGNS,
    SET_82,
    CodeClass,
    Hint,
    Reading,
    Repair,
    bucket,
    check_digit_holds,
    key_text,
    read_date,
    read_scan,
)

A = "83003850000000131888"
B = "83515410004748401667"
LABEL = "83857930000879766660"
FOREIGN = "12345678901234567899"
GTIN = "06924561884074"
SSCC = "106141412345678908"
GS = "\x1d"

EMPTY = CodeClass.EMPTY
TWENTY = CodeClass.TWENTY_DIGIT
GS1 = CodeClass.GS1
ENTERPRISE = CodeClass.ENTERPRISE
PLACEHOLDER = CodeClass.PLACEHOLDER
BARCODE = CodeClass.PRODUCT_BARCODE
STANDARD = CodeClass.STANDARD_DRUG_CODE
LOGISTIC = CodeClass.LOGISTIC_UNIT
AMBIGUOUS = CodeClass.AMBIGUOUS
MALFORMED = CodeClass.MALFORMED

SURE = Hint.NONE
NONE = Repair.NONE


def read(raw: str) -> Reading:
    """The one reading of a scan."""
    (reading,) = read_scan(raw)
    return reading


def pack(serial: str, gtin: str = GTIN) -> str:
    """The canonical text of a GS1 pack."""
    return f"(01){gtin}(21){serial}"


# Codes and their repairs ------------------------------------------------------------------------------------

CODES = [
    # 20 digits, and what surrounds them.
    (A, TWENTY, A, NONE),
    (B, TWENTY, B, NONE),
    (FOREIGN, TWENTY, FOREIGN, NONE),
    ("00000000000000000018", TWENTY, "00000000000000000018", NONE),
    (A + "\r\n", TWENTY, A, Repair.INVISIBLE),
    (A + "\t", TWENTY, A, Repair.INVISIBLE),
    (f"\x02{A}\x03", TWENTY, A, Repair.INVISIBLE),
    (f"  {A} ", TWENTY, A, Repair.INVISIBLE),
    ("\ufeff" + A, TWENTY, A, Repair.INVISIBLE),
    ("\u00ef\u00bb\u00bf" + A, TWENTY, A, Repair.INVISIBLE),
    (f"{A[:9]}\u200b{A[9:]}", TWENTY, A, Repair.INVISIBLE),
    (f"\u202a{A}\u202c", TWENTY, A, Repair.INVISIBLE),
    (f"{A[:4]}\u00ad{A[4:]}\ufe0f", TWENTY, A, Repair.INVISIBLE),
    ("8300 3850 0000 0013 1888", TWENTY, A, Repair.INNER_SPACES),
    ("8300385 0000000131888", TWENTY, A, Repair.INNER_SPACES),
    ("8300\u30003850\u00a00000 0013 1888", TWENTY, A, Repair.INNER_SPACES | Repair.FULL_WIDTH),
    (widen(A), TWENTY, A, Repair.FULL_WIDTH),
    ("]C0" + A, TWENTY, A, Repair.AIM_PREFIX),
    ("]d1" + A, TWENTY, A, Repair.AIM_PREFIX),
    ("]Q1" + A, TWENTY, A, Repair.AIM_PREFIX),
    ("]C1" + A, TWENTY, A, Repair.AIM_PREFIX),
    ("]d2" + A, TWENTY, A, Repair.AIM_PREFIX),
    ("】C0" + A, TWENTY, A, Repair.AIM_PREFIX | Repair.INPUT_METHOD),
    (widen("]C0" + A), TWENTY, A, Repair.AIM_PREFIX | Repair.FULL_WIDTH),
    (A + GS, TWENTY, A, NONE),
    # An AIM prefix that is not GS1's settles what 20 bare digits leave open.
    ("]C001" + GTIN + "1012", TWENTY, "01" + GTIN + "1012", Repair.AIM_PREFIX),
    # The label's text.
    ("8385793-0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT),
    ("8385793+0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT),
    ("8385793 - 0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT),
    ("8385793\n0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT),
    ("8385793—0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT | Repair.INPUT_METHOD),
    ("药品标识码：8385793 序列号：0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT | Repair.FULL_WIDTH),
    ("药品标识码:8385793 序列号:0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT),
    ("药品标识码:8385793\r\n序列号:0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT),
    ("序列号:0000879766660,产品资源码:8385793", TWENTY, LABEL, Repair.LABEL_TEXT),
    ("标识码 8385793 序列号 0000879766660 批号 2501 有效期至2027-09", TWENTY, LABEL, Repair.LABEL_TEXT),
    (f"药品追溯码 {A[:4]} {A[4:8]} {A[8:12]} {A[12:16]} {A[16:]}", TWENTY, A, Repair.LABEL_TEXT),
    (f"电子监管码:{A},批号:20250101", TWENTY, A, Repair.LABEL_TEXT),
    (f"药品追溯码:{LABEL} 标识码:8385793 序列号:0000879766660", TWENTY, LABEL, Repair.LABEL_TEXT),
    # URLs.
    (f"https://www.mashangfangxin.com/drugQueryResult?code={A}", TWENTY, A, Repair.URL),
    (f"HTTPS://WWW.MASHANGFANGXIN.COM/DRUGQUERYRESULT?CODE={A}", TWENTY, A, Repair.URL),
    (f"http://a.example/?c={A}", TWENTY, A, Repair.URL),
    (f"https://a.example/h5/#/page?c={A}&from=wx", TWENTY, A, Repair.URL),
    (f"https://a.example/?code={A}&code={A}", TWENTY, A, Repair.URL),
    (f"https://a.example/?code={A}&ts={B}", TWENTY, A, Repair.URL),
    ("https://a.example/?code=8300%2038500000001318%388", TWENTY, A, Repair.URL | Repair.INNER_SPACES),
    ("https://a.example/?code=8385793-0000879766660", TWENTY, LABEL, Repair.URL | Repair.LABEL_TEXT),
    (f"https://a.example/?code={LABEL}&c=8385793-0000879766660", TWENTY, LABEL, Repair.URL),
    (f"https://a.example/{A}", TWENTY, A, Repair.URL),
    (f"https://a.example/show?id={A}&n=12", TWENTY, A, Repair.URL),
    (f"https://a.example/r?to=https%3A%2F%2Fb.example%2F%3Fx%3D{A}", TWENTY, A, Repair.URL),
    (f"www.a.example/q?code={A}", TWENTY, A, Repair.URL),
    (f"]Q1https://a.example/?code={A}", TWENTY, A, Repair.URL | Repair.AIM_PREFIX),
    (f"扫码查询 https://a.example/?code={A} 谢谢", TWENTY, A, Repair.URL),
    (f"药品追溯码{A} https://a.example/?code={A}", TWENTY, A, Repair.URL),
    (widen(f"https://a.example/?code={A}"), TWENTY, A, Repair.URL | Repair.FULL_WIDTH),
    # GS1, separators whole.
    (f"]d201{GTIN}21ABC{GS}1727090010L1", GS1, pack("ABC"), Repair.AIM_PREFIX),
    (f"]C101{GTIN}21ABC", GS1, pack("ABC"), Repair.AIM_PREFIX),
    (f"]Q301{GTIN}21ABC", GS1, pack("ABC"), Repair.AIM_PREFIX),
    (f"]e001{GTIN}21ABC", GS1, pack("ABC"), Repair.AIM_PREFIX),
    (f"]J101{GTIN}21ABC", GS1, pack("ABC"), Repair.AIM_PREFIX),
    (f"]d501{GTIN}21ABC", GS1, pack("ABC"), Repair.AIM_PREFIX),
    (f"】d201{GTIN}21ABC", GS1, pack("ABC"), Repair.AIM_PREFIX | Repair.INPUT_METHOD),
    (f"{GS}01{GTIN}21ABC", GS1, pack("ABC"), NONE),
    (f"01{GTIN}21ABC{GS}", GS1, pack("ABC"), NONE),
    (f"01{GTIN}21ABC{GS}{GS}17270900{GS}10L1", GS1, pack("ABC"), NONE),
    (f"01{GTIN}2112{GS}", GS1, pack("12"), NONE),
    (f"01{GTIN}21A" + f"{GS}911" * 30, GS1, pack("A"), NONE),
    (f"(01){GTIN}(21)A" + "(91)1" * 30, GS1, pack("A"), Repair.BRACKETS),
    (f"10L1{GS}21ABC{GS}01{GTIN}", GS1, pack("ABC"), NONE),
    (f"01{GTIN}21ABC{GS}01{GTIN}", GS1, pack("ABC"), NONE),
    (f"01{GTIN}21a-B/c_%{GS}710123456{GS}240X", GS1, pack("a-B/c_%"), NONE),
    (f"01{GTIN}213012{GS}302{GS}911", GS1, pack("3012"), NONE),
    (f"01{GTIN}21A;B{GS}10C,D", GS1, pack("A;B"), NONE),
    # Brackets.
    (f"(01){GTIN}(21)ABC(17)270930", GS1, pack("ABC"), Repair.BRACKETS),
    (f"(01) {GTIN} (21) ABC (10) L1", GS1, pack("ABC"), Repair.BRACKETS),
    (f"(01){GTIN}(21)ABC{GS}(10)L1", GS1, pack("ABC"), Repair.BRACKETS),
    (f"[01]{GTIN}[21]ABC", GS1, pack("ABC"), Repair.BRACKETS),
    (f"【01】{GTIN}【21】ABC", GS1, pack("ABC"), Repair.BRACKETS | Repair.INPUT_METHOD),
    (f"（01）{GTIN}（21）ABC", GS1, pack("ABC"), Repair.BRACKETS | Repair.FULL_WIDTH),
    ("(01)6924561884074(21)A(B)C", GS1, pack("A(B)C"), Repair.BRACKETS | Repair.PADDED_GTIN),
    # No separator and none missed: exactly one reading fits.
    (f"01{GTIN}21ABC", GS1, pack("ABC"), NONE),
    (f"01{GTIN}1727090021ABC", GS1, pack("ABC"), NONE),
    (f"01{GTIN}21A21B", GS1, pack("A21B"), NONE),
    (f"]d101{GTIN}21ABC", GS1, pack("ABC"), Repair.AIM_PREFIX),
    ("0106924561884074 21 123 456", GS1, pack("123456"), Repair.INNER_SPACES),
    # Digital Links and GS1 in a URL's code.
    (f"https://id.gs1.org/01/{GTIN}/21/ABC", GS1, pack("ABC"), Repair.URL),
    (f"https://a.example/x/01/{GTIN}/22/V1/10/L1/21/ABC?17=270930", GS1, pack("ABC"), Repair.URL),
    (f"https://a.example/01/{GTIN}/21/A%2FB%3a", GS1, pack("A/B:"), Repair.URL),
    (f"https://a.example/01/{GTIN}/21/ABC/more", GS1, pack("ABC"), Repair.URL),
    ("https://a.example/01/6924561884074/21/ABC", GS1, pack("ABC"), Repair.URL | Repair.PADDED_GTIN),
    ("https://a.example/01/96385074/21/1", GS1, pack("1", "00000096385074"), Repair.URL | Repair.PADDED_GTIN),
    (f"https://a.example/01/{GTIN}?21=ABC", GS1, pack("ABC"), Repair.URL),
    (f"https://a.example/?code=01{GTIN}21ABC%1D17270930", GS1, pack("ABC"), Repair.URL),
    (f"https://a.example/?code=(01){GTIN}(21)ABC", GS1, pack("ABC"), Repair.URL | Repair.BRACKETS),
    # Logistic units.
    (f"]C100{SSCC}", LOGISTIC, f"(00){SSCC}", Repair.AIM_PREFIX),
    (f"(00){SSCC}", LOGISTIC, f"(00){SSCC}", Repair.BRACKETS),
    (f"(00){SSCC}(02){GTIN}(37)12", LOGISTIC, f"(00){SSCC}", Repair.BRACKETS),
    (f"https://a.example/00/{SSCC}", LOGISTIC, f"(00){SSCC}", Repair.URL),
    # Enterprises' own codes.
    ("ENT-2025-000123", ENTERPRISE, "ENT-2025-000123", NONE),
    ("Qy|2025;0001", ENTERPRISE, "Qy|2025;0001", NONE),
    ("AbCdEfGhIjKlMnO1", ENTERPRISE, "AbCdEfGhIjKlMnO1", NONE),
    ("AB123456", ENTERPRISE, "AB123456", NONE),
    ("]Q1ENT-2025-000123", ENTERPRISE, "ENT-2025-000123", Repair.AIM_PREFIX),
    (widen("ENT-2025-000123"), ENTERPRISE, "ENT-2025-000123", Repair.FULL_WIDTH),
    ("123456789012345678901234567", ENTERPRISE, "123456789012345678901234567", NONE),
    ("https://a.example/t/AB12345678CD", ENTERPRISE, "https://a.example/t/AB12345678CD", Repair.URL),
    ("http://a.example/?k=abc4567890_12", ENTERPRISE, "http://a.example/?k=abc4567890_12", Repair.URL),
    ("1" + "A" * 99, ENTERPRISE, "1" + "A" * 99, NONE),
]


@pytest.mark.parametrize(("raw", "code_class", "text", "repairs"), CODES)
def test_a_code_is_read_with_certainty(raw: str, code_class: CodeClass, text: str, repairs: Repair) -> None:
    """Pins class, canonical text and repairs of every form in which a code arrives; no hint is due."""
    reading = read(raw)

    assert (reading.code_class, reading.text, reading.repairs) == (code_class, text, repairs)
    assert reading.hint is SURE
    assert reading.raw == raw
    assert key_text(reading.key) == text


# What is no code, or not surely one -------------------------------------------------------------------------

NO_CODES = [
    ("", EMPTY, Hint.NOT_SCANNED),
    (" \r\n\t\u3000\u200b", EMPTY, Hint.NOT_SCANNED),
    # Placeholders.
    ("99999999999999999999", PLACEHOLDER, Hint.PLACEHOLDER),
    ("00000000000000000000", PLACEHOLDER, Hint.PLACEHOLDER),
    ("88888888888888888888", PLACEHOLDER, Hint.PLACEHOLDER),
    ("1111 1111 1111", PLACEHOLDER, Hint.PLACEHOLDER),
    ("00", PLACEHOLDER, Hint.PLACEHOLDER),
    ("0", PLACEHOLDER, Hint.PLACEHOLDER),
    ("9" * 40, PLACEHOLDER, Hint.PLACEHOLDER),
    ("12345678901234567890", PLACEHOLDER, Hint.PLACEHOLDER),
    ("-", PLACEHOLDER, Hint.PLACEHOLDER),
    ("——", PLACEHOLDER, Hint.PLACEHOLDER),
    ("/", PLACEHOLDER, Hint.PLACEHOLDER),
    ("***", PLACEHOLDER, Hint.PLACEHOLDER),
    ("xxxx", PLACEHOLDER, Hint.PLACEHOLDER),
    ("N/A", PLACEHOLDER, Hint.PLACEHOLDER),
    ("null", PLACEHOLDER, Hint.PLACEHOLDER),
    (" 无 码 ", PLACEHOLDER, Hint.PLACEHOLDER),
    ("]C099999999999999999999", PLACEHOLDER, Hint.PLACEHOLDER),
    ("9999999-9999999999999", PLACEHOLDER, Hint.PLACEHOLDER),
    ("https://a.example/?code=99999999999999999999", PLACEHOLDER, Hint.PLACEHOLDER),
    # Product barcodes and the standard drug code.
    ("6924561884074", BARCODE, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    ("]E06924561884074", BARCODE, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    (widen("6924561884074"), BARCODE, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    ("]E00123456789012", BARCODE, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    ("96385074", BARCODE, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    ("036000291452", BARCODE, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    ("16924561884071", BARCODE, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    ("86901234567898", STANDARD, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    ("https://a.example/?code=6924561884074", BARCODE, Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE),
    ("6924561884075", MALFORMED, Hint.CHECK_DIGIT),
    ("86901234567890", MALFORMED, Hint.CHECK_DIGIT),
    # GS1 without a serial.
    (f"01{GTIN}", BARCODE, Hint.NO_SERIAL),
    (f"01{GTIN}1727093010LOT1", BARCODE, Hint.NO_SERIAL),
    (f"]d201{GTIN}10LOT1", BARCODE, Hint.NO_SERIAL),
    (f"https://a.example/01/{GTIN}/10/LOT1", BARCODE, Hint.NO_SERIAL),
    (f"]C102{GTIN}3712", MALFORMED, Hint.NO_SERIAL),
    ("(10)ABC(17)270930", MALFORMED, Hint.NO_SERIAL),
    (f"10ABC{GS}17270930", MALFORMED, Hint.NO_SERIAL),
    # GS1 that fits no rule.
    ("]d2010692456188407521ABC", MALFORMED, Hint.CHECK_DIGIT),
    ("010692456188407521ABC", MALFORMED, Hint.CHECK_DIGIT),
    (f"010692456188407521ABC{GS}10L", MALFORMED, Hint.CHECK_DIGIT),
    ("(01)06924561884075(21)ABC", MALFORMED, Hint.CHECK_DIGIT),
    ("]C100106141412345678907", MALFORMED, Hint.CHECK_DIGIT),
    ("https://a.example/01/06924561884075/21/ABC", MALFORMED, Hint.CHECK_DIGIT),
    (f"]d201{GTIN}21ABC{GS}17271301", MALFORMED, Hint.RESCAN),
    (f"]d201{GTIN}21ABC{GS}17270230", MALFORMED, Hint.RESCAN),
    (f"]d201{GTIN}21ABC{GS}17270930{GS}17280930", MALFORMED, Hint.RESCAN),
    (f"]d201{GTIN}21" + "A" * 21, MALFORMED, Hint.RESCAN),
    (f"]d201{GTIN}21{GS}10L", MALFORMED, Hint.RESCAN),
    (f"]d201{GTIN}21A#B", MALFORMED, Hint.RESCAN),
    (f"01{GTIN}21A#^10L", MALFORMED, Hint.RESCAN),
    (f"]d201{GTIN}21A" + f"{GS}911" * 31, MALFORMED, Hint.RESCAN),
    (f"(01){GTIN}(21)A" + "(91)1" * 31, MALFORMED, Hint.RESCAN),
    (f"]d201{GTIN}21A B", MALFORMED, Hint.RESCAN),
    (f"]d2{GTIN}", MALFORMED, Hint.RESCAN),
    (f"(01){GTIN}(21)", MALFORMED, Hint.RESCAN),
    (f"(01){GTIN}(17)2027-09-30", MALFORMED, Hint.RESCAN),
    (f"https://a.example/01/{GTIN}/21/" + "A" * 21, MALFORMED, Hint.RESCAN),
    ("]d2", MALFORMED, Hint.RESCAN),
    # Separators lost, several readings.
    (f"01{GTIN}10L21S", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"01{GTIN}2112345107", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"01{GTIN}21ABC17270930", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"01{GTIN}21ABC#17270930", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"01{GTIN}XYZ", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"]d201{GTIN}10L21S", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"]d201{GTIN}1727093021S10L", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"00{SSCC}02{GTIN}3712", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"https://a.example/?code=01{GTIN}10L21S", AMBIGUOUS, Hint.SEPARATOR_LOST),
    # 20 bare digits that may be GS1.
    (f"01{GTIN}1012", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"01{GTIN}2112", AMBIGUOUS, Hint.SEPARATOR_LOST),
    (f"00{SSCC}", AMBIGUOUS, Hint.SEPARATOR_LOST),
    # Two candidates.
    (f"https://a.example/?a={A}&b={B}", AMBIGUOUS, Hint.TWO_CANDIDATES),
    (f"https://a.example/?code={A}&c={B}", AMBIGUOUS, Hint.TWO_CANDIDATES),
    (f"https://a.example/01/{GTIN}/21/ABC?code={A}", AMBIGUOUS, Hint.TWO_CANDIDATES),
    (f"https://a.example/01/{GTIN}/21/ABC?21=ABD", AMBIGUOUS, Hint.TWO_CANDIDATES),
    (f"药品追溯码{B} https://a.example/?code={A}", AMBIGUOUS, Hint.TWO_CANDIDATES),
    (f"药品追溯码 {A} / {B}", AMBIGUOUS, Hint.TWO_CANDIDATES),
    (f"追溯码:{A} 标识码:8385793 序列号:0000879766660", AMBIGUOUS, Hint.TWO_CANDIDATES),
    (f"SN:{A}", AMBIGUOUS, Hint.TWO_CANDIDATES),
    # A 20-digit code mistyped, or an enterprise's.
    ("8300385000000013188O", AMBIGUOUS, Hint.RESCAN),
    # Joined or glued scans that do not come apart cleanly.
    (f"{A},abc", AMBIGUOUS, Hint.SCAN_ONE_AT_A_TIME),
    (f"{A};6924561884074", AMBIGUOUS, Hint.SCAN_ONE_AT_A_TIME),
    (f"{A},ENT-2025-000123", AMBIGUOUS, Hint.SCAN_ONE_AT_A_TIME),
    (f"{A}\n{B[:19]}", AMBIGUOUS, Hint.SCAN_ONE_AT_A_TIME),
    (f"01{GTIN}21A5,", AMBIGUOUS, Hint.SCAN_ONE_AT_A_TIME),
    (f"{A}01{GTIN}1012", AMBIGUOUS, Hint.SCAN_ONE_AT_A_TIME),
    # Lengths that no code has; nothing is cut or filled up.
    (A[:19], MALFORMED, Hint.WRONG_LENGTH),
    (A[:18], MALFORMED, Hint.WRONG_LENGTH),
    (A + "1", MALFORMED, Hint.WRONG_LENGTH),
    (A + "123456", MALFORMED, Hint.WRONG_LENGTH),
    ("8385793", MALFORMED, Hint.WRONG_LENGTH),
    ("1234567890123456", MALFORMED, Hint.WRONG_LENGTH),
    (A + A[:19], MALFORMED, Hint.WRONG_LENGTH),
    ("1A" * 51, MALFORMED, Hint.WRONG_LENGTH),
    ("ABCDEFG1", MALFORMED, Hint.RESCAN),
    ("7" * 4097, MALFORMED, Hint.WRONG_LENGTH),
    # Caps Lock.
    (f"]D201{GTIN}21ABC", AMBIGUOUS, Hint.CAPS_LOCK),
    (f"]c101{GTIN}21ABC", AMBIGUOUS, Hint.CAPS_LOCK),
    (f"]E001{GTIN}21ABC", AMBIGUOUS, Hint.CAPS_LOCK),
    (f"]D201{GTIN}", BARCODE, Hint.NO_SERIAL),
    (f"]D201{GTIN}10L", BARCODE, Hint.NO_SERIAL),
    ("]D2010692456188407521ABC", MALFORMED, Hint.CAPS_LOCK),
    (f"01{GTIN}21abc<gs>17270930", AMBIGUOUS, Hint.CAPS_LOCK),
    (f"hTTPS://a.example/01/{GTIN}/21/ABC", AMBIGUOUS, Hint.CAPS_LOCK),
    ("]q1ENT-2025-000123", AMBIGUOUS, Hint.CAPS_LOCK),
    # Keyboard layout and input method.
    (f"+d201{GTIN}21ABC", AMBIGUOUS, Hint.KEYBOARD_LAYOUT),
    (f"¨d201{GTIN}21ABC", AMBIGUOUS, Hint.KEYBOARD_LAYOUT),
    (f"C101{GTIN}21ABC", AMBIGUOUS, Hint.KEYBOARD_LAYOUT),
    ("*#))#*%)))))))!#!***", MALFORMED, Hint.KEYBOARD_LAYOUT),
    ('_"àà"_(ààààààà&"&___', MALFORMED, Hint.KEYBOARD_LAYOUT),
    ("áščččččččč+š+ááá", MALFORMED, Hint.KEYBOARD_LAYOUT),
    ("！@#￥%……&*（）", MALFORMED, Hint.KEYBOARD_LAYOUT),
    ("的2010692456188407421", MALFORMED, Hint.KEYBOARD_LAYOUT),
    ("ENT。2025。000123", AMBIGUOUS, Hint.KEYBOARD_LAYOUT),
    (f"】d201{GTIN}21A。B", AMBIGUOUS, Hint.KEYBOARD_LAYOUT),
    # Another kind of number.
    ("XA02ABN057A001010305849", MALFORMED, Hint.DRUG_CODE),
    ("XJ01CAA040A001010102699", MALFORMED, Hint.DRUG_CODE),
    ("ZA12HAY0555010100326", MALFORMED, Hint.DRUG_CODE),
    ("国药准字Z45021428", MALFORMED, Hint.DRUG_CODE),
    ("H20240001", MALFORMED, Hint.DRUG_CODE),
    ("HC20140001", MALFORMED, Hint.DRUG_CODE),
    ("11010519491231002X", MALFORMED, Hint.PERSON_ID),
    ("11010519491231002x", MALFORMED, Hint.PERSON_ID),
    ("110105194912310038", MALFORMED, Hint.PERSON_ID),
    # URLs without a code, texts without sense.
    ("https://www.mashangfangxin.com/", MALFORMED, Hint.URL_WITHOUT_CODE),
    ("https://a.example/products/index.html", MALFORMED, Hint.URL_WITHOUT_CODE),
    ("https://a.example/news/20250101", MALFORMED, Hint.URL_WITHOUT_CODE),
    ("https://a.example/01/12345678/x", MALFORMED, Hint.URL_WITHOUT_CODE),
    ("https://a.example/p/6924561884074", MALFORMED, Hint.URL_WITHOUT_CODE),
    ("https://a.example/" + "1A" * 45, MALFORMED, Hint.URL_WITHOUT_CODE),
    ("药品标识码:8385793", MALFORMED, Hint.RESCAN),
    ("药品标识码:838579 序列号:0000879766660", MALFORMED, Hint.RESCAN),
    ("ABC12345<GS>678", MALFORMED, Hint.SEPARATOR_LOST),
    ("abc", MALFORMED, Hint.RESCAN),
    ("AB12345", MALFORMED, Hint.RESCAN),
    ("paracetamol", MALFORMED, Hint.RESCAN),
    ("hello world 12345678", MALFORMED, Hint.RESCAN),
    ("ENT-2025\x07000123", MALFORMED, Hint.RESCAN),
    (",", MALFORMED, Hint.RESCAN),
    ("5", MALFORMED, Hint.WRONG_LENGTH),
]


@pytest.mark.parametrize(("raw", "code_class", "hint"), NO_CODES)
def test_what_is_no_sure_code_says_what_to_do(raw: str, code_class: CodeClass, hint: Hint) -> None:
    """Pins class and hint of every scan that yields no key: nothing is guessed, and the clerk is told why."""
    reading = read(raw)

    assert (reading.code_class, reading.hint) == (code_class, hint)
    assert reading.key == b""
    assert reading.raw == raw


def test_every_class_hint_and_repair_stands_in_the_tables() -> None:
    """Pins that no class, hint or repair is left without an example in this file."""
    classes = {row[1] for row in CODES} | {row[1] for row in NO_CODES}
    hints = {row[2] for row in NO_CODES}
    repairs = Repair(0)
    for row in CODES:
        repairs |= row[3]

    assert classes == set(CodeClass)
    assert hints == set(Hint) - {Hint.NONE}
    # The rest have tests of their own below.
    assert set(Repair) - set(repairs) == {Repair.ESCAPED_SEPARATOR, Repair.LOST_SEPARATOR, Repair.SPLIT}


# Separators -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("escape", [*SEPARATOR_ESCAPES, *SEPARATOR_SIGNS])
def test_a_spelled_out_separator_is_read_as_one(escape: str) -> None:
    """Pins every spelling of GS, between the elements, in front of them and behind brackets."""
    between = read(f"01{GTIN}21ABC{escape}17270930{escape}10L1")
    leading = read(f"{escape}01{GTIN}21ABC")

    assert (between.text, between.lot, between.expiry) == (pack("ABC"), "L1", date(2027, 9, 30))
    assert (between.repairs, between.hint) == (Repair.ESCAPED_SEPARATOR, SURE)
    assert leading.text == pack("ABC")


@pytest.mark.parametrize("escape", SEPARATOR_ESCAPES_INVERTED)
def test_a_separator_spelled_with_caps_lock_spoils_letters_only(escape: str) -> None:
    """Pins that digits survive Caps Lock with a hint, and that letters make no key."""
    digits = read(f"01{GTIN}21123{escape}10LOT")
    letters = read(f"01{GTIN}21abc{escape}10LOT")

    assert (digits.text, digits.lot, digits.hint) == (pack("123"), "", Hint.CAPS_LOCK)
    assert (letters.code_class, letters.key, letters.hint) == (AMBIGUOUS, b"", Hint.CAPS_LOCK)


def test_a_true_separator_leaves_spellings_alone() -> None:
    """Pins that a scanner which sends GS is believed: "%1D" inside a serial is then the serial's."""
    assert read(f"01{GTIN}21A%1DB{GS}10L").text == pack("A%1DB")


@pytest.mark.parametrize("prefix", ["", "]d1", "]d2"])
def test_a_lost_separator_is_put_back_where_only_one_reading_fits(prefix: str) -> None:
    """Pins the repair of "lot, serial" run together: lot and serial are too long to be one lot."""
    reading = read(f"{prefix}01{GTIN}1727093010LOT121SERIAL0001234567")

    assert (reading.text, reading.lot) == (pack("SERIAL0001234567"), "LOT1")
    assert Repair.LOST_SEPARATOR in reading.repairs
    assert reading.hint is Hint.SEPARATOR_LOST


def test_a_gs1_prefix_vouches_for_the_separators() -> None:
    """Pins that the AIM prefix settles a serial that happens to hold an identifier's digits, unless the rest
    would be a pack's whole lot and expiry."""
    assert read(f"01{GTIN}2112345107").code_class is AMBIGUOUS
    assert read(f"]d201{GTIN}2112345107").text == pack("12345107")
    assert read(f"]d201{GTIN}21123451727093010L1").code_class is AMBIGUOUS
    assert read(f"]d201{GTIN}21A{GS}1727093010L1").text == pack("A")


# Several scans in one field ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "texts"),
    [
        (A + B, [A, B]),
        (A + B + A, [A, B, A]),
        (f"{A} {B}", [A, B]),
        (A + FOREIGN, [A, FOREIGN]),
        (f"{A},{B}", [A, B]),
        (f"{A}, {B};", [A, B]),
        (f"{A}；{B}，{LABEL}", [A, B, LABEL]),
        (f"{A}、{B}", [A, B]),
        (f"{A}\r\n{B}\r\n", [A, B]),
        (f"{A}\t{B}", [A, B]),
        (f"{A}{B},{LABEL}", [A, B, LABEL]),
        (f"{A},{A}", [A, A]),
        (f"{A},", [A]),
        (f"]C0{A}]C0{B}", [A, B]),
        (f"]Q1https://a.example/?code={A}]Q1https://a.example/?code={B}", [A, B]),
        (f"]d201{GTIN}21ABC{GS}10L]d201{GTIN}21ABD", [pack("ABC"), pack("ABD")]),
        (f"(01){GTIN}(21)A,(01){GTIN}(21)B", [pack("A"), pack("B")]),
        (f"https://a.example/?code={A};https://a.example/?code={B}", [A, B]),
        (f"https://a.example/?code={A}https://a.example/?code={B}", [A, B]),
        (f"https://a.example/?code={A},{B}", [A, B]),
        (f"{A};]C100{SSCC}", [A, f"(00){SSCC}"]),
        (f"8385793-0000879766660,{A}", [LABEL, A]),
        (f"追溯码:{A},追溯码:{B}", [A, B]),
    ],
)
def test_joined_scans_come_apart_when_each_is_a_code(raw: str, texts: list[str]) -> None:
    """Pins the split of glued and joined scans: order kept, repeats kept, each part marked."""
    readings = read_scan(raw)

    assert [reading.text for reading in readings] == texts
    assert all(Repair.SPLIT in reading.repairs and reading.key for reading in readings)
    assert {reading.raw for reading in readings} == {raw}


def test_placeholders_in_a_list_are_counted_one_by_one() -> None:
    """Pins that a list of placeholders, or one among codes, is taken apart too: they are counted."""
    nines = "9" * 20

    assert [reading.code_class for reading in read_scan(f"{nines},{nines}")] == [PLACEHOLDER, PLACEHOLDER]
    assert [reading.code_class for reading in read_scan(f"{A};无")] == [TWENTY, PLACEHOLDER]
    assert [reading.text for reading in read_scan(A + nines)] == [A, nines]


def test_a_scan_that_is_whole_and_a_list_at_once_is_ambiguous() -> None:
    """Pins that a GS1 serial with a comma is not preferred to a code and a placeholder, nor these to it."""
    assert read(f"(01){GTIN}(21)A,12345").text == pack("A,12345")
    assert read(f"(01){GTIN}(21)A,-").code_class is AMBIGUOUS
    assert read(f"(01){GTIN}(21)A,-").hint is Hint.SCAN_ONE_AT_A_TIME


# Attributes -------------------------------------------------------------------------------------------------


def test_attributes_are_read_beside_the_identity() -> None:
    """Pins lot, expiry and production of a pack, of a product without serial, and of a Digital Link."""
    scanned = read(f"]d201{GTIN}21ABC{GS}10L-1{GS}1125013117270900")
    product = read(f"(01){GTIN}(10)L-1(17)270930")
    link = read(f"https://a.example/01/{GTIN}/10/L-1/21/ABC?11=250131&17=270900")

    for reading in (scanned, link):
        assert (reading.identifier, reading.lot) == (GTIN, "L-1")
        assert (reading.production, reading.expiry) == (date(2025, 1, 31), date(2027, 9, 30))
    assert (product.identifier, product.lot, product.expiry) == (GTIN, "L-1", date(2027, 9, 30))
    assert product.text == f"(01){GTIN}"


def test_identity_is_gtin_and_serial_alone() -> None:
    """Pins that lot, dates and the form of the scan do not touch the key."""
    forms = [
        f"]d201{GTIN}21ABC{GS}10L1",
        f"]d201{GTIN}1727090010L2{GS}21ABC",
        f"(01){GTIN}(21)ABC",
        "https://a.example/01/6924561884074/21/ABC?17=280101",
    ]

    assert {read(form).key for form in forms} == {b"G" + bytes.fromhex(GTIN) + b"ABC"}


def test_identifier_and_issuer_of_twenty_digits() -> None:
    """Pins the first seven digits as identifier, and who issued what does not begin with 8."""
    assert (read(A).identifier, read(A).foreign_issuer) == ("8300385", False)
    assert (read(FOREIGN).identifier, read(FOREIGN).foreign_issuer) == ("1234567", True)
    assert read("6924561884074").identifier == GTIN
    assert read("86901234567898").identifier == ""


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        ("270930", date(2027, 9, 30)),
        ("270900", date(2027, 9, 30)),
        ("240200", date(2024, 2, 29)),
        ("260200", date(2026, 2, 28)),
        ("000200", date(2000, 2, 29)),
        ("251200", date(2025, 12, 31)),
        ("760101", date(2076, 1, 1)),
        ("770101", date(1977, 1, 1)),
        ("990228", date(1999, 2, 28)),
        ("270229", None),
        ("270431", None),
        ("271301", None),
        ("270001", None),
        ("270932", None),
        ("27093", None),
        ("2709３0", None),
    ],
)
def test_a_date_is_read_with_its_century_and_month_end(digits: str, expected: date | None) -> None:
    """Pins GenSpecs 7.12 at both ends of its window, day 00, leap years, and what is no day."""
    assert read_date(digits) == expected


def test_caps_lock_leaves_digits_and_takes_letters() -> None:
    """Pins `]D2`: the key of a serial of digits stands, a lot with letters does not."""
    reading = read(f"]D201{GTIN}21123{GS}10LOT")

    assert (reading.code_class, reading.text, reading.hint) == (GS1, pack("123"), Hint.CAPS_LOCK)
    assert reading.lot == ""
    assert read(f"]D201{GTIN}21123{GS}1042").lot == "42"
    assert (read(f"]D1{A}").text, read(f"]D1{A}").hint) == (A, Hint.CAPS_LOCK)


def test_an_input_method_leaves_letters_and_takes_punctuation() -> None:
    """Pins Chinese punctuation: the typed key is not sure, so a lot is dropped and a serial makes no key."""
    reading = read(f"】d201{GTIN}21aB1{GS}10L。1")

    assert (reading.code_class, reading.text, reading.lot) == (GS1, pack("aB1"), "")
    assert read(f"】d201{GTIN}21aB1{GS}10L1").lot == "L1"
    assert read(f"】d201{GTIN}21a。B").key == b""


def test_bytes_above_127_in_a_url_are_no_separator() -> None:
    """Pins that percent-encoded bytes stay bytes: %E8 is not the number 232 of FNC1, so no code comes out."""
    assert read(f"https://a.example/?code=01{GTIN}21ABC%E810L").code_class is ENTERPRISE
    assert read(f"https://a.example/?code=01{GTIN}21ABC%1D10L").text == pack("ABC")


def test_letter_case_is_never_folded() -> None:
    """Pins that serials and enterprise codes that differ in case are different codes."""
    assert read(f"]d201{GTIN}21abc").key != read(f"]d201{GTIN}21ABC").key
    assert read("ent-2025-000123").key != read("ENT-2025-000123").key


# Keys -------------------------------------------------------------------------------------------------------


def test_the_bytes_of_a_key() -> None:
    """Pins each kind of key byte by byte: they lie on disk and are compared across machines."""
    assert read(A).key.hex() == "4e83003850000000131888"
    assert read(f"(01){GTIN}(21)aB1").key.hex() == "4706924561884074614231"
    assert read("ENT-2025-000123").key == b"EENT-2025-000123"
    assert read(f"(00){SSCC}").key.hex() == "53106141412345678908"


def test_keys_of_one_product_sort_together() -> None:
    """Pins that sorted keys cluster by product, for 20 digits as for GS1."""
    raws = [A, A[:7] + "0000000010001", B, f"(01){GTIN}(21)1", f"(01){GTIN}(21)2", "(01)00000096385074(21)1"]
    keys = sorted(read(raw).key for raw in raws)

    assert [key_text(key)[:18] for key in keys] == [
        "(01)00000096385074",
        f"(01){GTIN}",
        f"(01){GTIN}",
        A[:7] + "00000000100",
        A[:18],
        B[:18],
    ]


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"X123",
        b"N",
        b"N" + b"\xff" * 10,
        b"N" + b"\x11" * 9,
        b"S" + b"\x11" * 10,
        b"G" + b"\x11" * 7,
        b"G" + b"\x11" * 6 + b"\x1fA",
        b"G" + b"\x11" * 7 + b"A" * 21,
        b"E",
        b"E" + b"A" * 101,
        b"E\xff",
    ],
)
def test_bytes_that_are_no_key_are_refused(key: bytes) -> None:
    """Pins that `key_text` says what was wrong instead of printing nonsense."""
    with pytest.raises(ValueError, match="not a canonical key"):
        key_text(key)


def test_a_bucket_is_the_crc32_of_the_key() -> None:
    """Pins the rule by which codes are spread over engines: every language can compute it."""
    key = read(A).key

    assert bucket(key) == crc32(key) % 4096 == 3610


@given(twenty_digit_codes())
def test_a_key_reads_back_for_twenty_digits(digits: str) -> None:
    """Pins that the canonical text of a key is itself a scan of that key."""
    assert key_text(read(digits).key) == digits
    assert 0 <= bucket(read(digits).key) < 4096


@given(gtins(), st.one_of(plain_texts(), set_82_texts().filter(lambda text: not set(text) & set("(,;%"))))
def test_a_key_reads_back_for_gs1(gtin: str, serial: str) -> None:
    """Pins the same for GS1; a serial with brackets, separators or spellings of GS can read otherwise."""
    key = b"G" + bytes.fromhex(gtin) + serial.encode()

    assert read(key_text(key)).key == key


@given(pack_elements())
def test_every_order_of_elements_is_the_same_pack(elements: list[tuple[str, str]]) -> None:
    """Pins that identity and attributes do not depend on the order in which a maker prints them."""
    reading = read(bracket_elements(elements))
    values = dict(elements)

    assert reading.text == pack(values["21"], values["01"])
    assert reading.lot == values.get("10", "")
    assert (reading.expiry is None) == ("17" not in values)


# Tables -----------------------------------------------------------------------------------------------------


def test_every_hint_has_its_texts() -> None:
    """Pins that no hint is shown to a clerk without words, in either language."""
    assert set(HINT_TEXTS) == set(Hint) - {Hint.NONE}
    for text in HINT_TEXTS.values():
        assert text.zh_cn.endswith("。")
        assert text.en.endswith(".")
        assert text.zh_cn.isascii() is False
        assert text.en.isascii()


def test_numbers_are_for_life() -> None:
    """Pins the numbers of classes, repairs and hints, which are stored and sent."""
    assert [member.name for member in CodeClass] == (
        "EMPTY TWENTY_DIGIT GS1 ENTERPRISE PLACEHOLDER PRODUCT_BARCODE STANDARD_DRUG_CODE LOGISTIC_UNIT"
        " AMBIGUOUS MALFORMED"
    ).split()
    assert [member.value for member in CodeClass] == list(range(1, 11))
    assert [member.name for member in Repair] == (
        "INVISIBLE FULL_WIDTH INNER_SPACES AIM_PREFIX ESCAPED_SEPARATOR LOST_SEPARATOR LABEL_TEXT URL SPLIT"
        " PADDED_GTIN INPUT_METHOD BRACKETS"
    ).split()
    assert [member.value for member in Repair] == [1 << place for place in range(12)]
    assert [member.name for member in Hint] == (
        "NONE RESCAN CAPS_LOCK KEYBOARD_LAYOUT SEPARATOR_LOST SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE"
        " SCAN_ONE_AT_A_TIME CHECK_DIGIT PLACEHOLDER WRONG_LENGTH NO_SERIAL URL_WITHOUT_CODE TWO_CANDIDATES"
        " DRUG_CODE PERSON_ID NOT_SCANNED"
    ).split()
    assert [member.value for member in Hint] == list(range(16))


@pytest.mark.parametrize("word", sorted(PLACEHOLDER_WORDS))
def test_every_placeholder_word_is_one(word: str) -> None:
    """Pins the table's words themselves, spaced and in capitals."""
    assert read(word).code_class is PLACEHOLDER
    assert read(" ".join(word.upper())).code_class is PLACEHOLDER


def test_application_identifiers_are_free_of_prefixes() -> None:
    """Pins what the parser relies on: no identifier begins another, so two to four digits decide."""
    numbers = set(APPLICATION_IDENTIFIERS)

    assert not [
        number
        for number in numbers
        for length in (2, 3)
        if length < len(number) and number[:length] in numbers
    ]
    assert len(set(SET_82)) == 82


@given(st.sampled_from([8, 12, 13, 14, 18]).flatmap(lambda size: digit_texts(size - 1)), st.integers(1, 9))
def test_a_check_digit_finds_a_wrong_digit(digits: str, change: int) -> None:
    """Pins mod 10: the digit made for a number holds, and changing any one digit breaks it."""
    whole = add_check_digit(digits)
    place = change % len(whole)
    wrong = whole[:place] + str((int(whole[place]) + change) % 10) + whole[place + 1 :]

    assert check_digit_holds(whole)
    assert not check_digit_holds(wrong)


@given(st.text())
def test_any_text_is_read(raw: str) -> None:
    """Pins that nothing a till sends raises, and that every reading keeps the scan as it came."""
    for reading in read_scan(raw):
        assert reading.raw == raw
        assert bool(reading.key) == (reading.code_class in (TWENTY, GS1, ENTERPRISE, LOGISTIC))
        assert reading.key or reading.hint is not SURE


@given(st.one_of(scans(), twenty_digit_codes()))
def test_twenty_digits_say_neither_lot_nor_day(raw: str) -> None:
    """Pins what lets a document's event of such a code be made without reading the scan again."""
    for reading in read_scan(raw):
        if reading.key[:1] == b"N":
            assert (reading.lot, reading.expiry) == ("", None)
