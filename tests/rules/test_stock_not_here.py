"""STOCK_NOT_HERE. Goal: a sale or receipt of a box that is elsewhere, transfers and clocks allowed for.

Method: a table of chains.
"""

from scenes import ALERT, SILENT, WARN, cases, fact, names, tell_chain, weigh

from tracecode.rules.stock_not_here import find


@cases(
    ("held elsewhere", "0h receive B\n> 1d sale A", ALERT),
    ("open elsewhere", "0h receive B\n1h split B units=1\n> 1d sale A", ALERT),
    ("split sale of what is elsewhere", "0h receive B\n> 1d split A units=1", ALERT),
    ("a refused attempt", "0h receive B\n> 1d sale A refused", ALERT),
    ("held by a sister shop", "0h receive D\n> 1d sale A", WARN),
    ("held here", "0h receive A\n> 1d sale A", SILENT),
    ("nothing known", "> 0h sale A", SILENT),
    ("sold elsewhere", "0h receive B\n1h sale B\n> 1d sale A", SILENT),
    ("the receipt there was deleted", "0h receive B deleted\n> 1d sale A", SILENT),
    ("on its way here", "0h receive B\n1h out B to=A\n> 7d1h sale A", SILENT),
    ("on its way here for too long", "0h receive B\n1h out B to=A\n> 7d1h1s sale A", WARN),
    ("on its way, nobody said where", "0h receive B\n1h out B\n> 7d1h sale A", SILENT),
    ("on its way for too long, nobody said where", "0h receive B\n1h out B\n> 8d sale A", WARN),
    ("on its way to somebody else", "0h receive B\n1h out B to=C\n> 2h sale A", ALERT),
    ("on its way to somebody else of the group", "0h receive D\n1h out D to=E\n> 2h sale A", WARN),
    ("on its way from here", "0h receive A\n1h out A to=B\n> 2h sale A", SILENT),
    ("sent here by the holder's clock a day later", "0h receive B\n> 1h sale A\n1d out B to=A", SILENT),
    ("sent here three days later", "0h receive B\n> 1h sale A\n3d2h out B to=A", ALERT),
    ("sent elsewhere later", "0h receive B\n> 1h sale A\n1d out B to=C", ALERT),
    ("received although held elsewhere", "0h receive B\n> 1d receive A", WARN),
    ("taken in although held elsewhere", "0h receive B\n> 1d in A", WARN),
    (
        "taken in, sent an hour later by the holder's clock",
        "0h receive B\n> 1d in A\n1d1h out B to=A",
        SILENT,
    ),
    ("taken in, sent two days later", "0h receive B\n> 1d in A\n3d1h out B to=A", WARN),
    ("received again here", "0h receive A\n> 1d receive A", SILENT),
    ("received after a transfer", "0h receive B\n1h out B to=A\n> 1d in A", SILENT),
    ("received after it was sold elsewhere", "0h receive B\n1h sale B\n> 1d receive A", SILENT),
    ("another report of one sale", "0h sale A settle=s\n1h return A\n2h in B\n> 3h sale A settle=s", SILENT),
    ("received inside a package", "0h receive B\n> 1d receive A inside", SILENT),
    ("counted although elsewhere", "0h receive B\n> 1d count A", SILENT),
)
def test_a_box_that_is_elsewhere(told: str, said: str) -> None:
    """Pins holder, transit, group, and the clocks of two shops."""
    assert weigh(find(tell_chain(told))) == said


def test_the_holder_is_named() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_chain("0h receive B\n> 1d sale A"))

    assert names(finding) == ["holder", "receipt"]
    assert (fact(finding, "holder"), finding.evidence[0].institution_code) == ("IN_STOCK", "P13050000002")
