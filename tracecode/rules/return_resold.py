"""RETURN_RESOLD: a box was sold again after it was returned here.

Fires on the first sale, whole or split, after a return of the whole pack at the same institution. Once is
legitimate: INFO. WARN from `return_cycles_warn` (2) returns, ALERT from `return_cycles_alert` (3) returns
within `return_cycle_days` (90) before the sale. Units put back into an opened pack are no cycle.

Source: ours.
"""

from __future__ import annotations

from tracecode.document import Operation
from tracecode.evidence import ChainEvidence, show_event
from tracecode.finding import Evidence, Finding, FindingType, Severity


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """The first sale after a return here."""
    if not evidence.is_sale:
        return ()
    event, before, thresholds = evidence.event, evidence.step.before, evidence.thresholds
    here = event.institution
    returns = [
        other
        for other in before.returns
        if other.institution == here and other.operation is Operation.SALE_RETURN
    ]
    if not returns:
        return ()
    last = returns[-1]
    if any(sale.institution == here and sale.order > last.order for sale in before.sales_seen):
        return ()
    since = event.time - thresholds.return_cycle_days * 86_400
    recent = sum(other.time >= since for other in returns)
    if recent >= thresholds.return_cycles_alert:
        severity = Severity.ALERT
    elif len(returns) >= thresholds.return_cycles_warn:
        severity = Severity.WARN
    else:
        severity = Severity.INFO
    facts = (Evidence("returns", str(len(returns))), show_event("last_return", last, evidence.registry))
    return (evidence.found(FindingType.RETURN_RESOLD, severity, *facts),)
