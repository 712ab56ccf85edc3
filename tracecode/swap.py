"""Which codes of a sale line are not of the drug that the line bills: asked once for all SWAP rules."""

from __future__ import annotations

from tracecode.document import DocumentKind
from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.product import swap_grade


def find_swaps(
    evidence: LineEvidence, type: FindingType, severity: Severity, grades: tuple[int, ...]
) -> tuple[Finding, ...]:
    """A finding for each code of a sale line whose product differs from the billed drug by such a grade.

    Only where both sides are known: the line names a drug code and the catalogue maps the product to at
    least one. A product that was learnt from sales, not imported, may be wrong: one level milder (ours).
    """
    billed = evidence.line.drug_code
    if not billed or evidence.document.kind is not DocumentKind.SALE:
        return ()
    found = []
    for reading in evidence.codes:
        product = evidence.products.get(reading.identifier)
        if product is None or (grade := swap_grade(billed, product.drug_codes)) not in grades:
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
