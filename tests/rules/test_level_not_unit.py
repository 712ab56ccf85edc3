"""LEVEL_NOT_UNIT. Goal: a carton's code at the till blocks, unless the whole carton is sold.

Method: a table.
"""

from scenes import (
    BLOCK,
    CARTON,
    CODE,
    OTHER_CODE,
    OUTER,
    SILENT,
    cases,
    fact,
    make_line,
    tell_line,
    weigh,
)

from tracecode.evidence import LineEvidence
from tracecode.rules.level_not_unit import find
from tracecode.v1.catalogue_pb2 import Product

SSCC = "(00)069012345678901238"
BOTTLES = Product(identifier="8021761", package_level=3, units_per_package=120, smallest_unit=True)
SIZE_UNKNOWN = Product(identifier="8021761", package_level=3)


@cases(
    ("carton for a box", tell_line("sale", make_line(CARTON)), BLOCK),
    ("carton for nine boxes", tell_line("sale", make_line(CARTON, quantity="9")), BLOCK),
    ("whole carton", tell_line("sale", make_line(CARTON, quantity="10")), SILENT),
    ("carton and two boxes", tell_line("sale", make_line(CARTON, CODE, OTHER_CODE, quantity="12")), SILENT),
    ("carton, box counted short", tell_line("sale", make_line(CARTON, CODE, quantity="10")), BLOCK),
    ("part of a carton", tell_line("sale", make_line(CARTON, quantity="10", split=True)), BLOCK),
    ("self-paid", tell_line("sale", make_line(CARTON), self_paid=True), BLOCK),
    ("smallest unit with a code", tell_line("sale", make_line(CARTON), products=[BOTTLES]), SILENT),
    (
        "carton of unknown size",
        tell_line("sale", make_line(CARTON, quantity="10"), products=[SIZE_UNKNOWN]),
        BLOCK,
    ),
    ("logistic unit", tell_line("sale", make_line(SSCC)), BLOCK),
    ("logistic unit of ten", tell_line("sale", make_line(SSCC, quantity="10")), BLOCK),
    ("carton received", tell_line("receipt", make_line(CARTON)), SILENT),
    ("carton returned", tell_line("sale_return", make_line(CARTON)), SILENT),
    ("unknown product", tell_line("sale", make_line(CARTON), products=[]), SILENT),
    ("box", tell_line("sale", make_line(CODE)), SILENT),
)
def test_a_carton_at_the_till(told: LineEvidence, said: str) -> None:
    """Pins the whole carton, the smallest unit and the documents on which cartons are normal."""
    assert weigh(find(told)) == said


def test_the_clerk_is_told_how_many_boxes_it_holds() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_line("sale", make_line(CARTON), products=[OUTER]))

    assert (fact(finding, "units_inside"), fact(finding, "quantity"), finding.code) == ("10", "1", CARTON)
