"""STOCK_ALREADY_OUT: the box had left when it was sold.

Fires at BLOCK on a sale of a box that this institution sent back to the supplier, destroyed, or sent on to
another one. ALERT on a sale of a box that another institution destroyed, unless it came in here.

WARN when the transfer named no other institution: one clinic system books returns by 102. Also WARN when it
left as other out (107), and only if that was more than `join_hours` (24) before: some systems
report dispensing as other out beside the sale.

Not when the document by which it left was deleted, or when the box comes in here again at most
`receipt_late_hours` (48) after the sale.

Source: ours.
"""

from __future__ import annotations

from tracecode.document import Operation
from tracecode.evidence import ChainEvidence, show_event
from tracecode.finding import Finding, FindingType, Severity
from tracecode.life_cycle import Custody, State

_GONE = (State.RETURNED_TO_SUPPLIER, State.DESTROYED, State.IN_TRANSIT)


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A sale of a box that is no longer in stock here."""
    before = evidence.step.before
    if before.state not in _GONE or not evidence.is_sale or not before.departed:
        return ()
    severity = _weigh(evidence)
    if severity is None:
        return ()
    left = show_event("departure", before.departed[-1], evidence.registry)
    return (evidence.found(FindingType.STOCK_ALREADY_OUT, severity, left),)


def _weigh(evidence: ChainEvidence) -> Severity | None:
    event, before, thresholds = evidence.event, evidence.step.before, evidence.thresholds
    here = event.institution
    if before.institution != here:
        destroyed = before.state is State.DESTROYED and evidence.step.custody is not Custody.HELD
        return Severity.ALERT if destroyed else None
    if before.state is State.IN_TRANSIT and before.counterparty == here:
        return None
    latest = event.time + thresholds.receipt_late_hours * 3600
    came_back = any(other.time <= latest for other in evidence.find_inbound(later=True))
    if came_back:
        return None
    if before.departed[-1].operation is Operation.ISSUE:
        old = event.time - before.since > thresholds.join_hours * 3600
        return Severity.WARN if old else None
    unsaid = before.departed[-1].operation is Operation.TRANSFER_OUT and not before.counterparty
    return Severity.WARN if unsaid else Severity.BLOCK
