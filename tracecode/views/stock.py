"""What moved, per institution and product, as it was reported: the totals from which a stock is summed.

`s` institution, product ("" = no code on the line), billed drug code, operation u32, split u32
    -> lines, codes, quantity in ten-thousandths of packs (of smallest units if split)

Refused sales are left out. Documents that a deletion takes back, and sales that both channels report, are in:
what is deducted for those is `tracecode.views.quantity`'s business, which keeps every line. The quantity of a
line stands under the product of its first code.
"""

from __future__ import annotations

import pyarrow as pa

from tracecode.views.batch import Batch
from tracecode.views.counters import Counters
from tracecode.views.store import Writer

COUNTERS = Counters(b"s", (str, str, str, int, int), ("line", "coded", "quantity_e4"))


class StockView:
    """Totals of what moved; read with COUNTERS.read(reader, institution_code[, product[, drug_code]])."""

    tables = b"s"

    def apply(self, batch: Batch, write: Writer) -> None:
        """Count rows in."""
        rows = batch.took_place
        rows = rows.set_column(
            rows.schema.get_field_index("product"), "product", rows["product"].fill_null("")
        )
        rows = rows.set_column(rows.schema.get_field_index("split"), "split", rows["split"].cast(pa.int64()))
        COUNTERS.add(rows, ("institution_code", "product", "drug_code", "operation", "split"), write)
