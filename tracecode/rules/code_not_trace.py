"""CODE_NOT_TRACE: another barcode of the box was scanned.

Fires at WARN for each scan that is a product barcode (69 code, or GS1 without a serial), a 本位码, or a web
address without a code in it. No exception.

Source: NHSA questions and answers of 2024-12-06 tell the codes of a box apart; the severity is ours.
"""

from __future__ import annotations

from tracecode.code import CodeClass, Hint
from tracecode.evidence import LineEvidence
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Scans of something that is not the traceability code."""
    return tuple(
        evidence.found(FindingType.CODE_NOT_TRACE, Severity.WARN, *evidence.show_scan(reading))
        for reading in evidence.readings
        if reading.code_class in (CodeClass.PRODUCT_BARCODE, CodeClass.STANDARD_DRUG_CODE)
        or (reading.code_class is CodeClass.MALFORMED and reading.hint is Hint.URL_WITHOUT_CODE)
    )
