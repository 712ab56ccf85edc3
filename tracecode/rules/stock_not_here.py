"""STOCK_NOT_HERE: another institution has the box.

Fires on a sale of a box that another institution holds, whole or opened, or that is on its way to a third
one: ALERT; WARN within one group. A box on its way to here, or to where nobody said, may be sold for
`transit_days` (7); after that WARN. Not when the holder sends it here at most `receipt_late_hours` (48)
after the sale, by its own clock.

Fires at WARN on a receipt or transfer in of a box that another institution holds. Not when that one sends
it here within 24 hours afterwards: clocks differ.

Source: ours.
"""

from __future__ import annotations

from tracecode.document import Operation
from tracecode.evidence import ChainEvidence, show_event, show_institution
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import INBOUND, OUT_AFTER_IN_SECONDS, Place, State


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A sale or receipt of a box that is elsewhere."""
    severity = None
    if evidence.is_sale:
        severity = _weigh_sale(evidence)
    elif evidence.event.operation in INBOUND and not evidence.event.package:
        severity = _weigh_receipt(evidence)
    if severity is None:
        return ()
    return (evidence.found(FindingType.STOCK_NOT_HERE, severity, *_show(evidence)),)


def _weigh_sale(evidence: ChainEvidence) -> Severity | None:
    event, before, thresholds = evidence.event, evidence.step.before, evidence.thresholds
    if before.institution == event.institution:
        return None
    if before.state in (State.IN_STOCK, State.SPLIT):
        if _sent_here(evidence, thresholds.receipt_late_hours * 3600):
            return None
    elif before.state is not State.IN_TRANSIT:
        return None
    elif before.counterparty in ("", event.institution):
        late = event.time - before.since > thresholds.transit_days * 86_400
        return Severity.WARN if late else None
    same_group = evidence.institution.same_group(evidence.registry(before.institution))
    return Severity.WARN if same_group else Severity.ALERT


def _weigh_receipt(evidence: ChainEvidence) -> Severity | None:
    holder = evidence.step.before.held_by
    if holder in ("", evidence.event.institution) or _sent_here(evidence, OUT_AFTER_IN_SECONDS):
        return None
    return Severity.WARN


def _sent_here(evidence: ChainEvidence, late_seconds_max: int) -> bool:
    """The holder sent the box to here shortly after the event."""
    event = evidence.event
    return any(
        move.counterparty in ("", event.institution) and move.time - event.time <= late_seconds_max
        for move in evidence.find_moves(
            (Operation.TRANSFER_OUT,), evidence.step.before.institution, later=True
        )
    )


def _show(evidence: ChainEvidence) -> list[Evidence]:
    before: Place = evidence.step.before
    facts = [show_institution("holder", evidence.registry(before.institution), before.state.name)]
    last = before.received_at(before.institution)
    if last is not None:
        facts.append(show_event("receipt", last, evidence.registry))
    return facts
