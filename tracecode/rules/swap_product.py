"""SWAP_PRODUCT: the box is another drug than the line bills.

Grade 4: another product. Grade 5: what is billed is not a drug of any kind the product may be billed as.
BLOCK for each such code of a sale line; one level milder where the product was learnt from sales instead of
imported. Silent where the line names no drug code, the product is unknown or maps to no drug code, and on
every other document.

Source: ours, by the structure of NHSA drug codes.
"""

from __future__ import annotations

from tracecode.evidence import LineEvidence
from tracecode.finding import Finding, FindingType, Severity
from tracecode.product import GRADE_NO_DRUG, GRADE_PRODUCT
from tracecode.swap import find_swaps


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Another drug."""
    return find_swaps(evidence, FindingType.SWAP_PRODUCT, Severity.BLOCK, (GRADE_PRODUCT, GRADE_NO_DRUG))
