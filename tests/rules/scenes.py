"""Scenes for the tests of rules: a terse table of what happened, told to a rule through the real fold.

A chain is a text of one event a line: when, what, where, and what else is known.

      0h  receive B lot=L1
      2h  sale A settle=S1 person=p insured
    > 3d  sale B asked

`when` counts from 2026-03-15 12:00 in China: d, h and m, joined (1d2h30m), before it with a minus. `what` is
a key of OPERATIONS. `where` is a letter of INSTITUTIONS. The line with > is the one that is judged. What
else: key=value of KEYS, or a word of FLAGS. Documents are numbered d1, d2, ... by line unless doc= says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.code import read_scan
from tracecode.document import EPOCH, Document, DocumentKind, Operation, read_document
from tracecode.evidence import Chain, ChainEvidence, DeletedDocument, DocumentEvidence, LineEvidence
from tracecode.finding import Finding, Severity
from tracecode.life_cycle import Event, InstitutionFacts, Step, fold
from tracecode.rule_base import Thresholds
from tracecode.v1 import catalogue_pb2, document_pb2

NOON = 1_773_547_200
"""2026-03-15 12:00 in China."""

DRUG = "XJ01CAA040A001010102699"
CODE = "82062330000001311234"
OTHER_CODE = "82062330000001325678"
CARTON = "80217610000001311234"
STRANGE = "81111110000001311234"
GS1 = "(01)06901234567892(17)270630(10)L1(21)S1"

INSTITUTIONS = {
    "A": InstitutionFacts("P13050000001", "130500", "G1", False, True),
    "B": InstitutionFacts("P13050000002", "130500", "", False, True),
    # Another pooling area.
    "C": InstitutionFacts("P51010000003", "510100", "", False, True),
    # Sister shops of A, the second in another pooling area.
    "D": InstitutionFacts("P13050000004", "130500", "G1", False, True),
    "E": InstitutionFacts("P14010000005", "140100", "G1", False, True),
    # Uploads the codes it receives.
    "U": InstitutionFacts("P13050000006", "130500", "", True, True),
    "V": InstitutionFacts("P13050000007", "130500", "", True, True),
}
_BY_CODE = {facts.code: facts for facts in INSTITUTIONS.values()}

OPERATIONS = {
    "receive": (Operation.RECEIVE, DocumentKind.RECEIPT),
    "opening": (Operation.RECEIVE, DocumentKind.STOCK_CHANGE),
    "sale": (Operation.SALE, DocumentKind.SALE),
    "split": (Operation.SPLIT_SALE, DocumentKind.SALE),
    "return": (Operation.SALE_RETURN, DocumentKind.SALE_RETURN),
    "splitreturn": (Operation.SPLIT_RETURN, DocumentKind.SALE_RETURN),
    "out": (Operation.TRANSFER_OUT, DocumentKind.STOCK_CHANGE),
    "in": (Operation.TRANSFER_IN, DocumentKind.STOCK_CHANGE),
    "issue": (Operation.ISSUE, DocumentKind.STOCK_CHANGE),
    "supplier": (Operation.SUPPLIER_RETURN, DocumentKind.PURCHASE_RETURN),
    "destroy": (Operation.DESTROY, DocumentKind.STOCK_CHANGE),
    "count": (Operation.COUNT, DocumentKind.STOCK_COUNT),
    "delete": (Operation.DELETE, DocumentKind.DELETION),
}


def to_day(text: str) -> int:
    """yyyy-MM-dd as days since 1970-01-01."""
    return (date.fromisoformat(text) - EPOCH).days


KEYS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "units": ("units", int),
    "settle": ("settlement_id", str),
    "visit": ("visit_number", str),
    "person": ("person", str),
    "channel": ("channel", int),
    "to": ("counterparty", lambda letter: INSTITUTIONS[letter].code),
    "doc": ("document_number", str),
    "of": ("sale_document_number", str),
    "lot": ("lot_number", str),
    "expiry": ("expiry_day", to_day),
    "made": ("manufacture_day", to_day),
    "codelot": ("scan_lot_number", str),
    "codeexpiry": ("scan_expiry_day", to_day),
}
FLAGS: Mapping[str, Mapping[str, Any]] = {
    "ahead": {"business_time": NOON + 30 * 86_400},
    "insured": {"insured": True},
    "asked": {"before_settlement": True},
    "refused": {"before_settlement": True, "refused": True},
    "deleted": {"deleted_by": 999},
    "otherin": {"other_in": True},
    "inside": {"package": b"package"},
    "named": {"inside": True},
}


def registry(code: str) -> InstitutionFacts:
    """What is known of an institution; nothing of one that the scene does not list."""
    return _BY_CODE.get(code, InstitutionFacts(code))


def to_seconds(when: str) -> int:
    """A time of a table, in seconds since 1970 UTC."""
    units = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
    parts = re.findall(r"(\d+)([dhms])", when)
    assert re.fullmatch(r"-?(\d+[dhms])+", when), f"not a time: {when}"
    offset = sum(int(number) * units[unit] for number, unit in parts)
    return NOON + (-offset if when.startswith("-") else offset)


def read_events(table: str) -> tuple[list[Event], Event | None]:
    """The events of a table, and the judged one."""
    events: list[Event] = []
    judged = None
    for number, row in enumerate((row for row in table.splitlines() if row.strip()), 1):
        words = row.split()
        if marked := words[0] == ">":
            words = words[1:]
        when, what, where, *rest = words
        operation, kind = OPERATIONS[what]
        time = to_seconds(when)
        fields: dict[str, Any] = {
            "time": time,
            "operation": operation,
            "institution": INSTITUTIONS[where].code,
            "document_kind": kind,
            "document_number": f"d{number}",
            "sequence": number,
            "line_number": 1,
            "business_time": time,
            "receive_time": time,
        }
        for word in rest:
            name, _, value = word.partition("=")
            if value:
                field, convert = KEYS[name]
                fields[field] = convert(value)
            else:
                fields.update(FLAGS[word])
        events.append(Event(**fields))
        if marked:
            judged = events[-1]
    return events, judged


def follow(table: str) -> tuple[Step, ...]:
    """The chain of a table, folded."""
    return fold(read_events(table)[0], registry)


ITEM = catalogue_pb2.Product(
    identifier="8206233",
    package_level=1,
    name="阿莫西林胶囊",
    drug_codes=[DRUG],
    units_per_package=1,
    splittable_units=24,
)
OUTER = catalogue_pb2.Product(
    identifier="8021761", package_level=3, name="阿莫西林胶囊", drug_codes=[DRUG], units_per_package=10
)


def tell_chain(
    table: str,
    *,
    product: catalogue_pb2.Product | None = ITEM,
    holds: Iterable[catalogue_pb2.Hold] = (),
    thresholds: Thresholds | None = None,
    split_units_max: int | None = None,
) -> ChainEvidence:
    """The evidence of the judged event of a table."""
    events, judged = read_events(table)
    assert judged is not None, "mark the judged event with >"
    steps = fold(events, registry)
    return ChainEvidence(
        step=next(step for step in steps if step.event is judged),
        chain=Chain(steps),
        code=CODE,
        product=product,
        institution=registry(judged.institution),
        registry=registry,
        holds=tuple(holds),
        thresholds=thresholds or Thresholds(),
        split_units_max=split_units_max,
    )


def make_document(kind: str = "sale", *lines: document_pb2.Line, **fields: Any) -> document_pb2.Document:
    """A document of A at noon: an insured sale unless said otherwise; `at` is a time of a table."""
    at = fields.pop("at", "0m")
    content: dict[str, Any] = {
        "sale": document_pb2.Sale(
            stage=document_pb2.SALE_STAGE_REPORTED,
            settlement_type=document_pb2.SETTLEMENT_TYPE_SELF_PAID
            if fields.pop("self_paid", False)
            else document_pb2.SETTLEMENT_TYPE_INSURED,
        ),
        "sale_return": document_pb2.SaleReturn(),
        "receipt": document_pb2.Receipt(),
        "stock_count": document_pb2.StockCount(),
        "deletion": document_pb2.Deletion(
            type=document_pb2.DELETED_TYPE_SALE, deleted_document_number="gone"
        ),
    }
    if kind != "deletion" and not lines:
        lines = (make_line(CODE),)
    return document_pb2.Document(
        institution_code=INSTITUTIONS["A"].code,
        document_number="n1",
        business_time=Timestamp(seconds=to_seconds(at)),
        lines=lines,
        **{kind: content[kind]},
        **fields,
    )


def make_line(*scans: str, **fields: Any) -> document_pb2.Line:
    """A line with these scans; one of each unless `quantity` says otherwise."""
    fields.setdefault("quantity", str(max(1, len(scans))))
    return document_pb2.Line(codes=scans, **{"drug_code": DRUG, **fields})


def tell_line(
    kind: str = "sale",
    *lines: document_pb2.Line,
    judged: int = 0,
    products: Iterable[catalogue_pb2.Product] = (ITEM, OUTER),
    unknown_since: Mapping[str, int] | None = None,
    replaced: Mapping[bytes, str] | None = None,
    split_units_max: Mapping[str, int] | None = None,
    **fields: Any,
) -> LineEvidence:
    """The evidence of one line of a document, its scans really read."""
    document = read_document(make_document(kind, *lines, **fields))
    readings = [
        tuple(reading for scan in line.scans for reading in read_scan(scan)) for line in document.lines
    ]
    lines_of_code: dict[bytes, list[Any]] = {}
    for line, read in zip(document.lines, readings, strict=True):
        for reading in read:
            if reading.key:
                lines_of_code.setdefault(reading.key, []).append(line)
    known = {product.identifier: product for product in products}
    return LineEvidence(
        document=document,
        line=document.lines[judged],
        readings=readings[judged],
        products={r.identifier: known[r.identifier] for r in readings[judged] if r.identifier in known},
        unknown_since=unknown_since or {},
        lines_of_code={key: tuple(found) for key, found in lines_of_code.items()},
        replaced=replaced or {},
        thresholds=Thresholds(),
        split_units_max=split_units_max or {},
    )


def tell_document(
    kind: str = "sale",
    *,
    received: str = "0m",
    institution: str | InstitutionFacts = "A",
    in_service: bool = True,
    deleted: Iterable[DeletedDocument] = (),
    thresholds: Thresholds | None = None,
    **fields: Any,
) -> DocumentEvidence:
    """The evidence of a document; `received` is a time of a table."""
    document: Document = read_document(make_document(kind, **fields))
    return DocumentEvidence(
        document=document,
        receive_time=to_seconds(received),
        institution=INSTITUTIONS[institution] if isinstance(institution, str) else institution,
        in_service=in_service,
        thresholds=thresholds or Thresholds(),
        deleted=tuple(deleted),
    )


def weigh(findings: tuple[Finding, ...]) -> str:
    """What a rule said: the severity of its one finding, "" for silence; several joined by a blank."""
    return " ".join(finding.severity.name for finding in findings)


def names(finding: Finding) -> list[str]:
    """The names of the facts that a finding rests on."""
    return [fact.name for fact in finding.evidence]


def fact(finding: Finding, name: str) -> str:
    """The value of the first fact of that name."""
    return next(evidence.value for evidence in finding.evidence if evidence.name == name)


BLOCK, ALERT, WARN, INFO = (
    severity.name for severity in (Severity.BLOCK, Severity.ALERT, Severity.WARN, Severity.INFO)
)
SILENT = ""


def cases(*rows: tuple[str, Any, str]) -> pytest.MarkDecorator:
    """A table of what is called how, told, and said."""
    return pytest.mark.parametrize(
        ("told", "said"), [pytest.param(told, said, id=name) for name, told, said in rows]
    )
