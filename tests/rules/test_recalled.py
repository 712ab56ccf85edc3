"""RECALLED. Goal: a hold stops sales on its days, of its lot, and lets the box go home.

Method: tables.
"""

import pytest
from scenes import BLOCK, CODE, SILENT, WARN, cases, fact, tell_chain, weigh

from tracecode.rules.recalled import find
from tracecode.v1.catalogue_pb2 import Hold, HoldReason

OF_CODE = Hold(hold_id="R1", reason=HoldReason.HOLD_REASON_RECALL, code=CODE, authority="省药监局")
OF_LOT = Hold(hold_id="R2", identifier="8206233", lot_number="L1")


@cases(
    ("sold", "> 0h sale A", BLOCK),
    ("split", "> 0h split A units=1", BLOCK),
    ("a refused attempt", "> 0h sale A refused", BLOCK),
    ("received", "> 0h receive A", WARN),
    ("taken in", "> 0h in A", WARN),
    ("given out", "> 0h issue A", WARN),
    ("brought back", "0h sale A\n> 1h return A", SILENT),
    ("sent back", "0h receive A\n> 1h supplier A", SILENT),
    ("destroyed", "0h receive A\n> 1h destroy A", SILENT),
    ("gathered", "0h receive A\n> 1h out A to=D", SILENT),
    ("counted", "0h receive A\n> 1h count A", SILENT),
    ("another report of one sale", "0h sale A settle=s\n> 1h sale A settle=s", SILENT),
    ("inside a package", "> 0h sale A inside", SILENT),
)
def test_what_may_be_done_with_a_box_on_hold(told: str, said: str) -> None:
    """Pins that a hold stops sales, warns of goods in, and lets them go back."""
    assert weigh(find(tell_chain(told, holds=[OF_CODE]))) == said


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("", "", BLOCK),
        ("2026-03-15", "2026-03-15", BLOCK),
        ("2026-03-16", "", SILENT),
        ("", "2026-03-14", SILENT),
        ("2026-01-01", "", BLOCK),
    ],
)
def test_a_hold_has_days(start: str, end: str, said: str) -> None:
    """Pins that both days belong to it and empty is open."""
    hold = Hold(hold_id="R1", code=CODE, start_date=start, end_date=end)

    assert weigh(find(tell_chain("> 0h sale A", holds=[hold]))) == said


@cases(
    ("the line names the lot", "> 0h sale A lot=L1", BLOCK),
    ("in small letters", "> 0h sale A lot=l1", BLOCK),
    ("the code names the lot", "> 0h sale A codelot=L1", BLOCK),
    ("received under the lot", "0h receive A lot=L1\n> 1d sale A", BLOCK),
    ("received elsewhere under the lot", "0h receive B lot=L1\n1h out B to=A\n> 1d sale A", BLOCK),
    ("another lot", "> 0h sale A lot=L2", SILENT),
    ("no lot known", "> 0h sale A", SILENT),
    ("the code prints another lot", "0h receive A lot=L1\n> 1d sale A codelot=L2", SILENT),
    ("another shop's sale named it", "0h sale B lot=L1\n> 1d sale A", SILENT),
)
def test_a_hold_of_a_lot(told: str, said: str) -> None:
    """Pins who says of which lot a box is, and that a stranger's slip holds nobody's box."""
    assert weigh(find(tell_chain(told, holds=[OF_LOT]))) == said


def test_no_hold_no_finding() -> None:
    """Pins silence."""
    assert find(tell_chain("> 0h sale A")) == ()


def test_the_hold_and_its_authority_are_named() -> None:
    """Pins the evidence, and that a reason of the future is left out."""
    (finding,) = find(tell_chain("> 0h sale A", holds=[OF_CODE]))

    assert [fact(finding, name) for name in ("hold", "reason", "authority")] == ["R1", "RECALL", "省药监局"]
    strange = Hold(hold_id="R3", code=CODE)
    strange.MergeFromString(b"\x10\x63")
    assert [f.name for f in find(tell_chain("> 0h sale A", holds=[strange]))[0].evidence] == ["hold"]
