"""Counter-evidence: what explains many findings, looked for in a code's chain.

Whoever judges a finding sees what was looked for and what was there. That something is there and the
finding stands says that the rules have weighed it and that it does not explain this one: a return of another
sale, a transfer of a later day. That nothing is there says that no honest explanation was reported so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracecode.v1 import case_pb2, code_pb2, finding_pb2, finding_service_pb2

EVENTS_SHOWN = 10
CHAIN_EVENTS_MAX = 2_000
"""A chain of more events is not looked through: it is no box's code, and its findings say so."""

Kind = finding_service_pb2.CounterEvidenceType

_RETURNS = (code_pb2.OPERATION_SALE_RETURN, code_pb2.OPERATION_SPLIT_RETURN)
_TRANSFERS = (
    code_pb2.OPERATION_TRANSFER_OUT,
    code_pb2.OPERATION_TRANSFER_IN,
    code_pb2.OPERATION_SUPPLIER_RETURN,
    code_pb2.OPERATION_ISSUE,
)
_REPORTED_AGAIN = (finding_pb2.FINDING_TYPE_DUP_CHANNEL, finding_pb2.FINDING_TYPE_DUP_RETRY)

_FITS: dict[int, Callable[[code_pb2.CodeEvent, str], bool]] = {
    finding_service_pb2.COUNTER_EVIDENCE_TYPE_RETURN: lambda event, _: event.operation in _RETURNS,
    finding_service_pb2.COUNTER_EVIDENCE_TYPE_DELETION: lambda event, _: (
        event.operation == code_pb2.OPERATION_DELETE or bool(event.deleted_by_sequence)
    ),
    finding_service_pb2.COUNTER_EVIDENCE_TYPE_TRANSFER: lambda event, _: event.operation in _TRANSFERS,
    finding_service_pb2.COUNTER_EVIDENCE_TYPE_SPLIT: lambda event, _: (
        event.operation == code_pb2.OPERATION_SPLIT_SALE
    ),
    finding_service_pb2.COUNTER_EVIDENCE_TYPE_SECOND_CHANNEL: lambda event, _: any(
        finding.type in _REPORTED_AGAIN for finding in event.findings
    ),
    finding_service_pb2.COUNTER_EVIDENCE_TYPE_RECEIPT: lambda event, institution: (
        event.operation == code_pb2.OPERATION_RECEIVE and event.institution_code == institution
    ),
}


def search(
    reference: case_pb2.FindingReference, institution_code: str, chain: Sequence[code_pb2.CodeEvent] | None
) -> list[finding_service_pb2.CounterEvidence]:
    """What was looked for and found, beside the finding's own event. `chain` is that of the finding's code in
    order; None = there is none to be looked through."""
    own = (reference.sequence, reference.line_number)
    place = next(
        (at for at, event in enumerate(chain or ()) if (event.sequence, event.line_number) == own), None
    )
    found = []
    for kind, fits in _FITS.items():
        evidence = finding_service_pb2.CounterEvidence(type=Kind.ValueType(kind), searched=chain is not None)
        for at, event in enumerate(chain or ()):
            # Of the finding's own event only what others did to it can explain it.
            taken_back = kind == finding_service_pb2.COUNTER_EVIDENCE_TYPE_DELETION
            if (at == place and not taken_back) or not fits(event, institution_code):
                continue
            evidence.event_count += 1
            if evidence.event_count <= EVENTS_SHOWN:
                evidence.events.append(_show(event, before=place is not None and at < place))
        found.append(evidence)
    return found


def _show(event: code_pb2.CodeEvent, *, before: bool) -> finding_service_pb2.CounterEvidenceEvent:
    return finding_service_pb2.CounterEvidenceEvent(
        sequence=event.sequence,
        line_number=event.line_number,
        operation=event.operation,
        institution_code=event.institution_code,
        document_number=event.document_number,
        business_time=event.business_time,
        receive_time=event.receive_time,
        before=before,
        uncounted=event.refused or bool(event.deleted_by_sequence),
    )
