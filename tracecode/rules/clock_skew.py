"""CLOCK_SKEW: a time that cannot be.

Fires at WARN when
- the business time lies more than `future_skew_minutes` (5) in the receiver's future (document);
- a sale precedes the only receipts of the box here by more than `receipt_late_hours` (48), the box not
  having come back in between: a receipt is often typed in after the sale, but not days after (chain);
- the business day lies before the day of production that the line states (chain).

Not when a return or a departure of the box lies between the sale and the receipt: then it came a second
time.

Source: ours.
"""

from __future__ import annotations

from bisect import bisect_right

from tracecode.custody import find_receipt
from tracecode.document import Operation, day_date
from tracecode.evidence import ChainEvidence, DocumentEvidence, show_event
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import RETURNS, Event

_AWAY = RETURNS | {
    Operation.TRANSFER_OUT,
    Operation.ISSUE,
    Operation.SUPPLIER_RETURN,
    Operation.DESTROY,
}


def find_document(evidence: DocumentEvidence) -> tuple[Finding, ...]:
    """The business time lies in the receiver's future."""
    ahead_seconds = evidence.document.business_time - evidence.receive_time
    if ahead_seconds <= evidence.thresholds.future_skew_minutes * 60:
        return ()
    ahead = Evidence("ahead_minutes", str(ahead_seconds // 60), time=evidence.document.business_time)
    return (evidence.found(FindingType.CLOCK_SKEW, Severity.WARN, ahead),)


def find_chain(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """The sale precedes its receipt, or the business day the production."""
    event = evidence.event
    if event.package:
        return ()
    facts = []
    if event.manufacture_day is not None and evidence.business_day < event.manufacture_day:
        facts.append(Evidence("manufacture_date", day_date(event.manufacture_day).isoformat()))
    if evidence.is_sale and evidence.step.before.received_at(event.institution) is None:
        receipt = find_receipt(evidence)
        latest = event.time + evidence.thresholds.receipt_late_hours * 3600
        if receipt is not None and receipt.time > latest and not _was_away(evidence, receipt):
            facts.append(show_event("receipt", receipt, evidence.registry))
    if not facts:
        return ()
    return (evidence.found(FindingType.CLOCK_SKEW, Severity.WARN, *facts),)


def _was_away(evidence: ChainEvidence, receipt: Event) -> bool:
    """The box left or came back between the sale and the receipt, so the receipt is of another time."""
    start, end = (bisect_right(evidence.chain.orders, event.order) for event in (evidence.event, receipt))
    return any(
        step.event.counted and step.event.operation in _AWAY for step in evidence.steps[start : end - 1]
    )
