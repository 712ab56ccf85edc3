"""Terse documents for tests: a story is a list of calls, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.answer import answer_verdict
from tracecode.errors import DocumentRejected
from tracecode.v1 import catalogue_pb2, document_pb2, finding_pb2

NOON = 1_773_547_200
"""2026-03-15 12:00 in China."""
HOUR = 3600
DAY = 86_400
NS = 1_000_000_000

SHOP = "P13050000001"
OTHER = "P13050000002"
FAR = "P51010000003"
SISTER = "P13050000004"
QUIET = "P13050000005"
"""Does not upload the codes it receives."""

DRUG = "XJ01CAA040A001010102699"
OTHER_PACK = "XJ01CAA040A001010202699"
OTHER_MAKER = "XJ01CAA040A001010109999"
OTHER_FORM = "XJ01CAA040B002010102699"
OTHER_DRUG = "ZA12HAY0555010100326"

ITEM = "8206233"
"""Splittable into 24 units, ten in a middle package 8021762."""
MIDDLE = "8021762"

INSTITUTIONS = [
    catalogue_pb2.Institution(
        institution_code=SHOP,
        name="甲店",
        division_code="130500",
        group_code="G1",
        uploads_receipt_codes=True,
    ),
    catalogue_pb2.Institution(
        institution_code=OTHER, name="乙店", division_code="130500", uploads_receipt_codes=True
    ),
    catalogue_pb2.Institution(
        institution_code=FAR, name="丙店", division_code="510100", uploads_receipt_codes=True
    ),
    catalogue_pb2.Institution(
        institution_code=SISTER,
        name="甲店二",
        division_code="130500",
        group_code="G1",
        uploads_receipt_codes=True,
    ),
    catalogue_pb2.Institution(institution_code=QUIET, name="丁店", division_code="130500"),
]

PRODUCTS = [
    catalogue_pb2.Product(
        identifier=ITEM,
        package_level=1,
        name="阿莫西林胶囊",
        manufacturer_name="甲厂",
        drug_codes=[DRUG],
        units_per_package=1,
        splittable_units=24,
    ),
    catalogue_pb2.Product(
        identifier=MIDDLE,
        package_level=2,
        name="阿莫西林胶囊",
        manufacturer_name="甲厂",
        drug_codes=[DRUG],
        units_per_package=10,
        item_identifier=ITEM,
    ),
    catalogue_pb2.Product(
        identifier="06901234567892",
        package_level=1,
        name="进口药",
        drug_codes=[OTHER_DRUG],
        units_per_package=1,
    ),
]


def code(serial: int, identifier: str = ITEM) -> str:
    """The twenty digits of a box."""
    return f"{identifier}{serial:09d}{(serial * 7919) % 10_000:04d}"


def line(
    *codes: str,
    drug: str = DRUG,
    quantity: str = "",
    split: bool = False,
    lot: str = "",
    expiry: str = "",
    batch: str = "",
    number: int = 0,
) -> document_pb2.Line:
    """A line; the quantity is the number of codes unless said."""
    return document_pb2.Line(
        line_number=number,
        drug_code=drug,
        codes=codes,
        quantity=quantity or str(max(1, len(codes))),
        split=split,
        lot_number=lot,
        expiry_date=expiry,
        batch_serial=batch,
    )


def _document(
    institution: str, number: str, time: int, lines: Sequence[document_pb2.Line]
) -> document_pb2.Document:
    return document_pb2.Document(
        institution_code=institution,
        document_number=number,
        business_time=Timestamp(seconds=time),
        lines=lines,
    )


def sale(
    institution: str,
    number: str,
    time: int,
    *lines: document_pb2.Line,
    asked: bool = False,
    settlement: str = "",
    person: str = "",
    channel: int = 0,
    insured: bool = True,
    visit: str = "",
    corrects: str = "",
) -> document_pb2.Document:
    """A reported sale, or one asked before settlement."""
    document = _document(institution, number, time, lines)
    document.channel = document_pb2.Channel.ValueType(channel)
    document.corrects_document_number = corrects
    document.sale.CopyFrom(
        document_pb2.Sale(
            stage=document_pb2.SALE_STAGE_BEFORE_SETTLEMENT if asked else document_pb2.SALE_STAGE_REPORTED,
            settlement_id=settlement,
            visit_number=visit,
            person_token=person,
            settlement_type=(
                document_pb2.SETTLEMENT_TYPE_INSURED if insured else document_pb2.SETTLEMENT_TYPE_SELF_PAID
            ),
        )
    )
    return document


def sale_return(
    institution: str, number: str, time: int, *lines: document_pb2.Line, of: str = ""
) -> document_pb2.Document:
    """Goods taken back."""
    document = _document(institution, number, time, lines)
    document.sale_return.CopyFrom(document_pb2.SaleReturn(sale_document_number=of))
    return document


def receipt(institution: str, number: str, time: int, *lines: document_pb2.Line) -> document_pb2.Document:
    """Goods in from a supplier."""
    document = _document(institution, number, time, lines)
    document.receipt.CopyFrom(document_pb2.Receipt(supplier_name="供应商"))
    return document


def purchase_return(
    institution: str, number: str, time: int, *lines: document_pb2.Line
) -> document_pb2.Document:
    """Goods back to a supplier."""
    document = _document(institution, number, time, lines)
    document.purchase_return.CopyFrom(document_pb2.PurchaseReturn(supplier_name="供应商"))
    return document


def stock_change(
    institution: str, number: str, time: int, change: int, *lines: document_pb2.Line, counterparty: str = ""
) -> document_pb2.Document:
    """A 3502 document of a kind 101 to 108."""
    document = _document(institution, number, time, lines)
    document.stock_change.CopyFrom(
        document_pb2.StockChange(
            type=document_pb2.StockChangeType.ValueType(change), counterparty_institution_code=counterparty
        )
    )
    return document


def stock_count(institution: str, number: str, time: int, *lines: document_pb2.Line) -> document_pb2.Document:
    """What was found on the shelf."""
    document = _document(institution, number, time, lines)
    document.stock_count.CopyFrom(document_pb2.StockCount())
    return document


def deletion(
    institution: str, number: str, time: int, *, deletes: str = "", batch: str = "", kind: int = 4
) -> document_pb2.Document:
    """A 3507 of type 1 to 4."""
    document = _document(institution, number, time, ())
    document.deletion.CopyFrom(
        document_pb2.Deletion(
            type=document_pb2.DeletedType.ValueType(kind),
            deleted_document_number=deletes,
            batch_serial=batch,
        )
    )
    return document


def answered(recorded: finding_pb2.Verdict | bytes | DocumentRejected) -> finding_pb2.Verdict:
    """What an engine says of a document that it took, as it is answered, whichever form it chose."""
    assert not isinstance(recorded, DocumentRejected), recorded
    if isinstance(recorded, bytes):
        return finding_pb2.Verdict.FromString(recorded)
    verdict = finding_pb2.Verdict()
    verdict.CopyFrom(recorded)
    answer_verdict(verdict, verdict.as_of.time.ToNanoseconds(), asked=False)
    return verdict
