"""UNVERIFIED_OFFLINE: the till sold without a connection, and the sale was judged on upload.

Fires at INFO on a sale whose terminal says that it acted offline. No exception.

Source: ours.
"""

from __future__ import annotations

from tracecode.document import DocumentKind
from tracecode.evidence import DocumentEvidence
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: DocumentEvidence) -> tuple[Finding, ...]:
    """The sale was made offline."""
    if not evidence.document.offline or evidence.document.kind is not DocumentKind.SALE:
        return ()
    return (evidence.found(FindingType.UNVERIFIED_OFFLINE, Severity.INFO),)
