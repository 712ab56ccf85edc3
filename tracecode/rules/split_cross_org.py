"""SPLIT_CROSS_ORG: parts of one pack were sold at two institutions.

Fires at ALERT on a split sale while an earlier split sale of the code at another institution stands. WARN
within one group (branches of one hospital share packs), and where this institution has better custody than
the other: then the other report is the odd one.

Not when a transfer lies between: out of the other institution, or into this one.

Source: ours.
"""

from __future__ import annotations

from tracecode.document import Operation
from tracecode.evidence import ChainEvidence
from tracecode.finding import Finding, FindingType, Severity
from tracecode.life_cycle import Event, Step


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A split sale after a standing split sale elsewhere."""
    event = evidence.event
    if event.operation is not Operation.SPLIT_SALE or not evidence.is_sale:
        return ()
    others = [
        sale
        for sale in evidence.standing(Operation.SPLIT_SALE, here=False)
        if not _transferred(evidence, sale.event)
    ]
    if not others:
        return ()
    mild = all(_mild(evidence, sale) for sale in others)
    facts = evidence.show("earlier_sale", [sale.event for sale in others])
    return (evidence.found(FindingType.SPLIT_CROSS_ORG, Severity.WARN if mild else Severity.ALERT, *facts),)


def _mild(evidence: ChainEvidence, sale: Step) -> bool:
    same_group = evidence.institution.same_group(evidence.registry(sale.event.institution))
    return same_group or sale.custody < evidence.step.custody


def _transferred(evidence: ChainEvidence, sale: Event) -> bool:
    """The opened pack was passed on between the two sales, as either side says."""
    chain, until = evidence.chain, evidence.event.order
    moves = (
        chain.find_last_move(Operation.TRANSFER_OUT, sale.institution, until),
        chain.find_last_move(Operation.TRANSFER_IN, evidence.event.institution, until),
    )
    return any(move is not None and move.order > sale.order for move in moves)
