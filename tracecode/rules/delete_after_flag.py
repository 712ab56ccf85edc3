"""DELETE_AFTER_FLAG: a document was taken back after it was doubted, or long after it happened.

Fires, once for each document that a deletion takes back, when
- the document carries a finding at ALERT or BLOCK, judged as if it had not been deleted: ALERT; INFO where
  that is DUP_SALE_SAME_ORG alone and the deletion comes at most `correction_hours` (24) after the sale: a
  box scanned twice is put right so, and the finding's remedy says it; or
- the deletion comes more than `delete_late_days` (7) after it: ALERT for a sale or a sale return, WARN
  for any other document, since stock papers are put in order at the end of a month.

Not when a correction sells the same code to the same person within `correction_hours` (24): it was a
slip.

Source: NHSA interface 3507 takes rows back; when that is odd is ours.
"""

from __future__ import annotations

from tracecode.document import DocumentKind
from tracecode.evidence import DeletedDocument, DocumentEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity

_FLAGS_SHOWN_MAX = 10


def find(evidence: DocumentEvidence) -> tuple[Finding, ...]:
    """The deletion takes back a doubted or an old document."""
    return tuple(
        evidence.found(FindingType.DELETE_AFTER_FLAG, severity, *_show(evidence, deleted))
        for deleted in evidence.deleted
        if (severity := _weigh(evidence, deleted)) is not None
    )


def _weigh(evidence: DocumentEvidence, deleted: DeletedDocument) -> Severity | None:
    if deleted.sold_again:
        return None
    # A deletion with a clock ahead of the receiver's came when it was received.
    time = min(evidence.document.business_time, evidence.receive_time)
    flags = {finding.type for finding in deleted.findings if finding.severity >= Severity.ALERT}
    if flags == {FindingType.DUP_SALE_SAME_ORG}:
        soon = time - deleted.time <= evidence.thresholds.correction_hours * 3600
        return Severity.INFO if soon else Severity.ALERT
    if flags:
        return Severity.ALERT
    if time - deleted.time <= evidence.thresholds.delete_late_days * 86_400:
        return None
    sold = deleted.document.kind in (DocumentKind.SALE, DocumentKind.SALE_RETURN)
    return Severity.ALERT if sold else Severity.WARN


def _show(evidence: DocumentEvidence, deleted: DeletedDocument) -> list[Evidence]:
    document = deleted.document
    facts = [
        Evidence(
            "deleted_document",
            document.kind.name,
            sequence=deleted.sequence,
            time=document.business_time,
            institution_code=document.institution_code,
            division_code=evidence.institution.division,
            document_number=document.number,
        )
    ]
    flags = {finding.type for finding in deleted.findings if finding.severity >= Severity.ALERT}
    facts += [Evidence("flag", type.name, sequence=deleted.sequence) for type in sorted(flags)]
    return facts[: 1 + _FLAGS_SHOWN_MAX]
