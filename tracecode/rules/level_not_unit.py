"""LEVEL_NOT_UNIT: the code of a carton was scanned where a box is sold.

Fires at BLOCK, for each code of a middle or outer package or of a logistic unit (SSCC) on a sale line.
Silent
- where the package is the smallest unit that bears a code (is_smallest: a carton of infusions);
- where the line's quantity is what all its codes hold together: whole cartons were sold. A split line
  never is;
- on every other document: cartons come in and go out whole.

Source: NHSA questions and answers of 2024-12-06 on 小码, 中码, 大码; the severity is ours.
"""

from __future__ import annotations

from tracecode.code import CodeClass, Reading
from tracecode.document import DocumentKind
from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.product import is_outer_package, units_inside


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Codes of outer packages on a sale line that does not sell whole packages."""
    if evidence.document.kind is not DocumentKind.SALE:
        return ()
    outer: list[tuple[Reading, int]] = []
    units = 0
    for reading in evidence.codes:
        product = evidence.products.get(reading.identifier)
        if reading.code_class is CodeClass.LOGISTIC_UNIT:
            outer.append((reading, 0))
        elif product is not None and is_outer_package(product):
            outer.append((reading, units_inside(product)))
            units += units_inside(product)
        else:
            units += 1
    countable = not evidence.line.split and all(inside for _, inside in outer)
    if not outer or (countable and units == evidence.line.quantity):
        return ()
    return tuple(
        evidence.found(
            FindingType.LEVEL_NOT_UNIT,
            Severity.BLOCK,
            Evidence("units_inside", str(inside) if inside else "unknown"),
            Evidence("quantity", str(evidence.line.quantity)),
            code=reading.text,
        )
        for reading, inside in outer
    )
