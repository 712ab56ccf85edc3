"""SPLIT_NOT_ALLOWED: part of a pack is sold that cannot be split.

Fires at WARN for each code of a sale line marked as split whose product the catalogue knows as not
splittable, or whose drug condition in the rule base allows 0 units. Silent where a drug condition allows
some, and else for a product that was learnt from sales: how it splits was not learnt. An outer package is
LEVEL_NOT_UNIT instead.

Source: ours; the mark is trdn_flag of the NHSA interface 3505.
"""

from __future__ import annotations

from tracecode.document import DocumentKind
from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.product import can_split, is_outer_package


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Codes of packs that cannot be split, on a split line."""
    if not evidence.line.split or evidence.document.kind is not DocumentKind.SALE:
        return ()
    found = []
    for reading in evidence.codes:
        product = evidence.products.get(reading.identifier)
        units_max = evidence.split_units_max.get(reading.identifier)
        if product is not None and is_outer_package(product):
            continue
        if units_max is None and (product is None or product.learned or can_split(product)):
            continue
        if units_max:
            continue
        named = product is not None and product.name
        name = Evidence("product", named or reading.identifier)
        found.append(evidence.found(FindingType.SPLIT_NOT_ALLOWED, Severity.WARN, name, code=reading.text))
    return tuple(found)
