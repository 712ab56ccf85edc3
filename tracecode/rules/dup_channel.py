"""DUP_CHANNEL: one sale (or return) reported by both national channels.

Fires at INFO on the later of two reports that the fold joined as one, when they came by different
channels: the settlement (2207 drug_trac_info) and the inventory upload (3505, 3506). They share the
settlement_id, or one lacks it and they share the visit_number at most 24 hours apart. The joined report
moves nothing. The same channel twice is DUP_RETRY.

Source: ours; the two channels are those of the NHSA interfaces.
"""

from __future__ import annotations

from tracecode.evidence import ChainEvidence, show_event
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """Another report of an earlier sale or return, by the other channel."""
    joined = evidence.step.joined
    if joined is None or evidence.event.package or joined.channel == evidence.event.channel:
        return ()
    earlier = show_event("joined_report", joined, evidence.registry)
    return (evidence.found(FindingType.DUP_CHANNEL, Severity.INFO, earlier),)
