"""CODE_ALIASED: the platform gave the pack another code since.

Fires at INFO for each scanned code that a code replacement (单码替换) names as the old one. It is judged
under the new one, which is the code of the finding. No exception.

Source: 码上放心 platform, codereplace; that both are one box is ours.
"""

from __future__ import annotations

from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Codes that were replaced."""
    return tuple(
        evidence.found(
            FindingType.CODE_ALIASED,
            Severity.INFO,
            Evidence("old_code", reading.text),
            Evidence("new_code", evidence.replaced[reading.key]),
            code=evidence.replaced[reading.key],
        )
        for reading in evidence.codes
        if reading.key in evidence.replaced
    )
