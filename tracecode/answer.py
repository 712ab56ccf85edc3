"""From what is stored to what is answered: texts, what stands now, and what a pharmacy may see.

A pharmacy sees of other institutions the division and the day; a regulator sees all of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from tracecode.document import NS
from tracecode.finding import (
    PROVISIONAL_SECONDS,
    REGISTRY,
    Finding,
    FindingType,
    Mode,
    Severity,
    dress,
    to_message,
)
from tracecode.masks import mask_evidence
from tracecode.v1 import finding_pb2

DAY_SECONDS = 86_400


def answer_verdict(verdict: finding_pb2.Verdict, now_ns: int, *, asked: bool, asker: str = "") -> None:
    """Make a stored verdict ready for its reader, in place.

    `asked`: the document asked before settlement. `asker`: the institution that reads it; empty = a
    regulator, who sees everything.
    """
    now, final = now_ns // NS, verdict.final_time.seconds
    verdict.provisional = now < final
    if verdict.repeat:
        verdict.findings.append(_plain(FindingType.DUP_RETRY))
    answer_findings(verdict.findings, now, final, asked=asked, asker=asker)
    if asker:
        shown = [finding for finding in verdict.findings if Mode(finding.mode) is not Mode.OBSERVE]
        del verdict.findings[:]
        verdict.findings.extend(shown)
    if not any(FindingType(finding.type) is not FindingType.DUP_RETRY for finding in verdict.findings):
        verdict.findings.append(pass_finding())
    verdict.severity = max(finding.severity for finding in verdict.findings)
    verdict.as_of.time.CopyFrom(to_timestamp(now_ns))


def pass_finding() -> finding_pb2.Finding:
    """PASS as it is answered: the same for every document in which nothing was found."""
    passed = _plain(FindingType.PASS)
    dress(passed, 0, 0)
    return passed


def plain_verdict(
    sequence: int, business_time: int, receive_time_ns: int, rule_base_version: str
) -> finding_pb2.Verdict:
    """The verdict, as it is answered, of a document in which nothing was found. The native code, which clears
    such documents, writes the same bytes."""
    seconds, final = receive_time_ns // NS, business_time + PROVISIONAL_SECONDS
    return finding_pb2.Verdict(
        sequence=sequence,
        outcome=finding_pb2.OUTCOME_ACCEPTED,
        findings=[pass_finding()],
        severity=finding_pb2.SEVERITY_INFO,
        final_time=Timestamp(seconds=final),
        provisional=seconds < final,
        rule_base_version=rule_base_version,
        as_of=finding_pb2.AsOf(sequence=sequence, time=to_timestamp(receive_time_ns)),
    )


def answer_findings(
    findings: Iterable[finding_pb2.Finding], now: int, final_time: int, *, asked: bool, asker: str = ""
) -> None:
    """Fill texts and standing severities, and hide what `asker` may not see, in place. Seconds."""
    for finding in findings:
        dress(finding, now, final_time, asked=asked)
        if asker:
            for evidence in finding.evidence:
                if evidence.institution_code and evidence.institution_code != asker:
                    mask_evidence(evidence)
                    evidence.sequence = 0


def _plain(finding_type: FindingType) -> finding_pb2.Finding:
    return to_message(Finding(finding_type, Severity.INFO), REGISTRY[finding_type].mode)


def to_timestamp(ns: int) -> Timestamp:
    """Nanoseconds since 1970 UTC as protobuf has them."""
    return Timestamp(seconds=ns // NS, nanos=ns % NS)
