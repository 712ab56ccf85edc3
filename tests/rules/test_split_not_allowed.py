"""SPLIT_NOT_ALLOWED. Goal: a split mark on a pack that the catalogue knows as whole.

Method: a table.
"""

from scenes import CARTON, CODE, ITEM, SILENT, STRANGE, WARN, cases, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.split_not_allowed import find
from tracecode.v1.catalogue_pb2 import Product

WHOLE = Product(identifier="8206233", package_level=1, splittable_units=1)
UNSAID = Product(identifier="8206233", package_level=1)
LEARNT = Product(identifier="8206233", package_level=1, learned=True)
SPLIT = {"split": True, "quantity": "6"}


@cases(
    ("one unit", tell_line("sale", make_line(CODE, **SPLIT), products=[WHOLE]), WARN),
    ("none said", tell_line("sale", make_line(CODE, **SPLIT), products=[UNSAID]), WARN),
    ("splittable", tell_line("sale", make_line(CODE, **SPLIT)), SILENT),
    ("not marked", tell_line("sale", make_line(CODE), products=[WHOLE]), SILENT),
    ("learnt", tell_line("sale", make_line(CODE, **SPLIT), products=[LEARNT]), SILENT),
    ("unknown", tell_line("sale", make_line(STRANGE, **SPLIT)), SILENT),
    ("a carton is said elsewhere", tell_line("sale", make_line(CARTON, **SPLIT)), SILENT),
    ("returned", tell_line("sale_return", make_line(CODE, **SPLIT), products=[WHOLE]), SILENT),
)
def test_part_of_a_pack_that_is_sold_whole(told: LineEvidence, said: str) -> None:
    """Pins that 0 and 1 mean not splittable, and that only what was imported is believed."""
    assert weigh(find(told)) == said


def tell_condition(units_max: int, scan: str = CODE, *products: Product) -> LineEvidence:
    """One unit of a pack for which a drug condition allows so many."""
    line = make_line(scan, split=True, quantity="1")
    return tell_line(
        "sale", line, products=products, split_units_max={"8206233": units_max, "8111111": units_max}
    )


@cases(
    ("none, whatever the catalogue", tell_condition(0, CODE, ITEM), WARN),
    ("none of a learnt one", tell_condition(0, CODE, LEARNT), WARN),
    ("none of an unknown one", tell_condition(0, STRANGE), WARN),
    ("some of what the catalogue has whole", tell_condition(6, CODE, WHOLE), SILENT),
)
def test_a_drug_condition_decides_before_the_catalogue(told: LineEvidence, said: str) -> None:
    """Pins that people may allow or forbid splitting against the catalogue, and where it knows nothing."""
    assert weigh(find(told)) == said
