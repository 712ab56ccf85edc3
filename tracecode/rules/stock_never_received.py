"""STOCK_NEVER_RECEIVED: a box was sold that the institution never received.

Fires on a sale when the chain shows no receipt, transfer in or opening stock of the box here at any time
(its package counts too), and nobody else has it: ALERT where the institution uploads the codes it
receives, INFO where it does not, because there the absence proves nothing; WARN where a shop of the same
group received it, at most `receipt_late_hours` (48) after the sale: they moved it without a transfer; and
where the institution received an outer package of the product whose contents nobody named.

A box that somebody else has, or that is on its way, is STOCK_NOT_HERE; one that left here before is
STOCK_ALREADY_OUT; a sale before `legacy_stock_until` is EXEMPT_LEGACY_STOCK.

Source: 医保发〔2025〕7号 asks for all codes from 2026-01-01; the severities are ours.
"""

from __future__ import annotations

from tracecode.custody import find_receipt
from tracecode.document import day_date
from tracecode.evidence import ChainEvidence, show_institution
from tracecode.finding import Finding, FindingType, Severity
from tracecode.life_cycle import INBOUND, State


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A sale of a box without any receipt, from the cut-off date on."""
    if not lacks_receipt(evidence) or is_legacy(evidence):
        return ()
    institution = evidence.institution
    uploads = institution.uploads_receipt_codes
    fact = show_institution("receipt_codes", institution, "uploaded" if uploads else "not_uploaded")
    severity = Severity.ALERT if uploads else Severity.INFO
    if uploads and (evidence.boxed or _came_to_group(evidence)):
        severity = Severity.WARN
    return (evidence.found(FindingType.STOCK_NEVER_RECEIVED, severity, fact),)


def _came_to_group(evidence: ChainEvidence) -> bool:
    """A shop of the same group received the box, at most `receipt_late_hours` after this sale."""
    until = evidence.event.time + evidence.thresholds.receipt_late_hours * 3600
    return any(
        operation in INBOUND
        and events[0].time <= until
        and evidence.institution.same_group(evidence.registry(institution))
        for (operation, institution), events in evidence.chain.moves.items()
    )


def lacks_receipt(evidence: ChainEvidence) -> bool:
    """The event is a sale of a box that never came in here, and that nobody else is known to have."""
    if not evidence.is_sale:
        return False
    here, before = evidence.event.institution, evidence.step.before
    if before.held_by not in ("", here) or before.departed_from(here) is not None:
        return False
    if before.state is State.IN_TRANSIT and before.institution != here:
        return False
    return before.received_at(here) is None and find_receipt(evidence) is None


def is_legacy(evidence: ChainEvidence) -> bool:
    """The sale was made before boxes had to come in with their codes."""
    return day_date(evidence.business_day) < evidence.thresholds.legacy_stock_until
