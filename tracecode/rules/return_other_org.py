"""RETURN_OTHER_ORG: a box was taken back by an institution that did not sell it.

Fires at ALERT on a sale return while the code stands sold only elsewhere; WARN within one group. No other
exception.

Source: ours.
"""

from __future__ import annotations

from tracecode.evidence import ChainEvidence, show_event
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A return of what another institution sold."""
    event, returned = evidence.event, evidence.step.returned
    if returned is None or event.package or returned.event.institution == event.institution:
        return ()
    seller = evidence.registry(returned.event.institution)
    severity = Severity.WARN if evidence.institution.same_group(seller) else Severity.ALERT
    sale = show_event("sale", returned.event, evidence.registry)
    return (evidence.found(FindingType.RETURN_OTHER_ORG, severity, sale),)
