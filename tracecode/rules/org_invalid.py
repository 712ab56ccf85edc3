"""ORG_INVALID: the institution may not settle with the insurance.

Fires when the institution is not registered, or when its insurance service agreement is not in force on the
business day. BLOCK on a sale; a sale that the person pays alone needs no agreement, so there a lapsed
agreement is WARN. WARN on every other document: goods move in a suspended shop too. A code of another shape
than one letter and eleven digits is refused before any rule.

Source: ours, after the shape of fixmedins_code and the service agreement of designated institutions.
"""

from __future__ import annotations

from tracecode.document import DocumentKind
from tracecode.evidence import DocumentEvidence, show_institution
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: DocumentEvidence) -> tuple[Finding, ...]:
    """The institution is unknown or not in service."""
    registered = evidence.institution.registered
    if registered and evidence.in_service:
        return ()
    document = evidence.document
    refusing = document.kind is DocumentKind.SALE and (document.insured or not registered)
    reason = "not_in_service" if registered else "not_registered"
    return (
        evidence.found(
            FindingType.ORG_INVALID,
            Severity.BLOCK if refusing else Severity.WARN,
            show_institution("institution", evidence.institution, reason),
        ),
    )
