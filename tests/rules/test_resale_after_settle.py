"""RESALE_AFTER_SETTLE. Goal: a settled box that turns up elsewhere, and not a slip of the till.

Method: a table.
"""

from scenes import ALERT, SILENT, WARN, cases, names, tell_chain, weigh

from tracecode.rules.resale_after_settle import find


@cases(
    ("settled, then sold elsewhere", "0h sale A insured\n> 3d sale B", ALERT),
    ("weeks later in another area", "0h sale A insured person=p\n> 68d sale C person=q", ALERT),
    ("the first was self-paid", "0h sale A\n> 3d sale B insured", SILENT),
    ("within a day", "0h sale A insured\n> 23h59m sale B", SILENT),
    ("after exactly a day", "0h sale A insured\n> 1d sale B", ALERT),
    (
        "received here before its first sale",
        "-2d receive B\n-1d out B\n0h sale A insured\n> 3d sale B",
        SILENT,
    ),
    ("received here after it", "0h receive A\n1h sale A insured\n2d receive B\n> 3d sale B", SILENT),
    ("received here a day late", "0h sale A insured\n> 3d sale B\n4d receive B", SILENT),
    ("received here much later", "0h sale A insured\n> 3d sale B\n9d receive B", ALERT),
    ("the same person", "0h sale A insured person=p\n> 3d sale B person=p", SILENT),
    ("persons not known", "0h sale A insured\n> 3d sale B insured", ALERT),
    ("returned before", "0h sale A insured\n1d return A\n> 3d sale B", SILENT),
    ("the earlier", "> 0h sale A insured\n3d sale B", SILENT),
    ("the holder is not odd", "0h receive B\n1d sale A insured\n> 3d sale B", SILENT),
    ("a sister shop", "0h sale A insured\n> 3d sale D", WARN),
    ("here twice", "0h sale A insured\n> 3d sale A", SILENT),
)
def test_a_settled_box_sold_again(told: str, said: str) -> None:
    """Pins insured, the day, the receipt and the person."""
    assert weigh(find(tell_chain(told))) == said


def test_the_settled_sale_is_named() -> None:
    """Pins the evidence."""
    assert names(find(tell_chain("0h sale A insured\n> 3d sale B"))[0]) == ["earlier_sale"]
