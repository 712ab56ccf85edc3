"""Profile of a person, per business day and institution: what was sold to them.

`p` person token, day u32, institution -> sales, insured sales, lines, codes, fen

Tokens are keyed hashes. Sales without a token, and refused ones, are left out.
"""

from __future__ import annotations

import pyarrow.compute as pc

from tracecode.views.batch import Batch, keep
from tracecode.views.counters import Counters
from tracecode.views.store import Writer

COUNTERS = Counters(
    b"p", (str, int, str), ("sale_document", "insured_document", "sale_line", "sold_code", "sale_fen")
)


class PersonDaysView:
    """What was sold to each person; read with COUNTERS.read(reader, person_token)."""

    tables = b"p"

    def apply(self, batch: Batch, write: Writer) -> None:
        """Count rows in."""
        rows = batch.sales
        rows = keep(rows, pc.not_equal(rows["person_token"], ""))
        COUNTERS.add(rows, ("person_token", "business_day", "institution_code"), write)
