"""QTY_CODE_MISMATCH. Goal: said only when the quantity fits in no unit anybody could have meant.

Method: a table; the box is splittable into 24, ten boxes make a carton.
"""

from scenes import CARTON, CODE, OTHER_CODE, SILENT, STRANGE, WARN, cases, fact, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.qty_code_mismatch import find
from tracecode.v1.catalogue_pb2 import Product

CUP = Product(identifier="8206233", package_level=1, units_per_package=1)
LEARNT = Product(identifier="8206233", package_level=1, learned=True)
BOTTLES = Product(identifier="8021761", package_level=3, units_per_package=120, smallest_unit=True)
SPLIT = {"split": True}


@cases(
    ("one box, one code", tell_line("sale", make_line(CODE)), SILENT),
    ("three boxes, two codes", tell_line("sale", make_line(CODE, OTHER_CODE, quantity="3")), WARN),
    ("one box, two codes", tell_line("sale", make_line(CODE, OTHER_CODE, quantity="1")), WARN),
    ("two boxes, one code twice", tell_line("sale", make_line(CODE, CODE, quantity="2")), WARN),
    ("a begun pack", tell_line("sale", make_line(CODE, OTHER_CODE, quantity="1.5")), SILENT),
    ("billed in tablets", tell_line("sale", make_line(CODE, OTHER_CODE, quantity="48")), SILENT),
    (
        "tablets of a begun pack, not marked",
        tell_line("sale", make_line(CODE, OTHER_CODE, quantity="30")),
        WARN,
    ),
    ("tablets that one pack holds", tell_line("sale", make_line(CODE, OTHER_CODE, quantity="20")), WARN),
    ("more tablets than packs", tell_line("sale", make_line(CODE, quantity="25")), WARN),
    ("a carton billed as ten", tell_line("sale", make_line(CARTON, quantity="10")), SILENT),
    ("a carton billed as one", tell_line("sale", make_line(CARTON)), SILENT),
    ("a carton billed as nine", tell_line("sale", make_line(CARTON, quantity="9")), WARN),
    (
        "a coded carton of bottles",
        tell_line("sale", make_line(CARTON, quantity="120"), products=[BOTTLES]),
        SILENT,
    ),
    ("split within the pack", tell_line("sale", make_line(CODE, quantity="24", **SPLIT)), SILENT),
    ("split beyond the pack", tell_line("sale", make_line(CODE, quantity="25", **SPLIT)), WARN),
    (
        "split, units unknown",
        tell_line("sale", make_line(CODE, quantity="25", **SPLIT), products=[CUP]),
        SILENT,
    ),
    ("whole, units unknown", tell_line("sale", make_line(CODE, quantity="25"), products=[CUP]), WARN),
    ("learnt product", tell_line("sale", make_line(CODE, quantity="25"), products=[LEARNT]), SILENT),
    ("unknown product", tell_line("sale", make_line(STRANGE, quantity="25")), SILENT),
    ("a placeholder among them", tell_line("sale", make_line(CODE, "无", quantity="3")), SILENT),
    ("a blank scan among them", tell_line("sale", make_line(CODE, "", quantity="3")), WARN),
    ("no codes", tell_line("sale", make_line(quantity="3")), SILENT),
    ("returned", tell_line("sale_return", make_line(CODE, quantity="3")), WARN),
    ("goods in", tell_line("receipt", make_line(CODE, quantity="3")), SILENT),
)
def test_quantity_and_codes(told: LineEvidence, said: str) -> None:
    """Pins every unit that is tried and every case in which nothing can be said."""
    assert weigh(find(told)) == said


def test_both_numbers_are_told() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_line("sale", make_line(CODE, CARTON, quantity="3")))

    assert [fact(finding, name) for name in ("quantity", "codes", "units_of_codes")] == ["3", "2", "11"]
