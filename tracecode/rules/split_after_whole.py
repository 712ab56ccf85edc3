"""SPLIT_AFTER_WHOLE: one pack was sold both whole and in parts.

Fires at ALERT on a split sale while a whole sale of the code stands, and on a whole sale while a split one
stands at the same institution; on a whole sale while a split one stands elsewhere: WARN. Where the whole sale
stands elsewhere: WARN within one group or when this institution has better custody. Silent when the other
sent the box on in between (102, or to its supplier and it came in here). INFO when it was billed again: one
of the two is returned at most `rebill_hours` (24) after this sale.

Not between two reports of one sale that differ in the split mark (same settlement, or same visit by the
other channel).

Source: ours.
"""

from __future__ import annotations

from dataclasses import replace

from tracecode.custody import find_return, was_sent_on
from tracecode.document import Operation
from tracecode.evidence import ChainEvidence
from tracecode.finding import Finding, FindingType, Severity
from tracecode.life_cycle import Event, Step, same_sale


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A split sale beside a whole one, or the reverse."""
    if not evidence.is_sale:
        return ()
    event = evidence.event
    other = Operation.SPLIT_SALE if event.operation is Operation.SALE else Operation.SALE
    standing = [*evidence.standing(other, here=True), *evidence.standing(other, here=False)]
    others = [sale for sale in standing if _clashes(evidence, sale.event)]
    if not others:
        return ()
    until = event.time + evidence.thresholds.rebill_hours * 3600
    back = [find_return(evidence, sale.event, until) for sale in others]
    stay = [sale for sale, taken in zip(others, back, strict=True) if taken is None]
    severity = Severity.WARN if all(_mild(evidence, sale) for sale in stay) else Severity.ALERT
    if not stay:
        severity = Severity.INFO
    facts = evidence.show("earlier_sale", [sale.event for sale in others])
    facts += evidence.show("returned", [event for event in back if event])
    return (evidence.found(FindingType.SPLIT_AFTER_WHOLE, severity, *facts),)


def _clashes(evidence: ChainEvidence, sale: Event) -> bool:
    event = evidence.event
    if sale.institution == event.institution:
        # Two reports of one sale may differ in the split mark; without these they are never one.
        if not sale.settlement_id and not sale.visit_number:
            return True
        return not same_sale(replace(sale, operation=event.operation, units=event.units), event)
    return not was_sent_on(evidence, sale, event)


def _mild(evidence: ChainEvidence, sale: Step) -> bool:
    if sale.event.institution == evidence.event.institution:
        return False
    if sale.event.operation is Operation.SPLIT_SALE:
        return True
    same_group = evidence.institution.same_group(evidence.registry(sale.event.institution))
    return same_group or sale.custody < evidence.step.custody
