"""SWAP_ATTR. Goal: lot and expiry of the line against the box, slips told from other boxes.

Method: a table.
"""

from scenes import INFO, SILENT, WARN, cases, fact, names, tell_chain, weigh

from tracecode.rules.swap_attr import find


@cases(
    ("another lot than received", "0h receive A lot=AB1234\n> 1d sale A lot=XY9876", WARN),
    ("one character off", "0h receive A lot=AB1234\n> 1d sale A lot=AB1235", INFO),
    ("one character short", "0h receive A lot=AB1234\n> 1d sale A lot=AB123", INFO),
    ("two characters off", "0h receive A lot=AB1234\n> 1d sale A lot=AB1243", WARN),
    ("the same lot, written otherwise", "0h receive A lot=AB-1234\n> 1d sale A lot=ab1234", SILENT),
    ("no lot on the line", "0h receive A lot=AB1234\n> 1d sale A", SILENT),
    ("no lot, in words", "0h receive A lot=AB1234\n> 1d sale A lot=无", SILENT),
    ("nothing known", "> 0h sale A lot=AB1234 expiry=2027-06-30", SILENT),
    ("received elsewhere", "0h receive B lot=AB1234\n> 1d sale A lot=XY9876", SILENT),
    ("received a day late", "> 0h sale A lot=XY9876\n1d receive A lot=AB1234", WARN),
    ("received much later", "> 0h sale A lot=XY9876\n3d receive A lot=AB1234", SILENT),
    ("the code says another lot", "> 0h sale A lot=XY9876 codelot=AB1234", WARN),
    (
        "the code is right, the receipt wrong",
        "0h receive A lot=XY\n> 1d sale A lot=AB1234 codelot=AB1234",
        SILENT,
    ),
    ("another expiry", "0h receive A expiry=2027-06-30\n> 1d sale A expiry=2029-11-30", WARN),
    ("the same month", "0h receive A expiry=2027-06-30\n> 1d sale A expiry=2027-06-01", INFO),
    ("one digit of the expiry", "0h receive A expiry=2027-06-30\n> 1d sale A expiry=2028-06-30", INFO),
    ("the same expiry", "0h receive A expiry=2027-06-30\n> 1d sale A expiry=2027-06-30", SILENT),
    ("the code says another expiry", "> 0h sale A expiry=2029-11-30 codeexpiry=2027-06-30", WARN),
    ("a slip and no slip", "> 0h sale A lot=L1 codelot=L2 expiry=2029-11-30 codeexpiry=2027-06-30", WARN),
    ("split", "0h receive A lot=AB1234\n> 1d split A lot=XY9876 units=1", WARN),
    ("a return", "0h receive A lot=AB1234\n> 1d return A lot=XY9876", SILENT),
)
def test_lot_and_expiry(told: str, said: str) -> None:
    """Pins whom the line is compared with, and what counts as a slip."""
    assert weigh(find(tell_chain(told))) == said


def test_both_sides_are_told() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_chain("> 0h sale A lot=L1 codelot=L9 expiry=2029-11-30 codeexpiry=2027-06-30"))

    assert names(finding) == ["lot", "lot_of_box", "expiry", "expiry_of_box"]
    assert (fact(finding, "lot_of_box"), fact(finding, "expiry_of_box")) == ("L9", "2027-06-30")
