"""What the native readers must say of any bytes: said by the Python parser, by protobuf and by the judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from documents import (
    DRUG,
    HOUR,
    INSTITUTIONS,
    NOON,
    NS,
    OTHER_DRUG,
    PRODUCTS,
    QUIET,
    SHOP,
    code,
    line,
    receipt,
    sale,
)
from google.protobuf.unknown_fields import UnknownFieldSet

from tracecode import _native
from tracecode.code import CodeClass, Hint, read_scan
from tracecode.document import DocumentKind, read_document
from tracecode.ledger import Ledger
from tracecode.person import PersonKey
from tracecode.v1 import document_pb2, finding_pb2, ledger_service_pb2

KEY = PersonKey(b"k" * 32)
NOW_NS = (NOON + 2 * HOUR) * NS
GS1 = "010690123456789221S1\x1d10L1\x1d17270630"
STOCKED_KEY = read_scan(code(1))[0].key
PLAIN = (CodeClass.TWENTY_DIGIT, CodeClass.GS1, CodeClass.ENTERPRISE)


def open_stocked_ledger(directory: Path | None, engine: str = "lmdb") -> Ledger:
    """A ledger at a standing clock with the catalogue of the tests and some boxes in stock."""
    ledger = Ledger.open(directory, engine=engine, person_key=KEY, clock_ns=lambda: NOW_NS)
    ledger.import_products(PRODUCTS)
    ledger.import_institutions(INSTITUTIONS)
    boxes = line(*(code(serial) for serial in range(1, 10)), lot="L1", expiry="2027-06-30")
    stock = receipt(SHOP, "R0", NOON - HOUR, boxes, line(GS1, lot="L1", drug=OTHER_DRUG))
    (verdict,) = ledger.record([stock])
    assert isinstance(verdict, finding_pb2.Verdict)
    return ledger


def seed_documents() -> list[document_pb2.Document]:
    """Documents that the stocked ledger clears, and near ones that it judges."""
    full = sale(SHOP, "S9", NOON, line(code(3), lot="L1", expiry="2027-06-30", batch="B1"), asked=True)
    full.operator_token, full.memo, full.terminal_id = "员工7", "备注", "T-1"
    full.sale.person_token, full.sale.prescriber_token = "A" * 32, "B"
    full.sale.person_certificate_type = "01"
    full.lines[0].unit_price, full.lines[0].manufacturer_name = "12.30", "甲厂"
    return [
        full,
        sale(SHOP, "S1", NOON, line(code(1)), settlement="T1", person="A", channel=1, visit="V1"),
        sale(SHOP, "S2", NOON, line(code(2), code(4)), line(GS1, drug=OTHER_DRUG), asked=True),
        sale(QUIET, "S3", NOON, line(code(77))),
        sale(SHOP, "S4", NOON, line(code(5), split=True, quantity="3"), insured=False, corrects="S0"),
        receipt(SHOP, "R1", NOON, line(code(11), lot="L2"), line(quantity="2.5", drug="")),
        receipt(SHOP, "R2", NOON, line("]d2" + GS1.replace("S1", "S7"), drug=OTHER_DRUG, batch="B2")),
    ]


def seed_questions() -> list[ledger_service_pb2.VerifyCodesRequest]:
    """Questions that the stocked ledger answers from their bytes, and near ones."""
    asked = ledger_service_pb2.VerifyCodesRequest(institution_code=SHOP, person_token="A", settlement_type=1)
    asked.codes.add(code=code(1), drug_code=DRUG)
    asked.codes.add(code=GS1, drug_code=OTHER_DRUG)
    timed = ledger_service_pb2.VerifyCodesRequest(institution_code=SHOP)
    timed.business_time.seconds, timed.business_time.nanos = NOON + HOUR, 5
    timed.codes.add(code=code(2), drug_code=DRUG)
    split = ledger_service_pb2.VerifyCodesRequest(institution_code=QUIET)
    split.codes.add(code=code(2), drug_code=DRUG, split_units=3)
    return [asked, timed, split]


SEED_SCANS = (
    code(1),
    GS1,
    "]d2" + GS1,
    "(01)06901234567892(21)S1(10)L1",
    "010690123456789221S1<GS>17270630",
    "01069012345678921727093010LOT121SERIAL0001234567",
    f"https://a.example/drugQueryResult?code={code(2)}&x=1#top",
    "https://a.example/01/06901234567892/21/%41S1?17=270900&10=L1",
    "https://a.example/00/106141412345678908",
    f"{code(1)},{code(2)}",
    code(1) + code(2) + code(3),
    "8385793-0000879766660",
    "ENT-2025-000123",
    "6924561884074",
    "无",
    "追溯码 8206 2330 0000 0001 7919",
    "]C100106141412345678908",
    "XJ01CAA040A001010102699",
)


def compare_scan(raw: bytes, key: bytes | None) -> None:
    """The native twin reads what the oracle reads; what it clears, the oracle has no doubt about."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        assert key is None
        return
    expected = read_scan(text)
    assert _native.read_scan(text) == expected, raw
    assert _native.keys_of([text]) == [expected[0].key if len(expected) == 1 else b""], raw
    if key is not None:
        (reading,) = expected
        assert (reading.key, reading.hint) == (key, Hint.NONE), raw
        assert reading.code_class in PLAIN, raw


def compare_document(content: bytes, verdict: bytes | None) -> None:
    """What is cleared, protobuf writes the same and the field checks take."""
    if verdict is None:
        return
    message = document_pb2.Document.FromString(content)
    assert not has_unknown_fields(message), content
    assert message.SerializeToString(deterministic=True) == content, content
    document = read_document(content)
    assert document.kind in (DocumentKind.SALE, DocumentKind.RECEIPT), content
    answered = finding_pb2.Verdict.FromString(verdict)
    assert answered.outcome == finding_pb2.OUTCOME_ACCEPTED, content
    assert answered.severity == finding_pb2.SEVERITY_INFO, content


def compare_question(ledger: Ledger, question: bytes, answer: bytes) -> None:
    """The judge gives the same answer, byte for byte."""
    request = ledger_service_pb2.VerifyCodesRequest.FromString(question)
    assert not has_unknown_fields(request), question
    assert answer == ledger.verify(request).SerializeToString(deterministic=True), question


def compare_requests(message: bytes, documents: Sequence[bytes]) -> None:
    """The documents are those that protobuf reads, with the persons hidden by the same key."""
    parsed = ledger_service_pb2.RecordDocumentsRequest.FromString(message)
    assert len(parsed.requests) == len(documents), message
    for request, document in zip(parsed.requests, documents, strict=True):
        assert not has_unknown_fields(request), message
        KEY.hide(request.document)
        assert request.document.SerializeToString(deterministic=True) == document, message


def has_unknown_fields(message: object) -> bool:
    """Whether a message, or one inside it, has fields that this release does not know."""
    if len(UnknownFieldSet(message)):
        return True
    for field, value in message.ListFields():  # type: ignore[attr-defined]
        if field.message_type is not None:
            if any(has_unknown_fields(part) for part in (value if field.is_repeated else [value])):
                return True
    return False
