"""Real symbols, rendered and read back: from the printed box to the key.

zxing-cpp draws each symbol and decodes it again; what its decoder delivers, with and without the symbology
identifier, goes to `read_scan` as a scanner in keyboard mode would send it.
"""

import numpy as np
import pytest
import zxingcpp
from zxingcpp import Barcode, BarcodeFormat

from tracecode import _native, code
from tracecode.code import CodeClass, Hint, Reading, Repair

A = "83003850000000131888"
GTIN = "06924561884074"
PACK = f"(01){GTIN}(21)aB-123(17)270900(10)L1"

SYMBOLS = {
    "Data Matrix": (BarcodeFormat.DataMatrix, "]d1", ("]d2", "]d8")),
    "QR": (BarcodeFormat.QRCode, "]Q1", ("]Q3",)),
    "Code 128": (BarcodeFormat.Code128, "]C0", ("]C1",)),
}


def print_and_scan(content: str, kind: BarcodeFormat, gs1: bool = False) -> Barcode:
    """Draw a symbol and decode the picture; GS1 content is given in brackets."""
    drawn = zxingcpp.create_barcode(content, kind, **({"gs1": True} if gs1 else {}))
    image = np.array(drawn.to_image(scale=3, add_quiet_zones=True))
    (scanned,) = zxingcpp.read_barcodes(image, text_mode=zxingcpp.TextMode.Plain)
    return scanned


def read(raw: str) -> Reading:
    """The one reading of a scan, on which both twins agree."""
    (reading,) = code.read_scan(raw)
    assert _native.read_scan(raw) == (reading,)
    return reading


@pytest.mark.parametrize("name", SYMBOLS)
def test_a_twenty_digit_code_comes_back_from_its_symbol(name: str) -> None:
    """Pins the common code in each carrier: with the identifier, without it, and as the bytes decoded."""
    kind, plain, _ = SYMBOLS[name]
    scanned = print_and_scan(A, kind)

    assert scanned.symbology_identifier == plain
    for raw in (scanned.text, plain + scanned.text, scanned.bytes.decode("ascii") + "\r\n"):
        assert (read(raw).code_class, read(raw).text) == (CodeClass.TWENTY_DIGIT, A)


@pytest.mark.parametrize("name", SYMBOLS)
def test_a_gs1_pack_comes_back_from_its_symbol(name: str) -> None:
    """Pins FNC1 end to end: the decoder turns it into GS and the identifier, and every form gives one key."""
    kind, _, prefixes = SYMBOLS[name]
    scanned = print_and_scan(PACK, kind, gs1=True)
    prefix = scanned.symbology_identifier
    raws = [prefix + scanned.text, scanned.bytes.decode("ascii"), scanned.text.replace("\x1d", "<GS>"), PACK]
    readings = [read(raw) for raw in raws]

    assert prefix in prefixes
    assert b"\x1d" in scanned.bytes
    assert {reading.key for reading in readings} == {b"G" + bytes.fromhex(GTIN) + b"aB-123"}
    assert {(reading.lot, str(reading.expiry)) for reading in readings} == {("L1", "2027-09-30")}
    assert {reading.hint for reading in readings} == {Hint.NONE}


@pytest.mark.parametrize("serial_length", range(1, 19))
def test_every_shape_of_a_gs1_data_matrix_is_known_by_its_identifier(serial_length: int) -> None:
    """Pins square and rectangular Data Matrix: a decoder names the rectangular extension `]d8`."""
    content = f"(01){GTIN}(21){'aB-1234567890123456'[:serial_length]}"
    scanned = print_and_scan(content, BarcodeFormat.DataMatrix, gs1=True)

    assert read(scanned.symbology_identifier + scanned.text).text == content
    assert read(scanned.symbology_identifier + scanned.text).repairs == Repair.AIM_PREFIX


@pytest.mark.parametrize("name", SYMBOLS)
def test_a_gs1_symbol_whose_separator_a_keyboard_drops_is_not_guessed(name: str) -> None:
    """Pins the loss of GS behind a true symbol: with the identifier or without, no wrong key comes out."""
    scanned = print_and_scan(PACK, SYMBOLS[name][0], gs1=True)
    typed = scanned.text.replace("\x1d", "")

    for raw in (typed, scanned.symbology_identifier + typed):
        assert (read(raw).code_class, read(raw).key) == (CodeClass.AMBIGUOUS, b"")
        assert read(raw).hint is Hint.SEPARATOR_LOST


@pytest.mark.parametrize("name", SYMBOLS)
def test_a_gs1_symbol_under_caps_lock_is_not_accused(name: str) -> None:
    """Pins Caps Lock behind a true symbol: letters arrive swapped, the clerk is told, no key is made."""
    scanned = print_and_scan(PACK, SYMBOLS[name][0], gs1=True)
    typed = (scanned.symbology_identifier + scanned.text).swapcase()

    assert (read(typed).code_class, read(typed).hint, read(typed).key) == (
        CodeClass.AMBIGUOUS,
        Hint.CAPS_LOCK,
        b"",
    )


@pytest.mark.parametrize(
    ("content", "code_class", "text"),
    [
        (f"https://www.mashangfangxin.com/drugQueryResult?code={A}", CodeClass.TWENTY_DIGIT, A),
        (f"https://id.gs1.org/01/{GTIN}/10/L1/21/aB?17=270930", CodeClass.GS1, f"(01){GTIN}(21)aB"),
        ("https://a.example/t/AB12345678CD", CodeClass.ENTERPRISE, "https://a.example/t/AB12345678CD"),
        ("药品标识码：8385793 序列号：0000879766660", CodeClass.TWENTY_DIGIT, "83857930000879766660"),
        ("ENT-2025-000123", CodeClass.ENTERPRISE, "ENT-2025-000123"),
    ],
)
def test_a_qr_code_of_words_and_links_comes_back(content: str, code_class: CodeClass, text: str) -> None:
    """Pins what QR codes on boxes carry besides plain codes, Chinese text included."""
    reading = read(print_and_scan(content, BarcodeFormat.QRCode).text)

    assert (reading.code_class, reading.text) == (code_class, text)


def test_a_product_barcode_is_told_from_the_code() -> None:
    """Pins the clerk's usual slip: the EAN-13 beside the code, by its digits and by its identifier."""
    scanned = print_and_scan("6924561884074", BarcodeFormat.EAN13)

    for raw in (scanned.text, scanned.symbology_identifier + scanned.text):
        assert read(raw).code_class is CodeClass.PRODUCT_BARCODE
        assert read(raw).identifier == GTIN
        assert read(raw).hint is Hint.SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE


def test_an_sscc_comes_back_from_its_label() -> None:
    """Pins the parent package among goods received: GS1-128 with 00, told by its identifier."""
    scanned = print_and_scan("(00)106141412345678908", BarcodeFormat.Code128, gs1=True)
    reading = read(scanned.symbology_identifier + scanned.text)

    assert (reading.code_class, reading.text) == (CodeClass.LOGISTIC_UNIT, "(00)106141412345678908")
    assert reading.repairs == Repair.AIM_PREFIX
