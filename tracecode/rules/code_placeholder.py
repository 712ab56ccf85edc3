"""CODE_PLACEHOLDER: something that stands for "no code" was given as a code.

Fires at WARN for each placeholder (20 nines, zeros, one sign repeated, 无, ...), at INFO on a split line:
hospital systems upload 99999999999999999999 for every split drug. A placeholder stands for no box and never
counts as sold twice. Exempt drugs are rows of the rule base.

Source: ours.
"""

from __future__ import annotations

from tracecode.code import CodeClass
from tracecode.evidence import LineEvidence
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Scans that are placeholders."""
    severity = Severity.INFO if evidence.line.split else Severity.WARN
    return tuple(
        evidence.found(FindingType.CODE_PLACEHOLDER, severity, *evidence.show_scan(reading))
        for reading in evidence.readings
        if reading.code_class is CodeClass.PLACEHOLDER
    )
