"""CODE_EMPTY: an insured sale line without a code.

Fires at BLOCK when a line of an insured sale has no scan, or only empty ones. Silent on a sale that the
person pays alone, and on every other document; and where other lines of the same drug carry codes enough
for all of its lines, which is a known fault of client software (the first line gets all codes). Drugs and
institutions that need no codes (herbal slices and granules, split doses of inpatients, stock without
codes) are rows of the rule base.

Source: 医保发〔2025〕7号: what is sold at the insurance's cost is scanned before settlement.
"""

from __future__ import annotations

from tracecode.code import CodeClass
from tracecode.document import DocumentKind
from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """The insured line bears no code."""
    document = evidence.document
    if document.kind is not DocumentKind.SALE or not document.insured:
        return ()
    if any(reading.code_class is not CodeClass.EMPTY for reading in evidence.readings):
        return ()
    if _carried_elsewhere(evidence):
        return ()
    billed = Evidence("billed_drug", evidence.line.drug_code)
    return (evidence.found(FindingType.CODE_EMPTY, Severity.BLOCK, billed),)


def _carried_elsewhere(evidence: LineEvidence) -> bool:
    """Other lines of the drug carry a code for each pack of all its lines."""
    drug_code = evidence.line.drug_code
    if not drug_code:
        return False
    packs = sum(line.quantity for line in evidence.document.lines if line.drug_code == drug_code)
    codes = sum(
        any(line.drug_code == drug_code for line in lines) for lines in evidence.lines_of_code.values()
    )
    return codes >= packs
