"""Cohorts of codes: of each product and lot, how many codes were received, sold and taken back on each day.

`c` product, lot ("" = not said), day u32 -> codes named, received, sold, taken back

A code that is reported twice counts twice; refused sales are left out.
"""

from __future__ import annotations

import pyarrow.compute as pc

from tracecode.views.batch import Batch, keep
from tracecode.views.counters import Counters
from tracecode.views.store import Writer

COUNTERS = Counters(b"c", (str, str, int), ("coded", "received_code", "sold_code", "returned_code"))


class CohortsView:
    """Codes by product, lot and day; read with COUNTERS.read(reader, product[, lot])."""

    tables = b"c"

    def apply(self, batch: Batch, write: Writer) -> None:
        """Count rows in."""
        rows = batch.took_place
        rows = keep(rows, pc.is_valid(rows["product"]))
        COUNTERS.add(rows, ("product", "lot", "business_day"), write)
