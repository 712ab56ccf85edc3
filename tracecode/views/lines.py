"""The lines relation: what was reported, as columns. Views, screening and reports begin here.

Three relations are read from the journal's entries, and from nothing else: the same entries give the same
rows, whoever asks and whenever.

`LINES` has a row for each code on each line of each document; a line without codes has one row whose code is
null. `FINDINGS` has a row for each finding, as first given and as revised. `DELETIONS` has a row for each
document that takes others back (NHSA 3507). Nothing is taken out of them afterwards: an entry, once written,
does not change. Questions about what counts now are joins.

* What is thought of a document now: of its rows in FINDINGS those of the greatest `revision`. A revision
  that leaves nothing to be found has one row of type 0.
* What was taken back: a document of the deletion's institution and `deleted_type` (DELETED_TYPES of its
  kind), of that number or, where the deletion names one, with a line of that batch serial; whose business
  time is not after the deletion's; and that corrects no other. Whichever arrived first.
* What took place: not `refused`, and not taken back.

`extract` is the readable way from entries to rows. native/lines.pxi does the same for plain documents without
Python; `read_lines` uses both, and tests hold them equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracecode._native import Store, extract_entries, extract_journal, read_scan
from tracecode.code import CodeClass, Reading
from tracecode.document import (
    EPOCH,
    NS,
    DocumentKind,
    china_day,
    effective_time,
    freeze_document,
)
from tracecode.v1 import document_pb2, finding_pb2, journal_pb2

TIME = pa.timestamp("us")
"""Times are UTC, without a zone in the type."""
QUANTITY = pa.decimal128(16, 4)
PRICE = pa.decimal128(18, 6)
AMOUNT = pa.decimal128(18, 2)
FINDING_TYPES = pa.list_(pa.field("item", pa.int16(), nullable=False))


def _column(name: str, type_: pa.DataType, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=nullable, metadata={"meaning": meaning})


LINES = pa.schema(
    [
        _column("sequence", pa.int64(), "The document's entry in the journal."),
        _column("receive_time", TIME, "When it was received (receive_time_ns, cut to microseconds)."),
        _column(
            "business_time",
            TIME,
            "When it happened: document.business_time in whole seconds, or the receive time where that lies "
            "more than 5 minutes in the receiver's future (tracecode.document.effective_time).",
        ),
        _column("business_day", pa.date32(), "The day of business_time in China (UTC+8)."),
        _column("institution_code", pa.string(), "document.institution_code."),
        _column(
            "division_code",
            pa.string(),
            "Six digits: what the institution's code says of its division. The catalogue may say otherwise.",
        ),
        _column("kind", pa.int8(), "tracecode.v1.DocumentKind: 1 sale, 2 sale return, 3 receipt, ..."),
        _column("operation", pa.int8(), "tracecode.v1.Operation: what it does to the codes of the line."),
        _column("stage", pa.int8(), "tracecode.v1.SaleStage: 1 before settlement, 2 reported; 0 no sale."),
        _column("change_type", pa.int16(), "inv_chg_type 101 to 108; 0 no stock change."),
        _column("channel", pa.int32(), "tracecode.v1.Channel: 1 settlement, 2 inventory, 0 not said."),
        _column("offline", pa.bool_(), "The terminal acted without a connection."),
        _column("document_number", pa.string(), "document.document_number."),
        _column("corrects_document_number", pa.string(), "What it corrects; empty = nothing."),
        _column("settlement_id", pa.string(), "setl_id of a sale or sale return; empty = none."),
        _column("visit_number", pa.string(), "mdtrt_sn of a sale or sale return; empty = none."),
        _column("settlement_type", pa.int32(), "1 insured, 2 paid by oneself, 0 not said or no sale."),
        _column(
            "person_token", pa.string(), "Keyed hash of the person of a sale or its return; empty = none."
        ),
        _column("prescriber_token", pa.string(), "Keyed hash of a sale's prescriber; empty = none."),
        _column("pharmacist_token", pa.string(), "Keyed hash of a sale's pharmacist; empty = none."),
        _column("operator_token", pa.string(), "Keyed hash of who operated; empty = none."),
        _column("terminal_id", pa.string(), "The institution's number of the till; empty = not said."),
        _column("prescription_number", pa.string(), "rxno of a sale; empty = none."),
        _column(
            "counterparty",
            pa.string(),
            "The other side: the institution of a transfer, or of a receipt and a purchase return the "
            "supplier's licence, or its name where no licence was given; empty = none.",
        ),
        _column(
            "sale_document_number", pa.string(), "The sale that a sale return reverses; empty = not said."
        ),
        _column("line_number", pa.int64(), "line.line_number, or its position from 1 where that is 0."),
        _column("line_row", pa.int32(), "Which row of its line this is, from 0."),
        _column("line_rows", pa.int32(), "How many rows the line has."),
        _column("drug_code", pa.string(), "NHSA drug code as billed; empty = not said."),
        _column(
            "quantity",
            QUANTITY,
            "Of the whole line, packs or (split) smallest units; null on all rows of a line but its first, "
            "so that sums are right.",
            nullable=True,
        ),
        _column("split", pa.bool_(), "trdn_flag: the quantity counts smallest units."),
        _column(
            "price",
            PRICE,
            "Yuan: line.final_price, or line.unit_price where that is no decimal number; null = neither is "
            "one of at most 12 digits and 6 decimals.",
            nullable=True,
        ),
        _column(
            "amount",
            AMOUNT,
            "Yuan: quantity x price, half a fen upwards; null where one of them is, or it has more than 16 "
            "digits before the point.",
            nullable=True,
        ),
        _column("batch_serial", pa.string(), "fixmedins_bchno; empty = not said."),
        _column("lot", pa.string(), "As the line says, else as the code says (GS1 AI 10); empty = neither."),
        _column(
            "expiry_day",
            pa.date32(),
            "As the line says, else as the code says (GS1 AI 17); null = neither.",
            nullable=True,
        ),
        _column("prescription_drug", pa.bool_(), "rx_flag."),
        _column("gift", pa.bool_(), "prod_geay_flag."),
        _column("code", pa.string(), "Canonical text of the code; null = no code was read.", nullable=True),
        _column("product", pa.string(), "7 digits or GTIN-14 inside the code; null = none.", nullable=True),
        _column(
            "code_class",
            pa.int8(),
            "tracecode.code.CodeClass of what was scanned (2 twenty digits, 3 GS1, ...); 0 = nothing was.",
        ),
        _column(
            "in_package", pa.bool_(), "Not scanned on the line itself, but a package of it or inside one."
        ),
        _column("scan", pa.string(), "What was scanned where it gave no code; else null.", nullable=True),
        _column("refused", pa.bool_(), "Asked before settlement and refused: nothing was sold."),
        _column("cleared", pa.bool_(), "Plainly in order; judged by no rule."),
        _column(
            "findings",
            FINDING_TYPES,
            "tracecode.v1.FindingType of what was first found about the code, its line or the document, in "
            "the entry's order. A finding about a line stands on all its rows: count findings in FINDINGS.",
        ),
        _column("severity", pa.int8(), "The greatest final_severity of these; 0 = nothing was found."),
    ]
)

FINDINGS = pa.schema(
    [
        _column("entry", pa.int64(), "The entry in which it stands: the document's, or the revision's."),
        _column("sequence", pa.int64(), "The entry of the document it is about."),
        _column("revision", pa.int32(), "0 as first given, then 1, 2, ...: the greatest one counts now."),
        _column("cause_sequence", pa.int64(), "The entry that brought it."),
        _column("receive_time", TIME, "When `entry` was written."),
        _column("type", pa.int16(), "tracecode.v1.FindingType; 0 = the revision left nothing to be found."),
        _column("severity", pa.int8(), "tracecode.v1.Severity while the verdict is provisional."),
        _column("final_severity", pa.int8(), "And when it is final."),
        _column("mode", pa.int8(), "tracecode.v1.Mode: 1 observe, 2 advise, 3 enforce."),
        _column("line_number", pa.int64(), "The line, 0 = the document."),
        _column("code", pa.string(), "The code, empty = the line."),
        _column("grade", pa.int8(), "How far a swapped drug is from the billed one, 0 to 5."),
        _column("revisable", pa.bool_(), "Documents that arrive later may change it."),
    ]
)

DELETIONS = pa.schema(
    [
        _column("sequence", pa.int64(), "The deletion's entry."),
        _column("receive_time", TIME, "When it was received."),
        _column("business_time", TIME, "When it happened, as in LINES."),
        _column("business_day", pa.date32(), "The day of that in China."),
        _column("institution_code", pa.string(), "Whose it is; it takes back only documents of its own."),
        _column("division_code", pa.string(), "As in LINES."),
        _column("document_number", pa.string(), "The deletion's own number."),
        _column(
            "deleted_type", pa.int8(), "inv_data_type: 1 count, 2 change, 3 purchase, 4 sale; returns too."
        ),
        _column("deleted_document_number", pa.string(), "What it takes back; empty = a batch serial."),
        _column("batch_serial", pa.string(), "All documents with a line of this; empty = a document."),
    ]
)

_PRICE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)
_FEN = Decimal("0.01")
_AMOUNT_MAX = Decimal(10) ** 16
_IDENTIFIED = (CodeClass.TWENTY_DIGIT, CodeClass.GS1)


@dataclass(frozen=True, slots=True)
class Extract:
    """What some entries in a row say, in their order."""

    after: int
    """The entry before the first of them."""
    sequence: int
    """The last of them; equal to `after` where there were none."""
    lines: pa.RecordBatch
    findings: pa.RecordBatch
    deletions: pa.RecordBatch
    acts: tuple[journal_pb2.JournalEntry, ...] = ()
    """What people made of findings and did with cases."""


ENTRIES_MAX = 20_000
ROWS_MAX = 60_000
"""Of one reading, if the caller does not say: some tens of megabytes."""


def read_lines(store: Store, after: int, entries_max: int = ENTRIES_MAX, rows_max: int = ROWS_MAX) -> Extract:
    """The rows of the durable entries behind `after`: of so many entries, or until there are so many rows.

    Raises DataLoss if one of the entries is missing or damaged.
    """
    sequence, extracted = extract_journal(store, after, entries_max, rows_max)
    return _merge(after, sequence, extracted)


def read_entries(entries: list[bytes], after: int) -> Extract:
    """What `extract` gives, by the native reader as far as it goes."""
    return _merge(after, after + len(entries), extract_entries(entries))


def extract(entries: Sequence[bytes], after: int) -> Extract:
    """The rows of serialized journal entries, which follow entry `after` without a gap: the readable way."""
    lines: list[tuple[Any, ...]] = []
    findings: list[tuple[Any, ...]] = []
    deletions: list[tuple[Any, ...]] = []
    acts: list[journal_pb2.JournalEntry] = []
    for value in entries:
        entry = journal_pb2.JournalEntry.FromString(value)
        sequence = entry.sequence
        if entry.HasField("document"):
            document = document_pb2.Document.FromString(entry.document.document)
            findings += _finding_rows(entry, entry.document.findings, sequence, 0, sequence)
            if document.HasField("deletion"):
                deletions.append(_deletion_row(entry, document))
            else:
                lines += _line_rows(entry, document)
        elif entry.HasField("revision"):
            revision = entry.revision
            findings += _finding_rows(
                entry,
                revision.findings,
                revision.revised_sequence,
                revision.revision,
                revision.cause_sequence,
            )
        elif entry.HasField("finding_act") or entry.HasField("case_event"):
            acts.append(entry)
    return Extract(
        after,
        after + len(entries),
        _batch(LINES, lines),
        _batch(FINDINGS, findings),
        _batch(DELETIONS, deletions),
        tuple(acts),
    )


def _merge(after: int, sequence: int, extracted: tuple[Any, Any, list[bytes]]) -> Extract:
    """Native columns as they are, and the rows of what was left to the readable way in their places."""
    lines, findings, left = extracted
    rest = extract(left, after)
    return Extract(
        after,
        sequence,
        _interleave(_from_buffers(LINES, lines), rest.lines, "sequence"),
        _interleave(_from_buffers(FINDINGS, findings), rest.findings, "entry"),
        rest.deletions,
        rest.acts,
    )


def _interleave(one: pa.RecordBatch, other: pa.RecordBatch, entry: str) -> pa.RecordBatch:
    """Both in the order of entries; no entry has rows in both."""
    if not other.num_rows:
        return one
    if not one.num_rows:
        return other
    table = pa.concat_batches([one, other])
    # The order of rows of one entry is kept: Arrow's sort is stable.
    return table.take(pc.sort_indices(table, [(entry, "ascending")]))


def _from_buffers(schema: pa.Schema, columns: tuple[int, list[tuple[Any, ...]]]) -> pa.RecordBatch:
    rows, buffers = columns
    arrays = []
    for field, (valid, offsets, values, nulls) in zip(schema, buffers, strict=True):
        # Where nothing is null Arrow wants no bitmap.
        bitmap = pa.py_buffer(valid) if nulls else None
        if offsets is None:
            parts = [bitmap, pa.py_buffer(values)]
            arrays.append(pa.Array.from_buffers(field.type, rows, parts, null_count=nulls))
        elif field.type == FINDING_TYPES:
            items = pa.Array.from_buffers(pa.int16(), len(values) // 2, [None, pa.py_buffer(values)])
            parts = [bitmap, pa.py_buffer(offsets)]
            arrays.append(pa.Array.from_buffers(field.type, rows, parts, null_count=nulls, children=[items]))
        else:
            parts = [bitmap, pa.py_buffer(offsets), pa.py_buffer(values)]
            arrays.append(pa.Array.from_buffers(field.type, rows, parts, null_count=nulls))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _batch(schema: pa.Schema, rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns: Iterable[tuple[Any, ...]] = zip(*rows, strict=True) if rows else [() for _ in schema]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _times(entry: journal_pb2.JournalEntry, document: document_pb2.Document) -> tuple[int, int, int]:
    """Receive time and business time in microseconds, and the business day."""
    time = effective_time(document.business_time.seconds, entry.receive_time_ns // NS)
    return entry.receive_time_ns // 1_000, time * 1_000_000, china_day(time)


def _finding_rows(
    entry: journal_pb2.JournalEntry,
    findings: Sequence[finding_pb2.Finding],
    sequence: int,
    revision: int,
    cause: int,
) -> Iterator[tuple[Any, ...]]:
    head = (entry.sequence, sequence, revision, cause, entry.receive_time_ns // 1_000)
    for finding in findings:
        yield (
            *head,
            finding.type,
            finding.severity,
            finding.final_severity,
            finding.mode,
            finding.line_number,
            finding.code,
            finding.grade,
            finding.revisable,
        )
    if revision and not findings:
        yield (*head, 0, 0, 0, 0, 0, "", 0, False)


def _deletion_row(entry: journal_pb2.JournalEntry, document: document_pb2.Document) -> tuple[Any, ...]:
    deletion = document.deletion
    return (
        entry.sequence,
        *_times(entry, document),
        document.institution_code,
        document.institution_code[1:7],
        document.document_number,
        deletion.type,
        deletion.deleted_document_number,
        deletion.batch_serial,
    )


def _line_rows(entry: journal_pb2.JournalEntry, message: document_pb2.Document) -> Iterator[tuple[Any, ...]]:
    document = freeze_document(message)
    kind = document.kind
    sale = message.sale
    content = getattr(message, message.WhichOneof("content") or "")
    head = (
        entry.sequence,
        *_times(entry, message),
        document.institution_code,
        document.institution_code[1:7],
        int(kind),
    )
    middle = (
        sale.stage if kind is DocumentKind.SALE else 0,
        document.change_type,
        document.channel,
        document.offline,
        document.number,
        document.corrects,
        document.settlement_id,
        document.visit_number,
        content.settlement_type if kind in (DocumentKind.SALE, DocumentKind.SALE_RETURN) else 0,
        document.person,
        sale.prescriber_token,
        sale.pharmacist_token,
        message.operator_token,
        message.terminal_id,
        sale.prescription_number,
        _counterparty(message),
        document.sale_document_number,
    )
    refused = entry.document.outcome == finding_pb2.OUTCOME_REFUSED
    for frozen, line in zip(document.lines, message.lines, strict=True):
        readings = _readings(line)
        found = _findings_of_line(entry.document.findings, frozen.number, readings)
        price = _price(line.final_price)
        price = _price(line.unit_price) if price is None else price
        for row, ((reading, in_package), (types, severity)) in enumerate(zip(readings, found, strict=True)):
            expiry = frozen.expiry_day
            if expiry is None and reading is not None and reading.expiry is not None:
                expiry = (reading.expiry - EPOCH).days
            identified = reading is not None and reading.key and reading.code_class in _IDENTIFIED
            yield (
                *head,
                int(document.operation(frozen)),
                *middle,
                frozen.number,
                row,
                len(readings),
                frozen.drug_code,
                frozen.quantity if row == 0 else None,
                frozen.split,
                price,
                _amount(frozen.quantity, price) if row == 0 else None,
                frozen.batch_serial,
                frozen.lot_number or (reading.lot if reading is not None else ""),
                expiry,
                line.prescription,
                line.gift,
                reading.text if reading is not None and reading.key else None,
                reading.identifier if reading is not None and identified else None,
                0 if reading is None else int(reading.code_class),
                in_package,
                reading.raw if reading is not None and not reading.key else None,
                refused,
                entry.document.cleared,
                types,
                severity,
            )


def _counterparty(message: document_pb2.Document) -> str:
    match message.WhichOneof("content"):
        case "stock_change":
            return message.stock_change.counterparty_institution_code
        case "receipt":
            return message.receipt.supplier_licence_number or message.receipt.supplier_name
        case "purchase_return":
            return message.purchase_return.supplier_licence_number or message.purchase_return.supplier_name
    return ""


def _readings(line: document_pb2.Line) -> Sequence[tuple[Reading | None, bool]]:
    """What was read on a line, and whether it stands in a package; (None, False) where nothing was."""
    own: list[tuple[Reading | None, bool]] = [
        (reading, False) for scan in line.codes for reading in read_scan(scan)
    ]
    packed: list[tuple[Reading | None, bool]] = [
        (reading, True)
        for package in line.packages
        for scan in chain((package.code,), package.child_codes)
        for reading in read_scan(scan)
    ]
    return own + packed or [(None, False)]


def _findings_of_line(
    findings: Sequence[finding_pb2.Finding],
    number: int,
    readings: Sequence[tuple[Reading | None, bool]],
) -> list[tuple[list[int], int]]:
    """For each row of a line the types and the greatest severity of what was found about it."""
    texts = [reading.text if reading is not None else "" for reading, _ in readings]
    found: list[tuple[list[int], int]] = [([], 0) for _ in texts]
    for finding in findings:
        if finding.line_number not in (0, number):
            continue
        named = [finding.code == text for text in texts]
        # What names something else on this line, such as half of a joined scan, is about the line.
        everywhere = not finding.code or (finding.line_number == number and not any(named))
        for row, is_named in enumerate(named):
            if everywhere or is_named:
                types, severity = found[row]
                found[row] = ([*types, finding.type], max(severity, finding.final_severity))
    return found


def _price(text: str) -> Decimal | None:
    return Decimal(text) if _PRICE.fullmatch(text) else None


def _amount(quantity: Decimal, price: Decimal | None) -> Decimal | None:
    if price is None:
        return None
    amount = (quantity * price).quantize(_FEN, ROUND_HALF_UP)
    return amount if amount < _AMOUNT_MAX else None
