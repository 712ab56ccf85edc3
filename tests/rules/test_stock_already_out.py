"""STOCK_ALREADY_OUT. Goal: what left here cannot be sold here, unless it came back or never left.

Method: a table.
"""

from scenes import ALERT, BLOCK, SILENT, WARN, cases, fact, tell_chain, weigh

from tracecode.rules.stock_already_out import find


@cases(
    ("sent back", "0h receive A\n1h supplier A\n> 1d sale A", BLOCK),
    ("destroyed", "0h receive A\n1h destroy A\n> 1d sale A", BLOCK),
    ("moved out", "0h receive A\n1h out A to=B\n> 1d sale A", BLOCK),
    ("moved out, nobody said where", "0h receive A\n1h out A\n> 1d sale A", WARN),
    ("moved out to a sister shop", "0h receive A\n1h out A to=D\n> 1d sale A", BLOCK),
    ("moved out to itself", "0h receive A\n1h out A to=A\n> 1d sale A", SILENT),
    ("never received, sent back", "0h supplier A\n> 1d sale A", BLOCK),
    ("split", "0h receive A\n1h destroy A\n> 1d split A units=1", BLOCK),
    ("a refused attempt", "0h receive A\n1h destroy A\n> 1d sale A refused", BLOCK),
    ("the return was deleted", "0h receive A\n1h supplier A deleted\n> 1d sale A", SILENT),
    ("it came back", "0h receive A\n1h out A to=B\n2h in A\n> 1d sale A", SILENT),
    ("it came back by a late clock", "0h receive A\n1h out A to=B\n> 1d sale A\n2d in A", SILENT),
    ("it came back much later", "0h receive A\n1h out A to=B\n> 1d sale A\n9d in A", BLOCK),
    ("in stock", "0h receive A\n> 1d sale A", SILENT),
    ("moved out elsewhere", "0h receive B\n1h out B to=A\n> 1d sale A", SILENT),
    ("sent back elsewhere", "0h receive B\n1h supplier B\n> 1d sale A", SILENT),
    ("destroyed elsewhere", "0h receive B\n1h destroy B\n> 1d sale A", ALERT),
    ("destroyed elsewhere, received here", "0h destroy B\n1h receive A\n> 1d sale A", SILENT),
    ("destroyed elsewhere, received here late", "0h destroy B\n> 1d sale A\n2d receive A", SILENT),
    ("given out and sold", "0h receive A\n1h issue A\n> 1h10m sale A", SILENT),
    ("given out, sold days later", "0h receive A\n1h issue A\n> 3d sale A", WARN),
    ("sold, then sent back", "0h receive A\n> 1h sale A\n2h supplier A", SILENT),
    ("inside a package", "0h receive A\n1h destroy A\n> 1d sale A inside", SILENT),
    ("a return", "0h receive A\n1h destroy A\n> 1d return A", SILENT),
)
def test_a_box_that_had_left(told: str, said: str) -> None:
    """Pins every way to leave, and that other out beside a sale is that sale."""
    assert weigh(find(tell_chain(told))) == said


def test_the_departure_is_named() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_chain("0h receive A\n1h supplier A\n> 1d sale A"))

    assert (fact(finding, "departure"), finding.evidence[0].sequence) == ("SUPPLIER_RETURN", 2)
