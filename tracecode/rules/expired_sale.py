"""EXPIRED_SALE: the box was past its expiry date when it was sold.

Fires at BLOCK on a sale whose business day in China is after the expiry that the GS1 code, the line or
the receipt here says; day 00 means the last of the month. The expiry day itself is still good. WARN when
only line or receipt say so and the GS1 code, which the maker printed, says otherwise, or only the receipt and
the line says otherwise: then it is a slip.

Source: an expired drug must not be sold (药品管理法, article 98); the order of trust is ours.
"""

from __future__ import annotations

from tracecode.custody import find_receipt
from tracecode.document import day_date
from tracecode.evidence import ChainEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A sale after the expiry date."""
    if not evidence.is_sale:
        return ()
    event = evidence.event
    latest = event.time + evidence.thresholds.receipt_late_hours * 3600
    receipt = evidence.step.before.received_at(event.institution) or find_receipt(evidence, latest)
    printed = event.scan_expiry_day
    if printed is None and receipt is not None:
        printed = receipt.scan_expiry_day
    expiries = {
        "expiry_of_code": printed,
        "expiry_of_line": event.expiry_day,
        "expiry_of_receipt": receipt.expiry_day if receipt is not None else None,
    }
    facts = [
        Evidence(name, day_date(day).isoformat())
        for name, day in expiries.items()
        if day is not None and evidence.business_day > day
    ]
    if not facts:
        return ()
    printed_good = printed is not None and evidence.business_day <= printed
    # What the clerk reads off the box contradicts the receipt, and nothing printed decides.
    line_good = printed is None and event.expiry_day is not None and evidence.business_day <= event.expiry_day
    still_good = printed_good or line_good
    severity = Severity.WARN if still_good else Severity.BLOCK
    return (evidence.found(FindingType.EXPIRED_SALE, severity, *facts),)
