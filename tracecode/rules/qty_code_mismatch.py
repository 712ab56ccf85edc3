"""QTY_CODE_MISMATCH: the quantity of a line does not go with the number of its codes.

Fires at WARN on a sale or sale return when the line's distinct codes give its quantity neither in the
billed unit (one for each code, a begun pack counting as one) nor in a registered unit (the units inside
each package, or the tablets or vials inside each whole pack). On a split line, when the codes together hold
fewer units than were given out.

Silent where it cannot be told: no codes, a scan that could not be read or is a placeholder (its own
finding says so), or a product whose ratio the catalogue does not know. So two rules must fail before
anything is said.

Source: ours; retail and registered pack differ often (10 a box and 500 a box).
"""

from __future__ import annotations

from decimal import Decimal

from tracecode.code import CodeClass
from tracecode.document import DocumentKind
from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.product import can_split, units_inside
from tracecode.v1 import catalogue_pb2


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """The quantity fits in no unit."""
    if evidence.document.kind not in (DocumentKind.SALE, DocumentKind.SALE_RETURN):
        return ()
    codes = evidence.codes
    scanned = (reading for reading in evidence.readings if reading.code_class is not CodeClass.EMPTY)
    if not codes or not all(reading.key for reading in scanned):
        return ()
    quantity, count = evidence.line.quantity, len(codes)
    if not evidence.line.split and count - 1 < quantity <= count:
        return ()
    products = [evidence.products.get(reading.identifier) for reading in codes]
    known = [product for product in products if product is not None and not product.learned]
    if len(known) < count or _fits(quantity, known, evidence.line.split):
        return ()
    return (
        evidence.found(
            FindingType.QTY_CODE_MISMATCH,
            Severity.WARN,
            Evidence("quantity", str(quantity)),
            Evidence("codes", str(count)),
            Evidence("units_of_codes", str(sum(map(units_inside, known)))),
        ),
    )


def _fits(quantity: Decimal, products: list[catalogue_pb2.Product], split: bool) -> bool:
    packs = [units_inside(product) for product in products]
    if not split and quantity == sum(packs):
        return True
    if not all(map(can_split, products)):
        # Nobody knows how many tablets these are: of a split line nothing can be said.
        return split
    units = [inside * product.splittable_units for inside, product in zip(packs, products, strict=True)]
    # Whole packs may be billed in tablets; marked as split, the last pack may be a begun one.
    return quantity <= sum(units) if split else quantity == sum(units)
