"""GS1 strings as biip reads them, an independent parser: agreement, and each difference with its reason.

biip answers "which element strings are these", this project "which pack is it, beyond doubt". So biip is
asked about the grammar and the table of application identifiers; where this project is stricter or looser,
the test says why.
"""

import re
from contextlib import suppress
from datetime import date

import pytest
from biip import ParseError
from biip.gs1_application_identifiers import GS1ApplicationIdentifier
from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from biip.gs1_element_strings import GS1ElementString, GS1ElementStrings
from biip.gs1_messages import GS1Message
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import (
    bracket_elements,
    join_elements,
    pack_elements,
    plain_texts,
    set_82_texts,
)
from tracecode.code import (
    APPLICATION_IDENTIFIERS,
    GS,
    SET_82,
    CodeClass,
    Hint,
    Reading,
    Repair,
    read_scan,
)

GTIN = "06924561884074"

# Texts that no bracket, joined scan or spelled-out separator can be seen in.
UNDOUBTED = set_82_texts().filter(lambda text: not set(text) & set("(<,;%&"))

IDENTIFIERS = {number: GS1ApplicationIdentifier.extract(number) for number in APPLICATION_IDENTIFIERS}

# What biip's patterns ask beyond length and kind of character. None of these identifiers can be part of a
# pack's identity, and a symbol's own error correction guards their content, so they are not checked here.
LOOSER = {
    **dict.fromkeys(["4307", "4317"], "country codes: two capitals"),
    **dict.fromkeys(["4321", "4322", "4323"], "flags: 0 or 1"),
    **dict.fromkeys(["4330", "4331", "4332", "4333"], "temperatures: only a minus may follow the digits"),
    **dict.fromkeys(["423", "425"], "countries: groups of three digits"),
    **dict.fromkeys(["7003", "7006", "7007", "7011", "8008", "4324", "4325", "4326"], "dates and times"),
    **dict.fromkeys(["7250", "7251", "7258"], "a birth date, a birth time, a birth order written 1/2"),
    "8003": "begins with 0",
    "8010": "character set 39",
    "8030": "base64 of a signature",
}


def parse(raw: str) -> dict[str, str]:
    """biip's element strings by number."""
    return {element.ai.ai: element.value for element in GS1Message.parse(raw).element_strings}


def read(raw: str) -> Reading:
    """The one reading of a scan."""
    (reading,) = read_scan(raw)
    return reading


def assert_same_pack(reading: Reading, elements: GS1ElementStrings) -> None:
    """Compare identity and attributes with biip's element strings."""
    values = {element.ai.ai: element for element in elements}

    assert reading.code_class is CodeClass.GS1
    assert reading.text == f"(01){values['01'].value}(21){values['21'].value}"
    assert reading.lot == (values["10"].value if "10" in values else "")
    assert reading.expiry == (values["17"].date if "17" in values else None)
    assert reading.production == (values["11"].date if "11" in values else None)


# The table --------------------------------------------------------------------------------------------------


def test_both_tables_have_the_same_identifiers() -> None:
    """Pins that no number is missing here and none is invented."""
    theirs = set()
    for number in (f"{n:0{size}d}" for size in (2, 3, 4) for n in range(10**size)):
        with suppress(ParseError):
            theirs.add(GS1ApplicationIdentifier.extract(number).ai)

    assert theirs == set(APPLICATION_IDENTIFIERS)


def test_separators_are_required_by_the_same_identifiers() -> None:
    """Pins the predefined lengths (GenSpecs 7.8.5), on which it hangs where a value ends."""
    ours = {number: APPLICATION_IDENTIFIERS[number].predefined for number in IDENTIFIERS}

    assert ours == {number: not theirs.separator_required for number, theirs in IDENTIFIERS.items()}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_biip_takes_for_a_value_fits(data: st.DataObject) -> None:
    """Pins lengths and characters from biip's side: a value made from its pattern is one for us."""
    number = data.draw(st.sampled_from(sorted(IDENTIFIERS)))
    # In the human readable fields biip also takes percent-encoded signs, in twos, which makes them longer.
    pattern = IDENTIFIERS[number].pattern.replace("|%[0-9A-Fa-f][0-9A-Fa-f]%[0-9A-Fa-f][0-9A-Fa-f]", "")
    ours = APPLICATION_IDENTIFIERS[number]
    value = data.draw(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)).removeprefix(number)
    try:
        GS1ElementString.parse(number + value)
    except ParseError:
        # A pattern allows February 30; biip's second look does not, nor do we where a date is read.
        assert not ours.is_date or not ours.fits(value)
        return

    # biip lets 30 and 7004 be empty; the General Specifications ask for one digit at least.
    assert ours.fits(value) or (number in ("30", "7004") and value == "")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_value_that_fits_is_one_for_biip(data: st.DataObject) -> None:
    """Pins lengths and characters from our side; the exceptions are listed with their reasons."""
    number = data.draw(st.sampled_from(sorted(set(IDENTIFIERS) - set(LOOSER))))
    ours = APPLICATION_IDENTIFIERS[number]
    length = data.draw(st.integers(ours.length_min, ours.length_max))
    digits = min(ours.digits, length)
    value = data.draw(st.text("0123456789", min_size=digits, max_size=digits)) + data.draw(
        st.text(SET_82, min_size=length - digits, max_size=length - digits)
    )

    if ours.fits(value):
        assert GS1ElementString.parse(number + value).value == value
    else:
        assert ours.is_date


@pytest.mark.parametrize("number", sorted(LOOSER))
def test_a_looser_identifier_has_a_value_that_biip_refuses(number: str) -> None:
    """Pins that the list of exceptions holds nothing that has become equal."""
    ours = APPLICATION_IDENTIFIERS[number]
    lengths = (ours.length_min, ours.length_min + 1, ours.length_max)
    tries = [
        (digit * ours.digits)[:length] + sign * (length - ours.digits)
        for digit in "79"
        for sign in "7a!"
        for length in lengths
    ]
    refused = []
    for value in tries:
        if ours.fits(value):
            try:
                GS1ElementString.parse(number + value)
            except ParseError:
                refused.append(value)

    assert refused


# Whole strings ----------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(pack_elements(st.one_of(plain_texts(), set_82_texts())), st.sampled_from(["]d2", "]C1", "]Q3"]))
def test_packs_with_their_separators_read_alike(elements: list[tuple[str, str]], prefix: str) -> None:
    """Pins agreement on generated packs: any order, any serial of character set 82, separators whole."""
    raw = join_elements(elements) + GS
    # With a separator in sight, nothing is doubted; the comma's case stands among the differences.
    if not set(raw) & set(",;"):
        assert_same_pack(read(prefix + raw), GS1Message.parse(raw).element_strings)


@settings(max_examples=200, deadline=None)
@given(pack_elements(st.one_of(plain_texts(), UNDOUBTED)))
def test_packs_in_brackets_read_alike(elements: list[tuple[str, str]]) -> None:
    """Pins agreement on the human readable form; brackets inside values stand among the differences."""
    raw = bracket_elements(elements)

    assert_same_pack(read(raw), GS1Message.parse_hri(raw).element_strings)


@settings(max_examples=200, deadline=None)
@given(pack_elements(set_82_texts()), st.booleans())
def test_packs_as_digital_links_read_alike(elements: list[tuple[str, str]], in_query: bool) -> None:
    """Pins agreement on Digital Links that biip writes itself: lot and serial in the path, dates behind."""
    wanted = [(number, value) for number, value in elements if number in ("01", "10", "21", "11", "17")]
    link = GS1Message.parse(join_elements(wanted)).as_gs1_digital_link_uri()
    raw = link.as_uri(domain="a.example", prefix="p" if in_query else None)

    assert_same_pack(read(raw), GS1DigitalLinkURI.parse(raw).element_strings)


@settings(max_examples=200, deadline=None)
@given(pack_elements(), st.data())
def test_no_other_pack_is_read_than_biip_reads(elements: list[tuple[str, str]], data: st.DataObject) -> None:
    """Pins, on damaged strings, that a key means what biip reads; where a lost separator was put back, biip,
    which never looks for one, has read lot and serial as one value."""
    raw = join_elements(elements)
    place = data.draw(st.integers(0, len(raw) - 1))
    cut = data.draw(st.integers(0, 2))
    raw = raw[:place] + data.draw(st.sampled_from(["", "", GS, "0", "7", "A"])) + raw[place + cut :]
    (reading,) = read_scan("]d2" + raw)

    if reading.code_class is CodeClass.GS1 and Repair.LOST_SEPARATOR not in reading.repairs:
        assert_same_pack(reading, GS1Message.parse(raw).element_strings)


# The differences --------------------------------------------------------------------------------------------


def test_a_wrong_check_digit_is_a_misread_for_us() -> None:
    """biip notes it beside the value and goes on; a key made of it would be another product's."""
    raw = "010692456188407521ABC"

    assert GS1Message.parse(raw).element_strings[0].gtin_error is not None
    assert parse(raw)["21"] == "ABC"
    assert (read("]d2" + raw).code_class, read("]d2" + raw).hint) == (CodeClass.MALFORMED, Hint.CHECK_DIGIT)


def test_the_same_identifier_with_two_values_is_refused() -> None:
    """biip lists both; the General Specifications (4.12) forbid it, and neither serial is sure."""
    raw = f"01{GTIN}21ABC{GS}21ABD"

    assert [element.value for element in GS1Message.parse(raw).element_strings] == [GTIN, "ABC", "ABD"]
    assert read("]d2" + raw).code_class is CodeClass.MALFORMED
    assert read(f"]d201{GTIN}21ABC{GS}21ABC").text == f"(01){GTIN}(21)ABC"


def test_a_lost_separator_is_doubted_where_biip_takes_what_it_gets() -> None:
    """biip takes the longest value; without any sign of separators, two readings make no key."""
    raw = f"01{GTIN}10LOT21SERIAL"

    assert parse(raw) == {"01": GTIN, "10": "LOT21SERIAL"}
    assert (read(raw).code_class, read(raw).hint) == (CodeClass.AMBIGUOUS, Hint.SEPARATOR_LOST)


def test_a_lost_separator_is_put_back_where_biip_fails() -> None:
    """biip cuts after twenty characters and stumbles over the rest; the only reading that fits is taken."""
    raw = f"01{GTIN}10LOT121SERIAL0001234567"

    with pytest.raises(ParseError):
        parse(raw)
    assert (read(raw).text, read(raw).lot) == (f"(01){GTIN}(21)SERIAL0001234567", "LOT1")
    assert Repair.LOST_SEPARATOR in read(raw).repairs


def test_a_separator_after_a_fixed_length_that_is_not_predefined_is_insisted_on() -> None:
    """biip lets 7003 end by itself; the General Specifications (7.8.5) end it by a separator, and a reader
    that does not insist reads a lost one as data."""
    raw = f"01{GTIN}21A{GS}700327093012" + "0010L1"

    assert parse(raw)["10"] == "L1"
    assert read("]d2" + raw).code_class is CodeClass.MALFORMED
    assert read(f"]d201{GTIN}21A{GS}7003270930120" + f"0{GS}10L1").lot == "L1"


def test_a_bracket_inside_a_serial_is_kept() -> None:
    """biip ends a value at any bracket; character set 82 has them, so a known identifier ends it here."""
    raw = f"(01){GTIN}(21)A(B)C"

    assert GS1Message.parse_hri(raw).element_strings[1].value == "A"
    assert read(raw).text == f"(01){GTIN}(21)A(B)C"


def test_a_comma_that_may_join_two_scans_is_doubted() -> None:
    """biip reads one symbol; a field may hold two, and then the comma is no part of the serial."""
    raw = f"01{GTIN}21A,"

    assert parse(raw)["21"] == "A,"
    assert (read("]d2" + raw).code_class, read("]d2" + raw).hint) == (
        CodeClass.AMBIGUOUS,
        Hint.SCAN_ONE_AT_A_TIME,
    )


def test_the_century_is_pinned_where_biip_looks_at_the_calendar() -> None:
    """biip slides GenSpecs 7.12 with the clock; ours stays, so that a journal replays alike. Until 2047 the
    two agree on every expiry a drug on sale can have."""
    theirs = GS1Message.parse("17300900").element_strings[0].date

    assert read(f"]d201{GTIN}21A{GS}17300900").expiry == theirs == date(2030, 9, 30)


def test_a_product_without_a_serial_is_no_code() -> None:
    """biip reads the GTIN and is content; without AI 21 every box of the product would be the same code."""
    raw = f"01{GTIN}10LOT"

    assert parse(raw) == {"01": GTIN, "10": "LOT"}
    assert (read("]d2" + raw).code_class, read("]d2" + raw).key) == (CodeClass.PRODUCT_BARCODE, b"")
