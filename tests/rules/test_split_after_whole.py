"""SPLIT_AFTER_WHOLE. Goal: a pack cannot be sold whole and in parts. Method: a table of chains."""

from scenes import ALERT, INFO, SILENT, WARN, cases, names, tell_chain, weigh

from tracecode.rules.split_after_whole import find


@cases(
    ("split after whole", "0h sale A\n> 1d split A units=1", ALERT),
    ("whole after split", "0h split A units=1\n> 1d sale A", ALERT),
    ("the earlier", "> 0h sale A\n1d split A units=1", SILENT),
    ("split twice", "0h split A units=1\n> 1d split A units=1", SILENT),
    ("whole twice", "0h sale A\n> 1d sale A", SILENT),
    ("returned before", "0h sale A\n1h return A\n> 1d split A units=1", SILENT),
    ("given back before", "0h split A units=1\n1h splitreturn A units=1\n> 1d sale A", SILENT),
    ("rebilled as split", "0h sale A\n> 1h split A units=1\n2h return A", INFO),
    ("rebilled too late", "0h sale A\n> 1h split A units=1\n26h return A", ALERT),
    (
        "two reports with other marks",
        "0h sale A settle=s channel=1\n> 1h split A settle=s units=1 channel=2",
        SILENT,
    ),
    ("two settlements", "0h sale A settle=s channel=1\n> 1h split A settle=t units=1 channel=2", ALERT),
    ("deleted", "0h sale A deleted\n> 1d split A units=1", SILENT),
    ("split elsewhere after whole", "0h sale A\n> 1d split B units=1", ALERT),
    ("split by the holder", "0h receive B\n1h sale A\n> 1d split B units=1", WARN),
    ("split by a sister shop", "0h sale A\n> 1d split D units=1", WARN),
    ("sent on in between", "0h receive A\n1h sale A\n2h out A to=B\n> 1d split B units=1", SILENT),
    ("whole elsewhere after split", "0h split A units=1\n> 1d sale B", WARN),
    ("whole here and elsewhere after split", "0h split A units=1\n1h split B units=1\n> 1d sale B", ALERT),
    ("whole after split units put back", "0h split A units=1\n1h splitreturn A units=1\n> 1d sale B", SILENT),
    (
        "whole elsewhere, opened pack sent on",
        "0h receive A\n1h split A units=1\n2h out A to=B\n> 1d sale B",
        SILENT,
    ),
    ("whole elsewhere, rebilled", "0h split A units=1\n> 1h sale B\n2h splitreturn A units=1", INFO),
    (
        "split elsewhere, sent back to the supplier and in again",
        "0h receive A\n1h sale A\n2h supplier A\n3h receive B\n> 1d split B units=1",
        SILENT,
    ),
    ("inside a package", "0h sale A\n> 1d split A units=1 inside", SILENT),
)
def test_whole_and_in_parts(told: str, said: str) -> None:
    """Pins both orders, rebilling, and that the mark may differ between two reports of one sale."""
    assert weigh(find(tell_chain(told))) == said


def test_the_other_sale_is_named() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_chain("0h sale A\n> 1h split A units=1\n2h return A"))

    assert names(finding) == ["earlier_sale", "returned"]
