"""SWAP_PACK: the box is another pack than the line bills.

Grade 1: same product, form and maker, other pack. One maker's drug often has several pack codes, and the
catalogue seldom maps them all.
INFO for each such code of a sale line; one level milder where the product was learnt from sales instead of
imported. Silent where the line names no drug code, the product is unknown or maps to no drug code, and on
every other document.

Source: ours, by the structure of NHSA drug codes.
"""

from __future__ import annotations

from tracecode.evidence import LineEvidence
from tracecode.finding import Finding, FindingType, Severity
from tracecode.product import GRADE_PACK
from tracecode.swap import find_swaps


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Another pack."""
    return find_swaps(evidence, FindingType.SWAP_PACK, Severity.INFO, (GRADE_PACK,))
