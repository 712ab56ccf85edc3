"""Hypothesis strategies for the whole test suite: what valid, worn and hostile input looks like."""

from collections.abc import Sequence

from hypothesis import strategies as st

from tracecode.code import (
    AIM_PREFIXES_GS1,
    APPLICATION_IDENTIFIERS,
    GS,
    PLACEHOLDER_WORDS,
    SEPARATOR_ESCAPES,
    SEPARATOR_ESCAPES_INVERTED,
    SEPARATOR_SIGNS,
    SET_82,
    check_digit_holds,
)
from tracecode.document import DocumentKind, Operation
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import Event, InstitutionFacts
from tracecode.v1.catalogue_pb2 import Hold, HoldReason, Institution, Product, ServicePeriod

# Scans ------------------------------------------------------------------------------------------------------

DIGITS = "0123456789"


def add_check_digit(digits: str) -> str:
    """The digits with the mod 10 check digit that holds for them (GS1 General Specifications 7.9.1)."""
    return next(digits + last for last in DIGITS if check_digit_holds(digits + last))


def digit_texts(size: int) -> st.SearchStrategy[str]:
    """Texts of exactly so many digits."""
    return st.text(DIGITS, min_size=size, max_size=size)


def twenty_digit_codes() -> st.SearchStrategy[str]:
    """20-digit codes as 码上放心 issues them; the same digit twenty times is a placeholder and left out."""
    return digit_texts(19).map(lambda tail: "8" + tail).filter(lambda code: len(set(code)) > 1)


def gtins() -> st.SearchStrategy[str]:
    """GTIN-14 with the right check digit, half of them GTIN-8, -12 and -13 filled up with zeros."""
    short = st.sampled_from([12, 11, 7]).flatmap(digit_texts).map(lambda digits: digits.zfill(13))
    return st.one_of(digit_texts(13), short).map(add_check_digit)


def ssccs() -> st.SearchStrategy[str]:
    """SSCC of 18 digits with the right check digit."""
    return digit_texts(17).map(add_check_digit)


def set_82_texts(size_max: int = 20) -> st.SearchStrategy[str]:
    """Texts of GS1 character set 82, as lots and serials are."""
    return st.text(SET_82, min_size=1, max_size=size_max)


def plain_texts(size_max: int = 20) -> st.SearchStrategy[str]:
    """Texts of letters and digits, as most lots and serials are."""
    return st.text(DIGITS + "ABCXYZabcxyz", min_size=1, max_size=size_max)


@st.composite
def element_dates(draw: st.DrawFn) -> str:
    """YYMMDD with days 00 to 28, valid in every month."""
    year, month = draw(st.integers(0, 99)), draw(st.integers(1, 12))
    return f"{year:02d}{month:02d}{draw(st.sampled_from([0, 1, 15, 28])):02d}"


@st.composite
def pack_elements(
    draw: st.DrawFn, texts: st.SearchStrategy[str] | None = None, serial: bool = True
) -> list[tuple[str, str]]:
    """Element strings of a drug pack in any order: GTIN, serial, any of lot, dates and a national number."""
    texts = plain_texts() if texts is None else texts
    elements = [("01", draw(gtins()))]
    if serial:
        elements.append(("21", draw(texts)))
    if draw(st.booleans()):
        elements.append(("10", draw(texts)))
    for number in ("11", "15", "17"):
        if draw(st.booleans()):
            elements.append((number, draw(element_dates())))
    if draw(st.booleans()):
        elements.append(("712", draw(texts)))
    return draw(st.permutations(elements))


def join_elements(elements: list[tuple[str, str]], separator: str = GS) -> str:
    """Element strings as they stand in a symbol, a separator behind each value of variable length."""
    parts = []
    for place, (number, value) in enumerate(elements):
        ends = place == len(elements) - 1 or APPLICATION_IDENTIFIERS[number].predefined
        parts.append(number + value + ("" if ends else separator))
    return "".join(parts)


def bracket_elements(elements: list[tuple[str, str]]) -> str:
    """Element strings in their human readable form."""
    return "".join(f"({number}){value}" for number, value in elements)


@st.composite
def element_strings(draw: st.DrawFn) -> str:
    """GS1 scans in every form: prefixed or not, separators whole, spelled out or lost, or bracketed."""
    elements = draw(pack_elements(st.one_of(plain_texts(), set_82_texts()), serial=draw(st.booleans())))
    if draw(st.integers(0, 4)) == 0:
        return bracket_elements(elements)
    if draw(st.integers(0, 4)) == 0:
        elements.append(
            draw(st.sampled_from([("00", draw(ssccs())), ("37", "12"), ("240", "X1"), ("7003", "2")]))
        )
    separators = ["", GS, *SEPARATOR_ESCAPES, *SEPARATOR_ESCAPES_INVERTED, *SEPARATOR_SIGNS]
    separator = draw(st.one_of(st.sampled_from(["", GS]), st.sampled_from(separators)))
    prefix = draw(
        st.sampled_from(["", "", *AIM_PREFIXES_GS1, "]D2", "]c1", "]E0", "]d1", "]C0", "】d2", "+d2"])
    )
    return prefix + join_elements(elements, separator)


def repairable_strings() -> st.SearchStrategy[str]:
    """Bare GS1 strings whose lost separator has one place only: lot and serial are too long for one lot."""
    serials = st.text("ABCXYZabc", min_size=17, max_size=20)
    lots = st.text("ABCXYZ", min_size=1, max_size=6)
    return st.tuples(gtins(), lots, serials).map(lambda pack: f"01{pack[0]}1727093010{pack[1]}21{pack[2]}")


@st.composite
def urls(draw: st.DrawFn) -> str:
    """URLs as QR codes carry them: with a code in the query, GS1 Digital Links, tokens, and pages."""
    code = draw(st.one_of(twenty_digit_codes(), digit_texts(20), element_strings(), plain_texts(24)))
    gtin = draw(gtins()).lstrip("0")
    lot, serial = draw(set_82_texts()), draw(set_82_texts())
    path = draw(
        st.sampled_from(
            [
                f"/drugQueryResult?code={code}",
                f"/q?x=1&C={code}#top",
                f"/#/page?c={code}&code={code}",
                f"/{code}",
                f"/01/{gtin.zfill(14)}/21/{serial}?17=270900",
                f"/a/01/{gtin}/10/{lot}/21/%41{serial}?11=250131&10={lot}",
                f"/01/{gtin}?21={serial}&21={lot}",
                f"/00/{draw(ssccs())}",
                f"/t/{code}?id={code}",
                f"/?a={draw(twenty_digit_codes())}&b={draw(twenty_digit_codes())}",
                "/products/index.html",
                "",
            ]
        )
    )
    return draw(st.sampled_from(["https://", "http://", "HTTPS://", "hTTPS://", "www."])) + "a.example" + path


def valid_scans() -> st.SearchStrategy[str]:
    """Scans that hold one code or one thing known to be none."""
    return st.one_of(
        twenty_digit_codes(),
        digit_texts(20),
        element_strings(),
        repairable_strings(),
        urls(),
        plain_texts(40),
        st.sampled_from(sorted(PLACEHOLDER_WORDS)),
        st.tuples(digit_texts(7), digit_texts(13)).map("-".join),
        st.tuples(digit_texts(7), digit_texts(13)).map(
            lambda label: f"药品标识码：{label[0]} 序列号：{label[1]}"
        ),
        twenty_digit_codes().map(lambda code: f"追溯码 {' '.join(code[i : i + 4] for i in range(0, 20, 4))}"),
        st.sampled_from([7, 11, 12, 13, 17]).flatmap(digit_texts).map(add_check_digit),
        st.integers(1, 60).flatmap(digit_texts),
        st.just("86901234567898"),
        st.just("XA02ABN057A001010305849"),
        st.just("ZA12HAY0555010100326"),
        st.just("国药准字Z45021428"),
        st.just("11010519491231002X"),
    )


_WEAR = [
    *" \r\n\t,;，；、。\x00\x7f\ufeff\u200b\u3000",
    *"[](){}<>|^~%&#\\/=?:+-",
    *"0189AazZ无é\ud800",
    *(GS, "<GS>", "]d2", "]C1", "https://", "code=", "/01/", "(21)", "(10)", "10", "21", "17270930"),
]


def widen(text: str) -> str:
    """The text as a Chinese input method types it: printable ASCII full-width."""
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


@st.composite
def worn_scans(draw: st.DrawFn) -> str:
    """Scans after keyboards, input methods, tills and clerks: cut, doubled, joined, widened, case swapped."""
    text = draw(st.one_of(valid_scans(), st.lists(valid_scans(), min_size=2, max_size=3).map("".join)))
    if draw(st.booleans()):
        text += draw(st.sampled_from([",", ";", "，", "\r\n", " ", ""])) + draw(valid_scans())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        wear = draw(st.integers(0, 3))
        if wear == 0:
            text = text[:place] + text[place + 1 :]
        elif wear == 1:
            text = text[:place] + draw(st.sampled_from(_WEAR)) + text[place:]
        elif wear == 2:
            text = text[:place] + text[place:].swapcase()
        else:
            text = text[:place] + widen(text[place:])
    return text


def scans() -> st.SearchStrategy[str]:
    """Anything a scanner may deliver: valid, worn, and texts that nobody ever scanned."""
    return st.one_of(valid_scans(), worn_scans(), st.text(), st.text(DIGITS + SET_82 + GS, max_size=60))


# The catalogue ----------------------------------------------------------------------------------------------


def catalogue_texts() -> st.SearchStrategy[str]:
    """Names as people type them, of any script, with what CSV gives a meaning to; no blanks at the ends."""
    return st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20).map(str.strip)


def identifiers() -> st.SearchStrategy[str]:
    """药品标识码 of seven digits."""
    return digit_texts(7)


def drug_codes() -> st.SearchStrategy[str]:
    """NHSA drug codes of western and of Chinese patent medicines."""
    western = r"X[A-V][0-9]{2}[A-Z]{2}[A-Z][0-9]{3}[A-Z][0-9]{3}[0-9]{9}"
    return st.from_regex(rf"{western}|Z[A-Z][0-9]{{2}}[A-Z]{{2}}[A-Z][0-9]{{13}}", fullmatch=True)


def days() -> st.SearchStrategy[str]:
    """yyyy-MM-dd."""
    return st.dates().map(lambda day: day.isoformat())


def products() -> st.SearchStrategy[Product]:
    """Products that an import takes."""
    return st.builds(
        Product,
        identifier=identifiers(),
        package_level=st.integers(1, 3),
        name=catalogue_texts(),
        manufacturer_name=catalogue_texts(),
        strength=catalogue_texts(),
        pack=catalogue_texts(),
        approval_number=catalogue_texts(),
        drug_codes=st.lists(drug_codes(), max_size=3, unique=True),
        units_per_package=st.integers(1, 1_000_000),
        splittable_units=st.integers(0, 1_000_000),
        smallest_unit=st.booleans(),
    )


def institutions() -> st.SearchStrategy[Institution]:
    """Institutions that an import takes."""
    closed = st.tuples(days(), days()).map(
        lambda pair: ServicePeriod(start_date=min(pair), end_date=max(pair))
    )
    return st.builds(
        Institution,
        institution_code=st.from_regex(r"[A-Z][0-9]{11}", fullmatch=True),
        name=catalogue_texts(),
        division_code=digit_texts(6),
        group_code=catalogue_texts(),
        uploads_receipt_codes=st.booleans(),
        service_periods=st.lists(closed | days().map(lambda day: ServicePeriod(start_date=day)), max_size=3),
    )


def holds() -> st.SearchStrategy[Hold]:
    """Holds on lots that an import takes."""
    return st.builds(
        Hold,
        hold_id=catalogue_texts().filter(bool),
        reason=st.sampled_from([number for number in HoldReason.values() if number]),
        identifier=identifiers(),
        lot_number=catalogue_texts().filter(bool),
        start_date=days(),
        authority=catalogue_texts(),
    )


# Findings ---------------------------------------------------------------------------------------------------

evidences = st.builds(
    Evidence,
    name=st.sampled_from(["earlier_sale", "holder", "billed_drug"]),
    value=plain_texts(),
    sequence=st.integers(0, 2**63),
    time=st.none() | st.integers(0, 4_102_444_800),
    institution_code=st.sampled_from(["", "P13050000001"]),
    division_code=st.sampled_from(["", "130500"]),
    document_number=plain_texts(),
)
findings = st.builds(
    Finding,
    type=st.sampled_from(FindingType),
    severity=st.sampled_from(Severity),
    line_number=st.integers(0, 3_500),
    code=st.sampled_from(["", "82062330000000017919"]),
    grade=st.integers(0, 5),
    evidence=st.lists(evidences, max_size=3).map(tuple),
)
"""Findings of any type, with evidence of every shape."""


# Chains -----------------------------------------------------------------------------------------------------

CHAIN_START = 1_773_547_200
"""2026-03-15 12:00 in China."""

CHAIN_INSTITUTIONS = {
    code: InstitutionFacts(code, division, group, uploads, True)
    for code, division, group, uploads in (
        ("P13050000001", "130500", "G1", False),
        ("P13050000002", "130500", "", False),
        ("P51010000003", "510100", "", True),
        ("P13050000004", "130500", "G1", True),
    )
}
"""Two of one group, two that upload the codes they receive, one in another pooling area."""

KIND_OF_OPERATION = {
    Operation.RECEIVE: DocumentKind.RECEIPT,
    Operation.SALE: DocumentKind.SALE,
    Operation.SPLIT_SALE: DocumentKind.SALE,
    Operation.SALE_RETURN: DocumentKind.SALE_RETURN,
    Operation.SPLIT_RETURN: DocumentKind.SALE_RETURN,
    Operation.SUPPLIER_RETURN: DocumentKind.PURCHASE_RETURN,
    Operation.COUNT: DocumentKind.STOCK_COUNT,
    Operation.DELETE: DocumentKind.DELETION,
}
"""The kind of document that does it; the others are stock changes."""


MIXED_OPERATIONS = (*Operation, *[Operation.SALE] * 6, *[Operation.RECEIVE] * 3)


@st.composite
def chains(
    draw: st.DrawFn, events_max: int = 8, operations: Sequence[Operation] = MIXED_OPERATIONS
) -> list[Event]:
    """Events of one code at a few institutions, in the order of arrival, each of a document of its own.

    Times are close, so that some fall together; sales are the most frequent, and some events are refused,
    deleted, or those of a package. An operation that stands twice in `operations` comes twice as often.
    """
    events = []
    for number in range(1, draw(st.integers(1, events_max)) + 1):
        operation = draw(st.sampled_from(operations))
        selling = operation in (Operation.SALE, Operation.SPLIT_SALE)
        time = CHAIN_START + 3600 * draw(st.sampled_from([0, 1, 2, 12, 36, 72, 200, 400]))
        events.append(
            Event(
                time=time,
                operation=operation,
                institution=draw(st.sampled_from(sorted(CHAIN_INSTITUTIONS))),
                document_kind=KIND_OF_OPERATION.get(operation, DocumentKind.STOCK_CHANGE),
                document_number=f"d{number}",
                sequence=number,
                line_number=1,
                business_time=time,
                receive_time=time,
                units=draw(st.integers(1, 9)) if "SPLIT" in operation.name else 0,
                settlement_id=draw(st.sampled_from(["", "", "s1", "s2"])),
                visit_number=draw(st.sampled_from(["", "", "v1"])),
                person=draw(st.sampled_from(["", "", "p", "q"])),
                channel=draw(st.integers(0, 2)),
                insured=draw(st.booleans()),
                before_settlement=selling and draw(st.booleans()),
                counterparty=draw(st.sampled_from(["", *sorted(CHAIN_INSTITUTIONS)])),
                lot_number=draw(st.sampled_from(["", "L1", "L2"])),
                package=draw(st.sampled_from([b"", b"", b"", b"package"])),
                inside=draw(st.booleans()),
                other_in=operation is Operation.RECEIVE and draw(st.integers(0, 3)) == 0,
                refused=selling and draw(st.integers(0, 4)) == 0,
                deleted_by=draw(st.sampled_from([0, 0, 0, 0, 99])),
            )
        )
    return draw(st.permutations(events))
