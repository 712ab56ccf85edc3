"""CODE_MALFORMED: a scan that is no code of any class.

Fires for each such scan: BLOCK on an insured sale, WARN on every other document. A sale that the person
pays alone is not asked for codes, so a bad scan must not stop it when no scan would not. WARN too where
the hint says that the scanner or the keyboard spoilt the scan (caps lock, layout, lost separator, glued
scans): that tells nothing about the box. A web address without a code is CODE_NOT_TRACE instead.

Source: NMPAB/T 1002-2019 says what a code is; the severities are ours.
"""

from __future__ import annotations

from tracecode.code import CodeClass, Hint
from tracecode.document import DocumentKind
from tracecode.evidence import LineEvidence
from tracecode.finding import Finding, FindingType, Severity

_SCANNER_HINTS = frozenset(
    (Hint.CAPS_LOCK, Hint.KEYBOARD_LAYOUT, Hint.SEPARATOR_LOST, Hint.SCAN_ONE_AT_A_TIME)
)


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Scans that cannot be read."""
    insured_sale = evidence.document.kind is DocumentKind.SALE and evidence.document.insured
    return tuple(
        evidence.found(
            FindingType.CODE_MALFORMED,
            Severity.BLOCK if insured_sale and reading.hint not in _SCANNER_HINTS else Severity.WARN,
            *evidence.show_scan(reading),
        )
        for reading in evidence.readings
        if reading.code_class is CodeClass.MALFORMED and reading.hint is not Hint.URL_WITHOUT_CODE
    )
