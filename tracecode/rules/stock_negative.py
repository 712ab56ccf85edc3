"""STOCK_NEGATIVE: more left the shelf than was ever on it, at the end of some day.

Fires when the running balance of a drug at an institution is below zero at the end of a day. The opening
balance may be unknown and purchases may be uploaded late, so it is never more than WARN.
Source: reconciliation of settlement with NHSA interfaces 3501-3506; the measure is ours.
"""

from __future__ import annotations

from tracecode.document import day_date
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.stock import StockEvidence


def find(evidence: StockEvidence) -> tuple[Finding, ...]:
    """The lowest balance, if it is below zero."""
    lowest = min(evidence.days, key=lambda day: day.balance, default=None)
    if lowest is None or lowest.balance >= 0:
        return ()
    return (
        Finding(
            FindingType.STOCK_NEGATIVE,
            Severity.WARN,
            evidence=(
                Evidence("balance", str(lowest.balance)),
                Evidence("day", day_date(lowest.day).isoformat()),
            ),
        ),
    )
