"""RECALLED: the code, its package or its lot is on a hold list.

Fires at BLOCK on a sale on a day on which a hold is in force (both its days belong to it), at WARN on
goods that come in and on other out. Returns by persons and to the supplier, destruction, transfers out
(to where boxes are gathered) and counts are right and carry nothing. A hold of a lot holds where the sale
line, the GS1 code or a receipt of the box names that lot; a lot that the GS1 code prints decides alone.

Source: the authority that each hold names; the severities are ours.
"""

from __future__ import annotations

from tracecode.document import Operation, day_date
from tracecode.evidence import ChainEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import INBOUND, SALES
from tracecode.v1 import catalogue_pb2

_WARNED = INBOUND | {Operation.ISSUE}


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A sale, or goods in, of what is on hold that day."""
    event = evidence.event
    if not evidence.holds or event.package or event.operation not in SALES | _WARNED:
        return ()
    if event.operation in SALES and not evidence.is_sale:
        return ()
    day = day_date(evidence.business_day).isoformat()
    lots = _lots(evidence)
    in_force = [hold for hold in evidence.holds if _holds(hold, day, lots)]
    if not in_force:
        return ()
    facts = []
    for hold in in_force:
        facts.append(Evidence("hold", hold.hold_id))
        if hold.reason in catalogue_pb2.HoldReason.values():
            reason = catalogue_pb2.HoldReason.Name(hold.reason).removeprefix("HOLD_REASON_")
            facts.append(Evidence("reason", reason))
        if hold.authority:
            facts.append(Evidence("authority", hold.authority))
    severity = Severity.BLOCK if event.operation in SALES else Severity.WARN
    return (evidence.found(FindingType.RECALLED, severity, *facts),)


def _holds(hold: catalogue_pb2.Hold, day: str, lots: frozenset[str]) -> bool:
    # Dates are yyyy-MM-dd, so their texts are ordered as the days are.
    in_force = hold.start_date <= day and (not hold.end_date or day <= hold.end_date)
    return in_force and (bool(hold.code) or _fold(hold.lot_number) in lots)


def _lots(evidence: ChainEvidence) -> frozenset[str]:
    """The lots that the box may be of, as those who had it in hand say."""
    event, received = evidence.event, evidence.step.before.received
    printed = [lot for lot in (event.scan_lot_number, *(e.scan_lot_number for e in received)) if lot]
    lots = printed or [event.lot_number, *(other.lot_number for other in received)]
    return frozenset(_fold(lot) for lot in lots if lot)


def _fold(lot: str) -> str:
    return lot.strip().upper()
