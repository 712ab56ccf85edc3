"""SWAP_MAKER: the box is of another maker than the line bills.

Grade 2: same product and form, other maker.
WARN for each such code of a sale line; one level milder where the product was learnt from sales instead of
imported. Silent where the line names no drug code, the product is unknown or maps to no drug code, and on
every other document.

Source: ours, by the structure of NHSA drug codes.
"""

from __future__ import annotations

from tracecode.evidence import LineEvidence
from tracecode.finding import Finding, FindingType, Severity
from tracecode.product import GRADE_MAKER
from tracecode.swap import find_swaps


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Another maker."""
    return find_swaps(evidence, FindingType.SWAP_MAKER, Severity.WARN, (GRADE_MAKER,))
