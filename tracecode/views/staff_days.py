"""Who prescribed, and who operated where, per institution and business day.

`r` institution, day u32, prescriber token -> sales, insured sales, lines, codes, fen
`t` institution, day u32, terminal, operator token -> documents, lines, lines without a code, codes, sales,
    refused sales, offline documents
"""

from __future__ import annotations

import pyarrow.compute as pc

from tracecode.views.batch import Batch, keep
from tracecode.views.counters import Counters
from tracecode.views.store import Writer

PRESCRIBERS = Counters(
    b"r", (str, int, str), ("sale_document", "insured_document", "sale_line", "sold_code", "sale_fen")
)
OPERATORS = Counters(
    b"t",
    (str, int, str, str),
    (
        "document",
        "line",
        "line_without_code",
        "coded",
        "sale_document",
        "refused_document",
        "offline_document",
    ),
)


class StaffDaysView:
    """Prescribers (of sales that name one), and terminals with their operators."""

    tables = b"rt"

    def apply(self, batch: Batch, write: Writer) -> None:
        """Count rows in."""
        rows = batch.sales
        rows = keep(rows, pc.not_equal(rows["prescriber_token"], ""))
        PRESCRIBERS.add(rows, ("institution_code", "business_day", "prescriber_token"), write)
        OPERATORS.add(
            batch.rows, ("institution_code", "business_day", "terminal_id", "operator_token"), write
        )
