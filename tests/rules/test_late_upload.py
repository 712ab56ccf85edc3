"""LATE_UPLOAD. Goal: both limits, and that lateness is counted from the business time.

Method: a table.
"""

from typing import Any

from scenes import INFO, SILENT, WARN, cases, fact, tell_document, weigh

from tracecode.rule_base import Thresholds
from tracecode.rules.late_upload import find


@cases(
    ("in time", {"received": "10m"}, SILENT),
    ("at the limit", {"received": "48h"}, SILENT),
    ("a second later", {"received": "48h1s"}, INFO),
    ("at thirty days", {"received": "30d"}, INFO),
    ("after thirty days", {"received": "30d1s"}, WARN),
    ("a receipt is late like a sale", {"kind": "receipt", "received": "3d"}, INFO),
    ("a clock ahead of the receiver's is not late", {"at": "3d", "received": "0m"}, SILENT),
    ("a region that waits longer", {"received": "3d", "thresholds": Thresholds(late_info_hours=96)}, SILENT),
)
def test_a_late_document_says_how_late(told: dict[str, Any], said: str) -> None:
    """Pins INFO after 48 h and WARN after 30 days, both exclusive."""
    assert weigh(find(tell_document(**told))) == said


def test_the_hours_are_told() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_document(received="49h30m"))

    assert fact(finding, "late_hours") == "49"
