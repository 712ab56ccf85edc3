"""SWAP_FORM: the box is another form of the drug than the line bills.

Grade 3: same product, other form. The codes of Chinese patent drugs do not say the form; there another form
is another product.
WARN for each such code of a sale line; one level milder where the product was learnt from sales instead of
imported. Silent where the line names no drug code, the product is unknown or maps to no drug code, and on
every other document.

Source: ours, by the structure of NHSA drug codes.
"""

from __future__ import annotations

from tracecode.evidence import LineEvidence
from tracecode.finding import Finding, FindingType, Severity
from tracecode.product import GRADE_FORM
from tracecode.swap import find_swaps


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Another form."""
    return find_swaps(evidence, FindingType.SWAP_FORM, Severity.WARN, (GRADE_FORM,))
