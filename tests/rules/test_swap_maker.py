"""SWAP_MAKER. Goal: grade 2 weighs WARN, milder for a learnt product, and no other grade is said here.

Method: a table.
"""

from scenes import CODE, DRUG, INFO, SILENT, STRANGE, WARN, cases, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.swap_maker import find
from tracecode.v1.catalogue_pb2 import Product

SWAPPED = "XJ01CAA040A001010109999"
NEAR = "XJ01CAA040B002010109999"
LEARNT = Product(identifier="8206233", package_level=1, drug_codes=[DRUG], learned=True)
UNMAPPED = Product(identifier="8206233", package_level=1)
BOTH = Product(identifier="8206233", package_level=1, drug_codes=[DRUG, SWAPPED])


@cases(
    ("another maker", tell_line("sale", make_line(CODE, drug_code=SWAPPED)), WARN),
    ("another form", tell_line("sale", make_line(CODE, drug_code=NEAR)), SILENT),
    ("as billed", tell_line("sale", make_line(CODE)), SILENT),
    ("one of two mapped", tell_line("sale", make_line(CODE, drug_code=SWAPPED), products=[BOTH]), SILENT),
    ("learnt", tell_line("sale", make_line(CODE, drug_code=SWAPPED), products=[LEARNT]), INFO),
    ("not mapped", tell_line("sale", make_line(CODE, drug_code=SWAPPED), products=[UNMAPPED]), SILENT),
    ("nothing billed", tell_line("sale", make_line(CODE, drug_code="")), SILENT),
    ("unknown product", tell_line("sale", make_line(STRANGE, drug_code=SWAPPED)), SILENT),
    ("goods in", tell_line("receipt", make_line(CODE, drug_code=SWAPPED)), SILENT),
)
def test_the_line_bills_another_maker(told: LineEvidence, said: str) -> None:
    """Pins the grade, the weight of a learnt product, and where nothing can be compared."""
    assert weigh(find(told)) == said


def test_both_sides_are_told() -> None:
    """Pins grade, code and evidence."""
    (finding,) = find(tell_line("sale", make_line(CODE, drug_code=SWAPPED)))

    assert (finding.grade, finding.code) == (2, CODE)
    assert [(f.name, f.value) for f in finding.evidence] == [
        ("billed_drug", SWAPPED),
        ("scanned_drugs", DRUG),
        ("product", "阿莫西林胶囊"),
    ]
