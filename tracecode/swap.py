"""Which codes of a sale line are not of the drug that the line bills: asked once for all SWAP rules."""

from __future__ import annotations

from functools import lru_cache

from tracecode.code import Reading
from tracecode.document import DocumentKind
from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.product import GRADE_SAME, swap_grade
from tracecode.v1 import catalogue_pb2


def find_swaps(
    evidence: LineEvidence, type: FindingType, severity: Severity, grades: tuple[int, ...]
) -> tuple[Finding, ...]:
    """A finding for each code of a sale line whose product differs from the billed drug by such a grade.

    Only where both sides are known: the line names a drug code and the catalogue maps the product to at
    least one. A product that was learnt from sales, not imported, may be wrong: one level milder (ours).
    """
    billed = evidence.line.drug_code
    found = []
    for reading, product, grade in _grade_codes(evidence):
        if grade not in grades:
            continue
        found.append(
            evidence.found(
                type,
                Severity(max(severity - 1, Severity.INFO)) if product.learned else severity,
                Evidence("billed_drug", billed),
                Evidence("scanned_drugs", ";".join(product.drug_codes)),
                Evidence("product", product.name or product.identifier),
                code=reading.text,
                grade=grade,
            )
        )
    return tuple(found)


@lru_cache(maxsize=1)
def _grade_codes(evidence: LineEvidence) -> list[tuple[Reading, catalogue_pb2.Product, int]]:
    """The codes of a sale line whose products are known and are not what is billed, each with its grade."""
    billed = evidence.line.drug_code
    if not billed or evidence.document.kind is not DocumentKind.SALE:
        return []
    found = []
    for reading in evidence.codes:
        product = evidence.products.get(reading.identifier)
        if product is not None and (grade := swap_grade(billed, product.drug_codes)) != GRADE_SAME:
            found.append((reading, product, grade))
    return found
