"""CODE_AMBIGUOUS: a scan that can be read in two ways.

Fires at WARN for each such scan: a GS1 code that lost its separators, two candidates in one text, letters
whose case is in doubt. Never guessed, never more than WARN: it is the scanner's doing. No exception.

Source: ours.
"""

from __future__ import annotations

from tracecode.code import CodeClass
from tracecode.evidence import LineEvidence
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Scans with more than one reading."""
    return tuple(
        evidence.found(FindingType.CODE_AMBIGUOUS, Severity.WARN, *evidence.show_scan(reading))
        for reading in evidence.readings
        if reading.code_class is CodeClass.AMBIGUOUS
    )
