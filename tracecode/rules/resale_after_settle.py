"""RESALE_AFTER_SETTLE: a box that the insurance paid elsewhere is sold again (回流药).

Fires at ALERT on the odd sale of two (see DUP_SALE_CROSS_ORG) when the earlier one was insured, the box
was not received here by `receipt_late_hours` (48) after this sale, and at least `resale_gap_days` (1)
lies between; WARN within one group. Not when both sales name the same person: then one person's purchase
was reported twice.

Source: ours, after the cases that NHSA published of boxes bought back and sold again.
"""

from __future__ import annotations

from tracecode.custody import find_receipt, find_rivals
from tracecode.evidence import ChainEvidence
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """An odd sale, without a receipt, of a box that was settled elsewhere."""
    event, thresholds = evidence.event, evidence.thresholds
    settled = [
        rival
        for rival in find_rivals(evidence)
        if rival.earlier
        and not rival.odd
        and rival.event.insured
        and event.time - rival.event.time >= thresholds.resale_gap_days * 86_400
        and not (event.person and event.person == rival.event.person)
    ]
    if not settled or find_receipt(evidence, event.time + thresholds.receipt_late_hours * 3600):
        return ()
    severity = Severity.WARN if all(rival.same_group for rival in settled) else Severity.ALERT
    facts = evidence.show("earlier_sale", [rival.event for rival in settled])
    return (evidence.found(FindingType.RESALE_AFTER_SETTLE, severity, *facts),)
