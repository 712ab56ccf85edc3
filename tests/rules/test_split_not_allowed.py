"""SPLIT_NOT_ALLOWED. Goal: a split mark on a pack that the catalogue knows as whole.

Method: a table.
"""

from scenes import CARTON, CODE, SILENT, STRANGE, WARN, cases, make_line, tell_line, weigh

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
