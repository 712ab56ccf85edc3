"""What is left out of an answer for who may not see all of it.

A code's life is told whole, since a box that was sold twice is seen as such from either side: of what lies
elsewhere it tells entry, operation, division, day, state and which findings there are.
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.document import CHINA_SECONDS, china_day
from tracecode.grants import Reach
from tracecode.v1 import code_pb2, complaint_pb2, finding_pb2

DAY_SECONDS = 86_400


def division_of(institution_code: str) -> str:
    """The six digits in an institution's code: where it lies, for grants."""
    return institution_code[1:7]


def mask_event(event: code_pb2.CodeEvent, reach: Reach) -> None:
    """Leave of an event what lies within reach."""
    if reach.covers_all:
        return
    if reach.covers(division_of(event.institution_code)):
        for finding in (*event.findings_first, *event.findings):
            mask_finding(finding, reach)
        if event.counterparty and _is_hidden_institution(event.counterparty, reach):
            event.counterparty = ""
        return
    event.CopyFrom(
        code_pb2.CodeEvent(
            sequence=event.sequence,
            operation=event.operation,
            document_kind=event.document_kind,
            business_time=day_time(event.business_time),
            effective_time=day_time(event.effective_time),
            refused=event.refused,
            deleted_by_sequence=event.deleted_by_sequence,
            state_after=event.state_after,
            channel=event.channel,
            joined_sequence=event.joined_sequence,
            findings_first=[_bare(each) for each in event.findings_first],
            findings=[_bare(each) for each in event.findings],
        )
    )


def mask_complaint(record: complaint_pb2.ComplaintRecord, reach: Reach) -> None:
    """Take away of whom it is where the caller may not see one of them: the sales would tell."""
    complaint = record.complaint
    told = [
        *complaint.institution_codes,
        *([complaint.institution_code] if complaint.institution_code else []),
    ]
    # One that names nobody is about no place: nobody but who sees all of them sees who complains.
    if reach.covers_all or (told and all(reach.covers(division_of(code)) for code in told)):
        return
    for field in ("person_token", "request_id", "institution_code", "sale_sequences", "institution_codes"):
        complaint.ClearField(field)
    record.ClearField("case_numbers")


def mask_finding(finding: finding_pb2.Finding, reach: Reach) -> None:
    """Take from a finding's evidence who it is elsewhere: division and day are left."""
    for evidence in finding.evidence:
        division = division_of(evidence.institution_code) or evidence.division_code
        if division and not reach.covers(division):
            mask_evidence(evidence)


def mask_evidence(evidence: finding_pb2.Evidence) -> None:
    """Take from it who it is: division and day are left."""
    evidence.institution_code = ""
    evidence.document_number = ""
    if evidence.HasField("business_time"):
        evidence.business_time.CopyFrom(day_time(evidence.business_time))


def mask_status(status: code_pb2.CodeStatus, reach: Reach) -> None:
    """Take from a code's status who has the box, if that is elsewhere."""
    if not reach.covers(division_of(status.holder_institution_code)):
        status.holder_institution_code = ""


def day_time(time: Timestamp) -> Timestamp:
    """The beginning of its day in China."""
    return Timestamp(seconds=china_day(time.seconds) * DAY_SECONDS - CHINA_SECONDS)


def _bare(finding: finding_pb2.Finding) -> finding_pb2.Finding:
    return finding_pb2.Finding(
        type=finding.type,
        severity=finding.severity,
        final_severity=finding.final_severity,
        mode=finding.mode,
        code=finding.code,
        title=finding.title,
    )


def _is_hidden_institution(text: str, reach: Reach) -> bool:
    # A supplier's licence or name is no institution; those are written by one letter and digits.
    return len(text) >= 7 and text[:1].isalpha() and text[1:7].isdigit() and not reach.covers(text[1:7])
