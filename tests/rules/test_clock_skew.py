"""CLOCK_SKEW. Goal: a future business time, a sale long before its receipt, a day before production.

Method: a table for each scope; the exceptions are times at which the box came in once more.
"""

from typing import Any

from scenes import SILENT, WARN, cases, names, tell_chain, tell_document, weigh

from tracecode.rules.clock_skew import find_chain, find_document


@cases(
    ("on time", {"at": "0m"}, SILENT),
    ("five minutes ahead", {"at": "5m"}, SILENT),
    ("more than five minutes ahead", {"at": "5m1s"}, WARN),
    ("late is not skewed", {"at": "-3d"}, SILENT),
    ("a receipt from the future", {"kind": "receipt", "at": "1d"}, WARN),
)
def test_a_business_time_in_the_future_is_impossible(told: dict[str, Any], said: str) -> None:
    """Pins the five minutes by which clocks may differ."""
    assert weigh(find_document(tell_document(**told))) == said


@cases(
    (
        "receipt three days after the sale",
        """
        > 0h sale A
          72h1s receive A
        """,
        WARN,
    ),
    (
        "receipt within 48 h",
        """
        > 0h sale A
          48h receive A
        """,
        SILENT,
    ),
    (
        "received before, and again later",
        """
          -1d receive A
        > 0h sale A
          3d receive A
        """,
        SILENT,
    ),
    (
        "opening stock counted before",
        """
          -1d count A
        > 0h sale A
          3d receive A
        """,
        SILENT,
    ),
    (
        "the person brought it back, then it was bought again",
        """
        > 0h sale A
          1d return A
          2d supplier A
          5d receive A
        """,
        SILENT,
    ),
    (
        "received three days later somewhere else",
        """
        > 0h sale A
          3d receive B
        """,
        SILENT,
    ),
    (
        "a late receipt of a refused attempt",
        """
        > 0h sale A refused
          3d receive A
        """,
        WARN,
    ),
    (
        "a deleted receipt is none",
        """
        > 0h sale A
          3d receive A deleted
        """,
        SILENT,
    ),
    (
        "inside a package",
        """
        > 0h sale A inside
          3d receive A
        """,
        SILENT,
    ),
    ("sold before it was made", "> 0h sale A made=2026-03-16", WARN),
    ("sold on the day it was made", "> 0h sale A made=2026-03-15", SILENT),
    ("received before it was made", "> 0h receive A made=2026-03-16", WARN),
    ("the receipt itself is not judged by the sale", "0h sale A\n> 3d receive A", SILENT),
)
def test_a_chain_whose_times_cannot_be(told: str, said: str) -> None:
    """Pins the 48 h, that only the first receipt counts, and the day of production."""
    assert weigh(find_chain(tell_chain(told))) == said


def test_the_receipt_and_the_day_are_told() -> None:
    """Pins that both reasons stand in one finding."""
    (finding,) = find_chain(
        tell_chain(
            """
            > 0h sale A made=2026-03-16
              3d receive A
            """
        )
    )

    assert names(finding) == ["manufacture_date", "receipt"]
