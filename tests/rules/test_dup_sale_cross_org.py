"""DUP_SALE_CROSS_ORG. Goal: of two sales at two institutions the right one is odd, whichever came first.

Method: a table that judges both sides of each story; > marks the one judged.
"""

import pytest
from scenes import BLOCK, INFO, SILENT, WARN, cases, follow, names, read_events, registry, tell_chain, weigh

from tracecode.life_cycle import fold
from tracecode.rules.dup_sale_cross_org import find


@cases(
    ("nothing known: the later", "0h sale A\n> 1d sale B", BLOCK),
    ("nothing known: the earlier", "> 0h sale A\n1d sale B", INFO),
    ("the later reporter never had it", "0h receive A\n1h sale A\n> 1d sale B", BLOCK),
    ("the earlier holder", "0h receive A\n> 1h sale A\n1d sale B", INFO),
    ("sold elsewhere while here: the reporter", "0h receive B\n> 1d sale A\n2d sale B", BLOCK),
    ("sold elsewhere while here: the holder", "0h receive B\n1d sale A\n> 2d sale B", WARN),
    ("the holder is not stopped", "0h receive B\n1d sale A\n> 2d sale B asked", WARN),
    ("received after it was sold elsewhere", "0h receive A\n1h sale A\n2h receive B\n> 3h sale B", BLOCK),
    ("received after somebody typed it: the holder", "0h sale U\n1d receive B\n> 2d sale B", WARN),
    ("received after somebody typed it: the typist", "> 0h sale U\n1d receive B\n2d sale B", BLOCK),
    ("uploads receipts and has none, against nothing known", "0h sale A\n> 1d sale U", BLOCK),
    ("nothing known, against one that uploads and has none", "0h sale U\n> 1d sale A", WARN),
    ("receipt a day after its sale", "0h sale U\n> 1d sale B\n2d receive B", WARN),
    ("returned to A before", "0h sale A\n1h return A\n> 1d sale B", SILENT),
    ("returned to A before, seen from A", "> 0h sale A\n1h return A\n1d sale B", SILENT),
    ("returned to A afterwards", "0h sale A\n> 1d sale B\n2d return A", BLOCK),
    ("A's sale deleted", "0h sale A deleted\n> 1d sale B", SILENT),
    ("B's sale deleted, seen from A", "> 0h sale A\n1d sale B deleted", SILENT),
    ("B's deleted sale itself", "0h sale A\n> 1d sale B deleted", BLOCK),
    ("A's attempt was refused", "0h sale A refused\n> 1d sale B", SILENT),
    ("B's refused attempt", "0h sale A\n> 1d sale B refused", BLOCK),
    ("A's refused attempt, B only sells later", "> 0h sale A refused\n1d sale B", SILENT),
    ("A's refused attempt on what B holds", "0h receive B\n> 1d sale A refused\n2d sale B", BLOCK),
    ("A's refused attempt, B got it afterwards", "> 0h sale A refused\n1d receive B\n2d sale B", SILENT),
    ("A's deleted sale on what B holds", "0h receive B\n> 1d sale A deleted\n2d sale B", BLOCK),
    ("sent on after the sale", "0h receive A\n1h sale A\n2h out A to=B\n> 1d sale B", SILENT),
    ("sent on, seen from A", "0h receive A\n> 1h sale A\n2h out A to=B\n1d sale B", SILENT),
    ("sent on to somebody else", "0h receive A\n1h sale A\n2h out A to=C\n> 1d sale B", BLOCK),
    ("sent on a day after B's sale", "0h receive A\n1h sale A\n> 1d sale B\n2d out A to=B", SILENT),
    ("sent on a day after, seen from A", "0h receive A\n> 1h sale A\n1d sale B\n2d out A to=B", SILENT),
    ("sent on too late", "0h receive A\n1h sale A\n> 1d sale B\n3d1m out A to=B", BLOCK),
    (
        "back to the supplier and in at B",
        "0h receive A\n1h sale A\n1d supplier A\n3d receive B\n> 4d sale B",
        SILENT,
    ),
    ("the same, seen from A", "0h receive A\n> 1h sale A\n1d supplier A\n3d receive B\n4d sale B", SILENT),
    (
        "back to the supplier, in at B a day after its sale",
        "0h receive A\n1h sale A\n1d supplier A\n> 4d sale B\n5d receive B",
        SILENT,
    ),
    ("back to the supplier, never in at B", "0h receive A\n1h sale A\n1d supplier A\n> 4d sale B", BLOCK),
    (
        "in at B before it went back to the supplier",
        "0h receive A\n1h sale A\n1d receive B\n2d supplier A\n> 4d sale B",
        BLOCK,
    ),
    ("only B says it came from A", "0h receive A\n1h sale A\n2h in B\n> 1d sale B", BLOCK),
    ("sold after it was sent away: A", "0h receive A\n1h out A to=B\n> 2h sale A\n3h in B\n4h sale B", BLOCK),
    ("sold after it was sent away: B", "0h receive A\n1h out A to=B\n2h sale A\n3h in B\n> 4h sale B", WARN),
    ("sold after it was destroyed: A", "0h receive A\n1h destroy A\n> 2h sale A\n1d sale B", BLOCK),
    ("a sister shop", "0h sale A\n> 1d sale D", WARN),
    ("a sister shop, the earlier", "> 0h sale A\n1d sale D", INFO),
    ("a sister shop and a stranger", "0h sale A\n1h sale B\n> 1d sale D", BLOCK),
    ("the same institution", "0h sale A\n> 1d sale A", SILENT),
    ("split elsewhere", "0h split A units=1\n> 1d sale B", SILENT),
    ("split here", "0h sale A\n> 1d split B units=1", SILENT),
    ("a second report of B's sale", "0h sale A\n1d sale B settle=s\n> 1d1h sale B settle=s", SILENT),
    ("inside a package", "0h sale A\n> 1d sale B inside", SILENT),
    ("a package that moved on", "0h receive B\n1h sale B\n> 2h sale A\n3h sale B inside", BLOCK),
)
def test_sold_at_two_institutions(told: str, said: str) -> None:
    """Pins custody before time, both sides of every story, and what makes it no conflict."""
    assert weigh(find(tell_chain(told))) == said


@pytest.mark.parametrize(
    ("told", "facts"),
    [
        ("0h sale A\n> 1d sale B", ["earlier_sale"]),
        ("> 0h sale A\n1d sale B", ["odd_sale"]),
        ("0h receive B\n1d sale A\n> 2d sale B", ["odd_sale"]),
        ("0h receive B\n> 1d sale A\n2d sale B", ["later_sale"]),
        ("0h sale A\n1h sale C\n> 1d sale B", ["earlier_sale", "earlier_sale"]),
    ],
)
def test_the_other_sale_is_named(told: str, facts: list[str]) -> None:
    """Pins that the evidence says which report is thought odd."""
    assert names(find(tell_chain(told))[0]) == facts


def test_two_sales_name_each_other_and_exactly_one_is_odd() -> None:
    """Pins the symmetry: in every chain of two counted sales, one is accused and the other knows by whom."""
    for story in ("0h sale A\n1d sale B", "0h receive B\n1d sale A\n2d sale B", "0h sale U\n1d sale A"):
        rows = story.splitlines()
        sales = [number for number, row in enumerate(rows) if " sale " in row]
        said = []
        for judged in sales:
            table = "\n".join(f"> {row}" if n == judged else row for n, row in enumerate(rows))
            said.append(weigh(find(tell_chain(table))))
        assert sorted(said) in ([BLOCK, INFO], [BLOCK, WARN]), story


def test_judging_leaves_the_chain_as_it_is() -> None:
    """Pins that a refused attempt, judged as if it counted, still counts for nobody else."""
    table = "0h receive B\n1d sale A refused\n2d sale B"

    find(tell_chain("0h receive B\n> 1d sale A refused\n2d sale B"))

    assert [len(step.before.sales) for step in follow(table)] == [0, 0, 0]
    assert follow(table) == fold(read_events(table)[0], registry)
