"""PRODUCT_UNKNOWN: the catalogue does not know what the code's identifier stands for.

Fires once for each unknown identifier (7 digits or GTIN) of a line. INFO until `product_learning_days`
(30) after it was first seen, then WARN on a sale; INFO on every other document, where nothing is compared
with it. Once enough consistent sales have taught what it is sold as, the documents before them are judged
again and lose it. Codes of an enterprise and of logistic units have no identifier: silent. A catalogue has
gaps, and a window that stops the clerk for one helps nobody: never more than WARN.

Source: ours.
"""

from __future__ import annotations

from tracecode.code import Reading
from tracecode.document import DocumentKind
from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Identifiers that the catalogue lacks."""
    document = evidence.document
    unknown: dict[str, Reading] = {}
    for reading in evidence.codes:
        if reading.identifier and reading.identifier not in evidence.products:
            unknown.setdefault(reading.identifier, reading)
    found = []
    for identifier, reading in unknown.items():
        first_seen = evidence.unknown_since.get(identifier, document.business_time)
        old = document.business_time - first_seen > evidence.thresholds.product_learning_days * 86_400
        found.append(
            evidence.found(
                FindingType.PRODUCT_UNKNOWN,
                Severity.WARN if old and document.kind is DocumentKind.SALE else Severity.INFO,
                Evidence("identifier", identifier, time=first_seen),
                code=reading.text,
            )
        )
    return tuple(found)
