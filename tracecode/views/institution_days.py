"""Profile of an institution, per business day.

`i` institution, day u32 -> the counts of COUNTERS
`j` institution, day u32, finding type u32, final severity u32 -> how often it was found (as first given)
`k` institution, day u32, deleted type u32 -> deletions (NHSA 3507)
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from tracecode.views.batch import Batch
from tracecode.views.counters import Counters
from tracecode.views.store import Writer

COUNTERS = Counters(
    b"i",
    (str, int),
    (
        "document",
        "line",
        "coded",
        "line_without_code",
        "refused_document",
        "sale_document",
        "insured_document",
        "sale_line",
        "sold_code",
        "split_line",
        "sale_fen",
        "return_document",
        "returned_code",
        "receipt_document",
        "received_code",
        "late_document",
        "offline_document",
        "cleared_document",
    ),
)
FINDINGS = Counters(b"j", (str, int, int, int), ("count",))
DELETIONS = Counters(b"k", (str, int, int), ("count",))


class InstitutionDaysView:
    """Counts of documents, lines, codes, amounts, findings and deletions of each institution and day."""

    tables = b"ijk"

    def apply(self, batch: Batch, write: Writer) -> None:
        """Count rows in."""
        COUNTERS.add(batch.rows, ("institution_code", "business_day"), write)
        deletions = _count(pa.Table.from_batches([batch.deletions]))
        DELETIONS.add(deletions, ("institution_code", "business_day", "deleted_type"), write)
        findings = pa.Table.from_batches([batch.findings])
        findings = _count(findings.filter(pc.equal(findings["revision"], 0)))
        if not findings.num_rows:
            return
        # Who reported stands in the same entry as what was first found.
        names = ["sequence", "institution_code", "business_day"]
        documents = pa.concat_tables([batch.rows.select(names), deletions.select(names)])
        place = pc.index_in(findings["sequence"], value_set=documents["sequence"])
        for name in names[1:]:
            findings = findings.append_column(name, documents[name].take(place))
        FINDINGS.add(findings, ("institution_code", "business_day", "type", "final_severity"), write)


def _count(rows: pa.Table) -> pa.Table:
    return rows.append_column("count", pa.array([1] * rows.num_rows, pa.int64()))
