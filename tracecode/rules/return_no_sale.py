"""RETURN_NO_SALE: a box was taken back of which no sale stands.

Fires at WARN on a sale return, whole or split, while no sale of the code stands anywhere. Not on a second
report of one return, and not where only the split mark differs (ORDER_VIOLATION). A till that stops a
pending upload sends the return alone; how long the sale is waited for stands in the registry.

Source: ours; the return is NHSA interface 3506.
"""

from __future__ import annotations

from tracecode.evidence import ChainEvidence, show_event
from tracecode.finding import Finding, FindingType, Severity
from tracecode.life_cycle import RETURNS


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A return without a standing sale."""
    step = evidence.step
    if evidence.event.operation not in RETURNS or evidence.event.package or step.joined is not None:
        return ()
    if step.before.sales:
        return ()
    facts = []
    if step.before.returns:
        facts.append(show_event("earlier_return", step.before.returns[-1], evidence.registry))
    return (evidence.found(FindingType.RETURN_NO_SALE, Severity.WARN, *facts),)
