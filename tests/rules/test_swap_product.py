"""SWAP_PRODUCT. Goal: another drug, or what is no drug, blocks; milder for a learnt product.

Method: a table.
"""

from scenes import ALERT, BLOCK, CARTON, CODE, DRUG, SILENT, STRANGE, cases, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.swap_product import find
from tracecode.v1.catalogue_pb2 import Product

OTHER_DRUG = "XJ01CAA041A001010102699"
PATENT = "ZA12HAY0555010100326"
CONSUMABLE = "C14010325100000045370000062"
OTHER_FORM = "XJ01CAA040B002010109999"
LEARNT = Product(identifier="8206233", package_level=1, drug_codes=[DRUG], learned=True)


@cases(
    ("another product", tell_line("sale", make_line(CODE, drug_code=OTHER_DRUG)), BLOCK),
    ("a patent drug for a western one", tell_line("sale", make_line(CODE, drug_code=PATENT)), BLOCK),
    ("a consumable", tell_line("sale", make_line(CODE, drug_code=CONSUMABLE)), BLOCK),
    ("no drug code at all", tell_line("sale", make_line(CODE, drug_code="保健品")), BLOCK),
    ("the carton's drug counts too", tell_line("sale", make_line(CARTON, drug_code=OTHER_DRUG)), BLOCK),
    ("learnt", tell_line("sale", make_line(CODE, drug_code=OTHER_DRUG), products=[LEARNT]), ALERT),
    ("each code", tell_line("sale", make_line(CODE, CARTON, drug_code=PATENT)), f"{BLOCK} {BLOCK}"),
    ("another form", tell_line("sale", make_line(CODE, drug_code=OTHER_FORM)), SILENT),
    ("as billed", tell_line("sale", make_line(CODE)), SILENT),
    ("as billed in small letters", tell_line("sale", make_line(CODE, drug_code=DRUG.lower())), SILENT),
    ("unknown product", tell_line("sale", make_line(STRANGE, drug_code=PATENT)), SILENT),
    ("returned", tell_line("sale_return", make_line(CODE, drug_code=PATENT)), SILENT),
)
def test_the_line_bills_another_drug(told: LineEvidence, said: str) -> None:
    """Pins grades 4 and 5, and that a milder swap is said elsewhere."""
    assert weigh(find(told)) == said


def test_the_grade_tells_another_drug_from_no_drug() -> None:
    """Pins grade 4 and 5."""
    grades = [
        find(tell_line("sale", make_line(CODE, drug_code=drug)))[0].grade for drug in (OTHER_DRUG, CONSUMABLE)
    ]

    assert grades == [4, 5]
