"""A document as the rules see it: checked, frozen, and without protobuf.

`read_document` is the only way in. What it refuses is refused with the field's path and the remedy, and
nothing of the document is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import IntEnum
from functools import lru_cache
from typing import NoReturn

from google.protobuf.message import DecodeError

from tracecode.errors import FieldInvalid
from tracecode.v1 import document_pb2

LINES_MAX = 3_500
"""Lines, and codes, of one document (码上放心 platform: at most 3,500 codes per bill)."""

SCAN_BYTES_MAX = 256
LINE_LABELS = {
    "unit_price": 32,
    "final_price": 32,
    "product_barcode": 128,
    "pricing_unit_type": 64,
    "fee_detail_number": 128,
    "shelf": 128,
}
"""Texts of a line that are kept and never looked at, any character allowed, and the most bytes of each. The
national interfaces allow at most a third of that; what they call a character may take three bytes."""
CERTIFICATE_TYPE_BYTES_MAX = 64
TOKEN_BYTES_MAX = 128
DOCUMENT_NUMBER_BYTES_MAX = 64
DRUG_CODE_BYTES_MAX = 50
SUPPLIER_LABELS = {
    "supplier_name": 800,
    "supplier_licence_number": 200,
    "delivery_note_number": 200,
    "receipt_document_number": 200,
    "invoice_code": 200,
    "invoice_number": 200,
}
"""The same for receipts and purchase returns, which have most of these."""
BUSINESS_TIME_MIN = 946_684_800
"""2000-01-01 UTC: earlier is a clock that was never set (ours)."""
BUSINESS_TIME_MAX = 4_102_444_800

EPOCH = date(1970, 1, 1)
CHINA_SECONDS = 8 * 3600
"""Business days are days in China, UTC+8."""
NS = 1_000_000_000
"""Nanoseconds of a second."""
FUTURE_SKEW_SECONDS = 300
"""A business time further in the receiver's future than this is impossible (ours)."""


class DocumentKind(IntEnum):
    """What a document reports; numbers equal tracecode.v1.DocumentKind. NHSA interfaces in brackets."""

    SALE = 1
    """3505, and 2207 drug_trac_info."""
    SALE_RETURN = 2
    """3506."""
    RECEIPT = 3
    """3503."""
    PURCHASE_RETURN = 4
    """3504."""
    STOCK_CHANGE = 5
    """3502."""
    STOCK_COUNT = 6
    """3501."""
    DELETION = 7
    """3507."""


class Operation(IntEnum):
    """What a document does to a code; numbers equal tracecode.v1.Operation."""

    RECEIVE = 1
    SALE = 2
    SPLIT_SALE = 3
    SALE_RETURN = 4
    SPLIT_RETURN = 5
    TRANSFER_OUT = 6
    TRANSFER_IN = 7
    SUPPLIER_RETURN = 8
    DESTROY = 9
    COUNT = 10
    ISSUE = 11
    DELETE = 12


STOCK_CHANGE_OPERATIONS = {
    101: Operation.TRANSFER_IN,
    102: Operation.TRANSFER_OUT,
    103: Operation.RECEIVE,
    104: Operation.DESTROY,
    105: Operation.DESTROY,
    106: Operation.RECEIVE,
    107: Operation.ISSUE,
    108: Operation.RECEIVE,
}
"""inv_chg_type of NHSA interface 3502 -> what it does to a code."""

DELETED_TYPES = {
    DocumentKind.STOCK_COUNT: 1,
    DocumentKind.STOCK_CHANGE: 2,
    DocumentKind.RECEIPT: 3,
    DocumentKind.PURCHASE_RETURN: 3,
    DocumentKind.SALE: 4,
    DocumentKind.SALE_RETURN: 4,
}
"""inv_data_type of NHSA interface 3507 under which a kind is deleted."""


@dataclass(frozen=True, slots=True)
class Package:
    """A middle or outer package and the scans of the codes inside it."""

    scan: str
    child_scans: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One drug on a document. Days count from 1970-01-01; None = not said."""

    number: int
    drug_code: str
    scans: tuple[str, ...]
    quantity: Decimal
    split: bool
    batch_serial: str
    lot_number: str
    manufacture_day: int | None
    expiry_day: int | None
    packages: tuple[Package, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """What an institution reports at once. Times are seconds since 1970 UTC."""

    institution_code: str
    kind: DocumentKind
    number: str
    business_time: int
    lines: tuple[Line, ...]
    channel: int
    offline: bool
    corrects: str
    # Sale and sale return.
    before_settlement: bool
    insured: bool
    settlement_id: str
    visit_number: str
    person: str
    sale_document_number: str
    # Stock change.
    change_type: int
    counterparty: str
    # Deletion.
    deleted_type: int
    deleted_document_number: str
    deleted_batch_serial: str

    def operation(self, line: Line) -> Operation:
        """What this document does to the codes of `line`."""
        match self.kind:
            case DocumentKind.SALE:
                return Operation.SPLIT_SALE if line.split else Operation.SALE
            case DocumentKind.SALE_RETURN:
                return Operation.SPLIT_RETURN if line.split else Operation.SALE_RETURN
            case DocumentKind.RECEIPT:
                return Operation.RECEIVE
            case DocumentKind.PURCHASE_RETURN:
                return Operation.SUPPLIER_RETURN
            case DocumentKind.STOCK_CHANGE:
                return STOCK_CHANGE_OPERATIONS[self.change_type]
            case DocumentKind.STOCK_COUNT:
                return Operation.COUNT
            case DocumentKind.DELETION:
                return Operation.DELETE

    @property
    def business_day(self) -> int:
        """The day it happened in China, days since 1970-01-01."""
        return china_day(self.business_time)


def effective_time(business_time: int, receive_time: int) -> int:
    """When a document happened: its business time, or the receive time where that is impossible. Seconds."""
    return receive_time if business_time > receive_time + FUTURE_SKEW_SECONDS else business_time


def china_day(seconds: int) -> int:
    """The day in China (UTC+8) of a time, days since 1970-01-01."""
    return (seconds + CHINA_SECONDS) // 86_400


@lru_cache(maxsize=10_000)
def day_date(day: int) -> date:
    """Days since 1970-01-01 as a date."""
    return EPOCH + timedelta(days=day)


_INSTITUTION_CODE = re.compile(r"[A-Z][0-9]{11}")
_QUANTITY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,4})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
KINDS = {
    "sale": DocumentKind.SALE,
    "sale_return": DocumentKind.SALE_RETURN,
    "receipt": DocumentKind.RECEIPT,
    "purchase_return": DocumentKind.PURCHASE_RETURN,
    "stock_change": DocumentKind.STOCK_CHANGE,
    "stock_count": DocumentKind.STOCK_COUNT,
    "deletion": DocumentKind.DELETION,
}


def read_document(content: bytes | document_pb2.Document) -> Document:
    """Check a serialized or parsed tracecode.v1.Document and freeze it.

    Raises FieldInvalid naming the field and what would be right.
    """
    if isinstance(content, bytes):
        try:
            message = document_pb2.Document.FromString(content)
        except DecodeError:
            raise FieldInvalid("document", "is no tracecode.v1.Document; check the encoding") from None
    else:
        message = content
    _check(message)
    return freeze_document(message)


def freeze_document(message: document_pb2.Document) -> Document:
    """Freeze a document that was checked before, such as one of the journal."""
    kind = KINDS[message.WhichOneof("content") or ""]
    before_settlement = insured = False
    settlement_id = visit_number = person = sale_document_number = ""
    change_type = deleted_type = 0
    counterparty = deleted_document_number = deleted_batch_serial = ""
    if kind is DocumentKind.SALE:
        sale = message.sale
        before_settlement = sale.stage == document_pb2.SALE_STAGE_BEFORE_SETTLEMENT
        insured = sale.settlement_type == document_pb2.SETTLEMENT_TYPE_INSURED
        settlement_id, visit_number, person = sale.settlement_id, sale.visit_number, sale.person_token
    elif kind is DocumentKind.SALE_RETURN:
        back = message.sale_return
        insured = back.settlement_type == document_pb2.SETTLEMENT_TYPE_INSURED
        settlement_id, visit_number, person = back.settlement_id, back.visit_number, back.person_token
        sale_document_number = back.sale_document_number
    elif kind is DocumentKind.STOCK_CHANGE:
        change_type = message.stock_change.type
        counterparty = message.stock_change.counterparty_institution_code
    elif kind is DocumentKind.DELETION:
        deleted_type = message.deletion.type
        deleted_document_number = message.deletion.deleted_document_number
        deleted_batch_serial = message.deletion.batch_serial
    return Document(
        institution_code=message.institution_code,
        kind=kind,
        number=message.document_number,
        business_time=message.business_time.seconds,
        lines=tuple(_freeze_line(line, at) for at, line in enumerate(message.lines)),
        channel=message.channel,
        offline=message.offline,
        corrects=message.corrects_document_number,
        before_settlement=before_settlement,
        insured=insured,
        settlement_id=settlement_id,
        visit_number=visit_number,
        person=person,
        sale_document_number=sale_document_number,
        change_type=change_type,
        counterparty=counterparty,
        deleted_type=deleted_type,
        deleted_document_number=deleted_document_number,
        deleted_batch_serial=deleted_batch_serial,
    )


def _freeze_line(line: document_pb2.Line, position: int) -> Line:
    packages = line.packages
    return Line(
        number=line.line_number or position + 1,
        drug_code=line.drug_code,
        scans=tuple(line.codes),
        quantity=Decimal(line.quantity),
        split=line.split,
        batch_serial=line.batch_serial,
        lot_number=line.lot_number,
        manufacture_day=_read_day(line.manufacture_date),
        expiry_day=_read_day(line.expiry_date),
        packages=tuple(Package(p.code, tuple(p.child_codes)) for p in packages) if packages else (),
    )


def _check(message: document_pb2.Document) -> None:
    field = message.WhichOneof("content")
    if field is None:
        raise FieldInvalid("document.content", "set one of sale, sale_return, receipt, ... to say its kind")
    kind = KINDS[field]
    check_institution_code("document.institution_code", message.institution_code)
    _check_text("document.document_number", message.document_number, 64, required=True)
    _check_text("document.corrects_document_number", message.corrects_document_number, 64)
    _check_text("document.terminal_id", message.terminal_id, 64)
    _check_text("document.operator_token", message.operator_token, 128)
    _check_text("document.memo", message.memo, 2_000)
    _check_business_time(message)
    _check_lines(message, kind)
    if kind is DocumentKind.SALE:
        sale = message.sale
        if sale.stage not in (
            document_pb2.SALE_STAGE_BEFORE_SETTLEMENT,
            document_pb2.SALE_STAGE_REPORTED,
        ):
            raise FieldInvalid(
                "document.sale.stage", "say BEFORE_SETTLEMENT (may be refused) or REPORTED (already happened)"
            )
        for name in (
            "settlement_id",
            "visit_number",
            "person_token",
            "prescriber_token",
            "pharmacist_token",
            "prescription_number",
            "stock_out_number",
        ):
            _check_text(f"document.sale.{name}", getattr(sale, name), 128)
        for name in ("person_certificate_type", "prescriber_certificate_type", "pharmacist_certificate_type"):
            check_size(f"document.sale.{name}", getattr(sale, name), CERTIFICATE_TYPE_BYTES_MAX)
    elif kind is DocumentKind.SALE_RETURN:
        back = message.sale_return
        for name in ("sale_document_number", "settlement_id", "visit_number", "person_token"):
            _check_text(f"document.sale_return.{name}", getattr(back, name), 128)
        check_size(
            "document.sale_return.person_certificate_type",
            back.person_certificate_type,
            CERTIFICATE_TYPE_BYTES_MAX,
        )
    elif kind is DocumentKind.RECEIPT or kind is DocumentKind.PURCHASE_RETURN:
        goods = getattr(message, field)
        for label, bytes_max in SUPPLIER_LABELS.items():
            check_size(f"document.{field}.{label}", getattr(goods, label, ""), bytes_max)
    elif kind is DocumentKind.STOCK_CHANGE:
        if message.stock_change.type not in STOCK_CHANGE_OPERATIONS:
            raise FieldInvalid("document.stock_change.type", "one of the kinds 101 to 108 (inv_chg_type)")
        counterparty = message.stock_change.counterparty_institution_code
        if counterparty:
            check_institution_code("document.stock_change.counterparty_institution_code", counterparty)
    elif kind is DocumentKind.DELETION:
        deletion = message.deletion
        if deletion.type not in (1, 2, 3, 4):
            raise FieldInvalid("document.deletion.type", "say what is deleted (inv_data_type 1 to 4)")
        if bool(deletion.deleted_document_number) == bool(deletion.batch_serial):
            raise FieldInvalid(
                "document.deletion.deleted_document_number", "give either this or batch_serial, not both"
            )
        _check_text("document.deletion.deleted_document_number", deletion.deleted_document_number, 64)
        _check_text("document.deletion.batch_serial", deletion.batch_serial, 64)


def check_institution_code(field: str, code: str) -> None:
    """Raise FieldInvalid unless `code` is one capital letter and eleven digits (fixmedins_code)."""
    if not _INSTITUTION_CODE.fullmatch(code):
        raise FieldInvalid(field, "one capital letter and eleven digits, such as P37020304446")


def check_tokens(message: document_pb2.Document) -> None:
    """Raise FieldInvalid if a person's token is too long. Once it is hidden its length is not known."""
    check_size("document.operator_token", message.operator_token, TOKEN_BYTES_MAX)
    kind = message.WhichOneof("content")
    if kind == "sale" or kind == "sale_return":
        content = getattr(message, kind)
        for name in ("person_token", "prescriber_token", "pharmacist_token"):
            check_size(f"document.{kind}.{name}", getattr(content, name, ""), TOKEN_BYTES_MAX)


def check_size(field: str, text: str, bytes_max: int) -> None:
    """Raise FieldInvalid if a text takes more bytes than that."""
    # A character takes four bytes at most: most texts need no copy.
    if len(text) * 4 > bytes_max and len(text.encode()) > bytes_max:
        raise FieldInvalid(field, f"longer than {bytes_max} bytes; shorten it")


def _check_text(field: str, text: str, bytes_max: int, *, required: bool = False) -> None:
    if required and not text:
        raise FieldInvalid(field, "is required")
    if not text:
        return
    check_size(field, text, bytes_max)
    if not text.isprintable():
        raise FieldInvalid(field, "has control or invisible characters; send printable text")


def _check_business_time(message: document_pb2.Document) -> None:
    if not message.HasField("business_time"):
        raise FieldInvalid("document.business_time", "is required: when it happened")
    if not BUSINESS_TIME_MIN <= message.business_time.seconds < BUSINESS_TIME_MAX:
        raise FieldInvalid("document.business_time", "must be between 2000 and 2099; set the till's clock")
    if not 0 <= message.business_time.nanos < 1_000_000_000:
        raise FieldInvalid("document.business_time", "nanos must be 0 to 999999999")


_LINE_TEXTS = (
    ("drug_code", 50),
    ("batch_serial", 64),
    ("lot_number", 64),
    ("institution_drug_code", 64),
    ("institution_drug_name", 400),
    ("approval_number", 200),
    ("manufacturer_name", 400),
    ("memo", 2_000),
)
"""Fields of a line, and the bytes that each may have."""


def _check_lines(message: document_pb2.Document, kind: DocumentKind) -> None:
    if kind is DocumentKind.DELETION:
        if message.lines:
            raise FieldInvalid("document.lines", "a deletion has no lines; it names what it deletes")
        return
    if not message.lines:
        raise FieldInvalid("document.lines", "at least one line is required")
    if len(message.lines) > LINES_MAX:
        raise FieldInvalid("document.lines", f"more than {LINES_MAX} lines; split it as number_1, ...")
    numbers: set[int] = set()
    code_count = 0
    for position, line in enumerate(message.lines):
        field = f"document.lines[{position}]"
        number = line.line_number or position + 1
        if number in numbers:
            raise FieldInvalid(f"{field}.line_number", f"{number} stands twice; number lines from 1")
        numbers.add(number)
        if len(line.drug_code.encode()) > 50:
            raise FieldInvalid(f"{field}.drug_code", "longer than 50 bytes (med_list_codg)")
        for name, bytes_max in _LINE_TEXTS:
            value = getattr(line, name)
            # Only what may be wrong is given a name, which costs more than looking.
            if value and not (value.isascii() and value.isprintable() and len(value) <= bytes_max):
                _check_text(f"{field}.{name}", value, bytes_max)
        for name, bytes_max in LINE_LABELS.items():
            value = getattr(line, name)
            if value:
                check_size(f"{field}.{name}", value, bytes_max)
        code_count += len(line.codes) + sum(1 + len(package.child_codes) for package in line.packages)
        for at, scan in enumerate(line.codes):
            if _is_long(scan):
                _refuse_scan(f"{field}.codes[{at}]")
        for at, package in enumerate(line.packages):
            if _is_long(package.code):
                _refuse_scan(f"{field}.packages[{at}].code")
            for child_at, scan in enumerate(package.child_codes):
                if _is_long(scan):
                    _refuse_scan(f"{field}.packages[{at}].child_codes[{child_at}]")
        if not _QUANTITY.fullmatch(line.quantity):
            raise FieldInvalid(f"{field}.quantity", 'a decimal number with at most 4 decimals, such as "1"')
        if kind is not DocumentKind.STOCK_COUNT and Decimal(line.quantity) == 0:
            raise FieldInvalid(f"{field}.quantity", "must be more than 0")
        for name in ("manufacture_date", "expiry_date"):
            _check_day(f"{field}.{name}", getattr(line, name))
    if code_count > LINES_MAX:
        raise FieldInvalid("document.lines", f"more than {LINES_MAX} codes; split it as number_1, ...")


def _is_long(scan: str) -> bool:
    return len(scan.encode()) > SCAN_BYTES_MAX


def _refuse_scan(field: str) -> NoReturn:
    raise FieldInvalid(field, f"a scan longer than {SCAN_BYTES_MAX} bytes; scan one code at a time")


def _check_day(field: str, text: str) -> None:
    if text and not _DATE.fullmatch(text):
        raise FieldInvalid(field, "a date as yyyy-MM-dd, such as 2027-06-30")
    try:
        _read_day(text)
        # Day 00 of a month 13 was taken once, and what the journal has of it must be read on.
        if text:
            date(int(text[:4]), int(text[5:7]), 1)
    except ValueError:
        raise FieldInvalid(field, f"{text} is not a day of the calendar") from None


# A trade writes few days, each of them on many lines.
@lru_cache(maxsize=10_000)
def _read_day(text: str) -> int | None:
    """yyyy-MM-dd in days since 1970-01-01, nothing as None. Raises ValueError where there is no such day."""
    if not text:
        return None
    year, month, day = (int(part) for part in text.split("-"))
    if day:
        return (date(year, month, day) - EPOCH).days
    # Day 00 means the last of the month (GS1 General Specifications, AI 17).
    following = date(year + month // 12, month % 12 + 1, 1)
    return (following - EPOCH).days - 1
