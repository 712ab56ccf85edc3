"""DUP_SALE_SAME_ORG. Goal: a second sale here is seen; retries, returns and rebilling are not accused.

Method: a table of chains.
"""

from scenes import ALERT, BLOCK, INFO, SILENT, WARN, cases, names, tell_chain, weigh

from tracecode.rule_base import Thresholds
from tracecode.rules.dup_sale_same_org import find


@cases(
    ("sold twice", "0h sale A\n> 3d sale A", ALERT),
    ("asked, the first older than ten minutes", "0h sale A\n> 10m1s sale A asked", BLOCK),
    ("asked within ten minutes", "0h sale A\n> 10m sale A asked", ALERT),
    ("the refused attempt keeps it", "0h sale A\n> 3d sale A refused", BLOCK),
    ("the first sale", "> 0h sale A\n3d sale A", SILENT),
    ("returned before", "0h sale A\n1d return A\n> 3d sale A", SILENT),
    ("returned elsewhere before", "0h sale A\n1d return B\n> 3d sale A", SILENT),
    ("the first was deleted", "0h sale A deleted\n> 3d sale A", SILENT),
    ("the first was refused", "0h sale A refused\n> 3d sale A asked", SILENT),
    ("another institution", "0h sale B\n> 3d sale A", SILENT),
    ("a sister shop", "0h sale D\n> 3d sale A", SILENT),
    (
        "the same sale by the other channel",
        "0h sale A settle=s channel=1\n> 1h sale A settle=s channel=2",
        SILENT,
    ),
    ("split before", "0h split A units=1\n> 3d sale A", SILENT),
    ("split now", "0h sale A\n> 3d split A units=1", SILENT),
    ("rebilled", "0h sale A doc=first\n> 1h sale A\n2h return A of=first", INFO),
    ("rebilled, the return names nothing", "0h sale A\n> 1h sale A\n2h return A", INFO),
    ("rebilled a day later", "0h sale A doc=first\n> 1h sale A\n25h return A of=first", INFO),
    ("rebilled too late", "0h sale A doc=first\n> 1h sale A\n25h1s return A of=first", ALERT),
    ("asked, then the first was returned", "0h sale A\n> 1h sale A refused\n2h return A", INFO),
    ("three sales, one returned", "0h sale A\n1h sale A doc=x\n> 2h sale A\n3h return A of=x", ALERT),
    ("three sales, this one returned", "0h sale A\n1h sale A\n> 2h sale A doc=x\n3h return A of=x", INFO),
    ("inside a package", "0h sale A\n> 3d sale A inside", SILENT),
    ("moved out to nobody in between", "0h receive A\n1h sale A\n2h out A\n> 5h sale A asked", WARN),
    ("moved out to itself in between", "0h receive A\n1h sale A\n2h out A to=A\n> 5h sale A", WARN),
    ("moved out to another in between", "0h receive A\n1h sale A\n2h out A to=B\n> 5h sale A", ALERT),
    ("moved out elsewhere in between", "0h receive A\n1h sale A\n2h out B\n> 5h sale A", ALERT),
    ("moved out before both", "0h out A\n1h sale A\n> 5h sale A", ALERT),
    ("moved out after both", "0h sale A\n> 5h sale A\n6h out A", ALERT),
    ("moved out once for two sales", "0h sale A\n1h sale A\n2h out A\n> 5h sale A", ALERT),
    ("moved out each time", "0h sale A\n1h out A\n2h sale A\n3h out A\n> 5h sale A", WARN),
    ("a return whose place nobody knows", "0h return A\n1h sale A ahead\n> 2h sale A ahead", WARN),
    ("a clock ahead and no return", "1h sale A ahead\n> 2h sale A ahead", ALERT),
    ("after a second receipt", "0h receive A\n1h sale A\n2h receive A\n> 3h sale A", ALERT),
)
def test_sold_here_before(told: str, said: str) -> None:
    """Pins who is the second, the ten minutes, and what takes the doubt away."""
    assert weigh(find(tell_chain(told))) == said


def test_a_region_may_wait_longer_before_it_blocks() -> None:
    """Pins that the ten minutes are a threshold."""
    thresholds = Thresholds(same_org_block_minutes=60)

    assert weigh(find(tell_chain("0h sale A\n> 30m sale A asked", thresholds=thresholds))) == ALERT


def test_the_earlier_sale_and_the_return_are_named() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_chain("0h sale A doc=first\n> 1h sale A\n2h return A of=first"))

    assert names(finding) == ["earlier_sale", "returned"]
