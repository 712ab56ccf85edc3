"""SPLIT_CROSS_ORG. Goal: one open pack at two institutions, unless it was passed on.

Method: a table.
"""

from scenes import ALERT, SILENT, WARN, cases, names, tell_chain, weigh

from tracecode.rules.split_cross_org import find


@cases(
    ("two institutions", "0h split A units=1\n> 1d split B units=1", ALERT),
    ("the earlier", "> 0h split A units=1\n1d split B units=1", SILENT),
    ("branches", "0h split A units=1\n> 1d split D units=1", WARN),
    ("a branch and a stranger", "0h split A units=1\n1h split B units=1\n> 1d split D units=1", ALERT),
    ("sent on", "0h split A units=1\n1h out A to=B\n> 1d split B units=1", SILENT),
    ("taken in", "0h split A units=1\n1h in B\n> 1d split B units=1", SILENT),
    ("taken in before", "-1h in B\n0h split A units=1\n> 1d split B units=1", WARN),
    ("sent on before it was split", "-1h out A to=C\n0h split A units=1\n> 1d split B units=1", ALERT),
    ("a deleted transfer", "0h split A units=1\n1h out A to=B deleted\n> 1d split B units=1", ALERT),
    ("given back", "0h split A units=4\n1h splitreturn A units=4\n> 1d split B units=1", SILENT),
    ("given back in part", "0h split A units=4\n1h splitreturn A units=3\n> 1d split B units=1", ALERT),
    ("the holder", "0h receive B\n1h split A units=1\n> 1d split B units=1", WARN),
    ("whole elsewhere", "0h sale A\n> 1d split B units=1", SILENT),
    ("here twice", "0h split A units=1\n> 1d split A units=1", SILENT),
    ("inside a package", "0h split A units=1\n> 1d split B units=1 inside", SILENT),
)
def test_an_open_pack_at_two_institutions(told: str, said: str) -> None:
    """Pins the transfer between, the branch, and that the holder is not accused."""
    assert weigh(find(tell_chain(told))) == said


def test_the_other_sale_is_named() -> None:
    """Pins the evidence."""
    assert names(find(tell_chain("0h split A units=1\n> 1d split B units=1"))[0]) == ["earlier_sale"]
