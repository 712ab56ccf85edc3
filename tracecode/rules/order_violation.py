"""ORDER_VIOLATION: something was done to a box that its state does not allow.

Fires at WARN on goods in, transfers, other out, returns to the supplier, destruction and counts that do
not fit the state before them (the life cycle in tracecode/life_cycle.py), and on a sale return of which
only the split mark fits no standing sale. Never more: one clinic system sends 101 for dispensing and 102
for returns.

Not where another finding says it better: goods in of a box that somebody else holds (STOCK_NOT_HERE),
returns (RETURN_NO_SALE, RETURN_OTHER_ORG), sales (DUP_*, SPLIT_*, STOCK_*).

Source: ours.
"""

from __future__ import annotations

from tracecode.evidence import ChainEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import INBOUND, RETURNS, SALES


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """An operation that the state before it does not allow."""
    step, event = evidence.step, evidence.event
    if not step.odd or event.package or event.operation in SALES:
        return ()
    if event.operation in INBOUND and step.before.held_by not in ("", event.institution):
        return ()
    if event.operation in RETURNS and (step.returned is not None or not step.before.sales):
        return ()
    before = step.before
    where = before.institution
    state = Evidence(
        "state_before",
        before.state.name,
        time=before.since or None,
        institution_code=where,
        division_code=evidence.registry(where).division if where else "",
    )
    operation = Evidence("operation", event.operation.name)
    return (evidence.found(FindingType.ORDER_VIOLATION, Severity.WARN, operation, state),)
