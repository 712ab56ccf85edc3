"""PRODUCT_UNKNOWN. Goal: a gap of the catalogue is said once for each product, mildly.

Method: a table.
"""

from scenes import (
    CODE,
    GS1,
    INFO,
    SILENT,
    STRANGE,
    WARN,
    cases,
    fact,
    make_line,
    tell_line,
    to_seconds,
    weigh,
)

from tracecode.evidence import LineEvidence
from tracecode.rules.product_unknown import find

THIRTY_DAYS_AGO = {"8111111": to_seconds("-30d")}
LONGER_AGO = {"8111111": to_seconds("-30d1s")}


@cases(
    ("never seen", tell_line("sale", make_line(STRANGE)), INFO),
    ("known for thirty days", tell_line("sale", make_line(STRANGE), unknown_since=THIRTY_DAYS_AGO), INFO),
    ("known for longer", tell_line("sale", make_line(STRANGE), unknown_since=LONGER_AGO), WARN),
    ("known for longer, goods in", tell_line("receipt", make_line(STRANGE), unknown_since=LONGER_AGO), INFO),
    ("two boxes of it", tell_line("sale", make_line(STRANGE, STRANGE[:-1] + "5")), INFO),
    ("two products", tell_line("sale", make_line(STRANGE, GS1)), f"{INFO} {INFO}"),
    ("an enterprise's code", tell_line("sale", make_line("QY2026A00012345")), SILENT),
    ("in the catalogue", tell_line("sale", make_line(CODE)), SILENT),
)
def test_a_product_that_the_catalogue_lacks(told: LineEvidence, said: str) -> None:
    """Pins the thirty days, one finding a product, and that codes without an identifier are left alone."""
    assert weigh(find(told)) == said


def test_the_first_code_of_the_product_is_named() -> None:
    """Pins code and evidence, in the order of the scans."""
    findings = find(tell_line("sale", make_line(STRANGE, GS1, STRANGE[:-1] + "5")))

    assert [fact(finding, "identifier") for finding in findings] == ["8111111", "06901234567892"]
    assert findings[0].code == STRANGE
