"""UNVERIFIED_OFFLINE. Goal: a sale made without a connection is marked, nothing else is.

Method: a table.
"""

from typing import Any

from scenes import INFO, SILENT, cases, tell_document, weigh

from tracecode.rules.unverified_offline import find


@cases(
    ("offline sale", {"offline": True}, INFO),
    ("sale on line", {}, SILENT),
    ("offline receipt", {"kind": "receipt", "offline": True}, SILENT),
)
def test_an_offline_sale_is_marked(told: dict[str, Any], said: str) -> None:
    """Pins that only sales are marked: only they would have been asked before."""
    assert weigh(find(tell_document(**told))) == said
