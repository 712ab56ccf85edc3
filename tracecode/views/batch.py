"""Some entries as views count them: the lines relation with numbers to add up, worked out once for all."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tracecode.document import DocumentKind
from tracecode.views.lines import Extract

LATE_MICROSECONDS = 72 * 3_600_000_000
"""Received later than that after it happened, a document is counted as late (ours)."""


_KEYS = [
    "sequence",
    "business_day",
    "institution_code",
    "operation",
    "person_token",
    "prescriber_token",
    "operator_token",
    "terminal_id",
    "drug_code",
    "split",
    "lot",
    "product",
    "refused",
]
"""Columns by which views group; a new view adds its own."""


class Batch:
    """What some entries in a row say."""

    def __init__(self, extract: Extract) -> None:
        self.after = extract.after
        self.sequence = extract.sequence
        self.lines = extract.lines
        self.findings = extract.findings
        self.deletions = extract.deletions
        self.acts = extract.acts

    @cached_property
    def rows(self) -> pa.Table:
        """What views group by, and columns of 0 and 1 that add up to counts: `document` on the first
        row of each document, `line` on the first row of each line, `coded` on each row with a code, `sale` on
        each row of a sale that took place, and products of these; `quantity_e4` and `sale_fen` as whole
        numbers."""
        lines = self.lines
        one = pa.scalar(1, pa.int64())
        sequence = lines.column("sequence")
        before = pa.concat_arrays([pa.array([-1], pa.int64()), sequence[: max(0, len(sequence) - 1)]])
        document = pc.not_equal(sequence, before[: len(sequence)])
        line = pc.equal(lines.column("line_row"), 0)
        coded = pc.is_valid(lines.column("code"))
        took_place = pc.invert(lines.column("refused"))
        kind = lines.column("kind")
        sale = pc.and_(pc.equal(kind, int(DocumentKind.SALE)), took_place)
        late = pc.greater(
            pc.subtract(
                lines.column("receive_time").cast(pa.int64()), lines.column("business_time").cast(pa.int64())
            ),
            LATE_MICROSECONDS,
        )
        flags: dict[str, Any] = {
            "document": document,
            "line": line,
            "coded": coded,
            "sale": sale,
            "line_without_code": pc.and_(
                line, pc.and_(pc.equal(lines.column("line_rows"), 1), pc.invert(coded))
            ),
            "refused_document": pc.and_(document, lines.column("refused")),
            "sale_document": pc.and_(document, sale),
            "insured_document": pc.and_(
                pc.and_(document, sale), pc.equal(lines.column("settlement_type"), 1)
            ),
            "sale_line": pc.and_(line, sale),
            "sold_code": pc.and_(coded, sale),
            "split_line": pc.and_(pc.and_(line, sale), lines.column("split")),
            "return_document": pc.and_(document, pc.equal(kind, int(DocumentKind.SALE_RETURN))),
            "returned_code": pc.and_(coded, pc.equal(kind, int(DocumentKind.SALE_RETURN))),
            "receipt_document": pc.and_(document, pc.equal(kind, int(DocumentKind.RECEIPT))),
            "received_code": pc.and_(coded, pc.equal(kind, int(DocumentKind.RECEIPT))),
            "late_document": pc.and_(document, late),
            "offline_document": pc.and_(document, lines.column("offline")),
            "cleared_document": pc.and_(document, lines.column("cleared")),
        }
        table = pa.Table.from_batches([lines.select(_KEYS)])
        for name, flag in flags.items():
            table = table.append_column(name, pc.if_else(flag, one, pa.scalar(0, pa.int64())))
        quantity = to_whole(lines.column("quantity"), 4)
        fen = to_whole(lines.column("amount"), 2)
        table = table.append_column("quantity_e4", quantity)
        return table.append_column("sale_fen", pc.if_else(sale, fen, pa.scalar(None, pa.int64())))

    @cached_property
    def took_place(self) -> pa.Table:
        """The rows but for refused sales."""
        return keep(self.rows, pc.invert(self.rows.column("refused")))

    @cached_property
    def sales(self) -> pa.Table:
        """The rows of sales that took place."""
        return keep(self.rows, pc.equal(self.rows.column("sale"), 1))


def keep(rows: pa.Table, mask: Any) -> pa.Table:
    """The rows where `mask` is true; texts are copied only where some are not."""
    return rows if pc.all(mask).as_py() else rows.filter(mask)


def to_whole(column: Any, decimals: int) -> Any:
    """A decimal column as a whole number of its last decimal."""
    return pc.cast(pc.multiply(column, pa.scalar(10**decimals, pa.decimal128(7, 0))), pa.int64())
