"""DUP_RETRY: one sale (or return) reported twice by the same channel, under two document numbers.

Fires at INFO on the later of two reports that the fold joined as one (same settlement_id), when they came
by the same channel. The joined report moves nothing. A document sent again as it was never gets here: it
is answered as the first time.

Source: ours.
"""

from __future__ import annotations

from tracecode.evidence import ChainEvidence, show_event
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """Another report of an earlier sale or return, by the same channel."""
    joined = evidence.step.joined
    if joined is None or evidence.event.package or joined.channel != evidence.event.channel:
        return ()
    earlier = show_event("joined_report", joined, evidence.registry)
    return (evidence.found(FindingType.DUP_RETRY, Severity.INFO, earlier),)
