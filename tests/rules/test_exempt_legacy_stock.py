"""EXEMPT_LEGACY_STOCK. Goal: it stands exactly where STOCK_NEVER_RECEIVED would, before the cut-off day.

Method: a table, and both rules beside each other on both sides of the day.
"""

from datetime import date

import pytest
from scenes import INFO, SILENT, cases, fact, tell_chain, weigh

from tracecode.rule_base import Thresholds
from tracecode.rules.exempt_legacy_stock import find
from tracecode.rules.stock_never_received import find as find_never_received


@cases(
    ("the day before", "> -74d sale U", INFO),
    ("where receipts are not uploaded", "> -74d sale A", INFO),
    ("the day itself", "> -73d sale U", SILENT),
    ("received", "-80d receive U\n> -74d sale U", SILENT),
    ("somebody else holds it", "-80d receive A\n> -74d sale U", SILENT),
    ("a return", "> -74d return U", SILENT),
)
def test_stock_from_before_the_codes(told: str, said: str) -> None:
    """Pins the day 2026-01-01 in China."""
    assert weigh(find(tell_chain(told))) == said


@pytest.mark.parametrize("when", ["-400d", "-74d", "-73d12h1s", "-73d12h", "-73d", "0h"])
def test_one_of_the_two_is_said(when: str) -> None:
    """Pins that a sale without a receipt carries either finding, never both and never none."""
    told = tell_chain(f"> {when} sale U")

    assert len(find(told)) + len(find_never_received(told)) == 1


def test_the_day_is_a_threshold() -> None:
    """Pins that a region may have its own day, and that it is told."""
    told = tell_chain("> 0h sale U", thresholds=Thresholds(legacy_stock_until=date(2026, 7, 1)))

    assert fact(find(told)[0], "legacy_stock_until") == "2026-07-01"
