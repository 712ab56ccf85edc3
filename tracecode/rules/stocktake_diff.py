"""STOCKTAKE_DIFF 盘存差异: what was counted is not what the ledger computes.

Fires for a count (3501) that differs from the computed balance by more than stocktake_share of it and by
more than stocktake_units packs, unless the difference was booked (103 or 104) on that or the next day.
Source: NHSA interface 3501; the measure is ours.
"""

from __future__ import annotations

from decimal import Decimal

from tracecode.document import day_date
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.stock import StockEvidence


def find(evidence: StockEvidence) -> tuple[Finding, ...]:
    """One finding for each count that differs."""
    thresholds = evidence.thresholds
    found = []
    for count in evidence.counts:
        difference = abs(count.counted - count.computed)
        share = difference / max(Decimal(1), abs(count.computed))
        if count.corrected or difference <= thresholds.stocktake_units or share <= thresholds.stocktake_share:
            continue
        found.append(
            Finding(
                FindingType.STOCKTAKE_DIFF,
                Severity.WARN,
                evidence=(
                    Evidence("counted", str(count.counted), sequence=count.sequence),
                    Evidence("computed", str(count.computed)),
                    Evidence("day", day_date(count.day).isoformat()),
                ),
            )
        )
    return tuple(found)
