"""LATE_UPLOAD: the document came long after it happened.

Fires when a document arrives more than `late_info_hours` (48) after its business time: INFO; more than
`late_warn_days` (30): WARN. Lateness changes nothing in how the document is judged, so there is no
exception; a declared outage is a row of the rule base.

Source: ours.
"""

from __future__ import annotations

from tracecode.evidence import DocumentEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity


def find(evidence: DocumentEvidence) -> tuple[Finding, ...]:
    """The document is late."""
    late_seconds = evidence.receive_time - evidence.document.business_time
    if late_seconds <= evidence.thresholds.late_info_hours * 3600:
        return ()
    very_late = late_seconds > evidence.thresholds.late_warn_days * 86_400
    return (
        evidence.found(
            FindingType.LATE_UPLOAD,
            Severity.WARN if very_late else Severity.INFO,
            Evidence("late_hours", str(late_seconds // 3600), time=evidence.document.business_time),
        ),
    )
