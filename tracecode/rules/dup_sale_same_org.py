"""DUP_SALE_SAME_ORG: the institution sold the box before, and that sale stands.

Fires at ALERT on a whole sale while an earlier whole sale of the code at the same institution stands: not
returned, not deleted, not the same sale by another report. BLOCK when it is asked before settlement and
an earlier sale is more than `same_org_block_minutes` (10) older: within that time a clerk may have
pressed twice.

INFO when it was cancelled and billed again: one of the two is returned at most `rebill_hours` (24) after
this sale. WARN when a transfer out (102) that names no other institution lies between: one clinic system
books returns by it. WARN when as many returns stand here, whenever, and one of the sales has an impossible
time: then nobody knows what came first. A split sale is SPLIT_AFTER_WHOLE instead.

Source: 医保发〔2025〕7号: what is scanned again is not paid again. The times are ours.
"""

from __future__ import annotations

from tracecode.custody import find_return
from tracecode.document import Operation
from tracecode.evidence import ChainEvidence
from tracecode.finding import Finding, FindingType, Severity
from tracecode.life_cycle import Event


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A whole sale after a standing whole sale here."""
    event, thresholds = evidence.event, evidence.thresholds
    if event.operation is not Operation.SALE or not evidence.is_sale:
        return ()
    earlier = [sale.event for sale in evidence.standing(Operation.SALE, here=True)]
    if not earlier:
        return ()
    facts = evidence.show("earlier_sale", earlier)
    until = event.time + thresholds.rebill_hours * 3600
    back = [find_return(evidence, sale, until) for sale in earlier]
    # Either this sale was taken back, or every earlier one.
    if all(back):
        facts += evidence.show("returned", [event for event in back if event])
        return (evidence.found(FindingType.DUP_SALE_SAME_ORG, Severity.INFO, *facts),)
    if _taken_back_by_transfer(evidence, earlier) or _taken_back_sometime(evidence, earlier):
        return (evidence.found(FindingType.DUP_SALE_SAME_ORG, Severity.WARN, *facts),)
    age_seconds = event.time - min(sale.time for sale in earlier)
    refusing = event.before_settlement and age_seconds > thresholds.same_org_block_minutes * 60
    severity = Severity.BLOCK if refusing else Severity.ALERT
    return (evidence.found(FindingType.DUP_SALE_SAME_ORG, severity, *facts),)


def _taken_back_sometime(evidence: ChainEvidence, earlier: list[Event]) -> bool:
    """A till whose clock was ahead: its documents stand as they arrived, so any return counts."""
    if all(sale.business_time == sale.time for sale in (evidence.event, *earlier)):
        return False
    return len(evidence.find_moves((Operation.SALE_RETURN,), evidence.event.institution)) >= len(earlier)


def _taken_back_by_transfer(evidence: ChainEvidence, earlier: list[Event]) -> bool:
    """A transfer out to nobody lies between, one for each earlier sale and the last after all of them."""
    here = evidence.event.institution
    between = [
        move.order
        for move in evidence.chain.find_moves((Operation.TRANSFER_OUT,), here, earlier[0].order)
        if move.order < evidence.event.order and move.counterparty in ("", here)
    ]
    return len(between) >= len(earlier) and between[-1] > earlier[-1].order
