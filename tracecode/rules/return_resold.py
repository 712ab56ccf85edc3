"""RETURN_RESOLD: a box was sold again after it was returned here.

Fires on the first sale, whole or split, after a return of the whole pack at the same institution: a sale
return, or other in (106) of a box that was sold here. Once is legitimate: INFO. WARN from
`return_cycles_warn` (2) returns, ALERT from `return_cycles_alert` (3) returns within `return_cycle_days` (90)
before the sale. Units put back into an opened pack are no cycle, and a sale return that found no sale to take
back is none within `join_hours` (24) of an other in: both tell of one return.

Source: ours.
"""

from __future__ import annotations

from bisect import bisect_left

from tracecode.document import Operation
from tracecode.evidence import ChainEvidence, show_event
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import Event


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """The first sale after a return here."""
    if not evidence.is_sale:
        return ()
    event, before, thresholds = evidence.event, evidence.step.before, evidence.thresholds
    here = event.institution
    returns = _cycles(evidence)
    if not returns:
        return ()
    last = returns[-1]
    for sale in reversed(before.sales_seen):
        if sale.order < last.order:
            break
        if sale.institution == here:
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


def _cycles(evidence: ChainEvidence) -> list[Event]:
    """The returns of the whole pack here, each once."""
    here, thresholds = evidence.event.institution, evidence.thresholds
    returns = [
        event
        for event in evidence.step.before.returns
        if event.institution == here and event.operation is not Operation.SPLIT_RETURN
    ]
    other_in = [event.time for event in returns if event.operation is not Operation.SALE_RETURN]
    if not other_in:
        return returns
    took_back = evidence.chain.took_back

    def repeats(event: Event) -> bool:
        at = bisect_left(other_in, event.time - thresholds.join_hours * 3600)
        return at < len(other_in) and other_in[at] <= event.time + thresholds.join_hours * 3600

    return [event for event in returns if event.order in took_back or not repeats(event)]
