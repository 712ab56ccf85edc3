"""ORG_INVALID. Goal: who may not settle is refused where the fund pays, and warned elsewhere.

Method: a table.
"""

from typing import Any

from scenes import BLOCK, SILENT, WARN, cases, fact, tell_document, weigh

from tracecode.life_cycle import InstitutionFacts
from tracecode.rules.org_invalid import find

UNKNOWN = InstitutionFacts("P13050000001")


@cases(
    ("registered and in service", {}, SILENT),
    ("not registered", {"institution": UNKNOWN, "in_service": False}, BLOCK),
    ("not registered, self-paid", {"institution": UNKNOWN, "self_paid": True}, BLOCK),
    ("agreement lapsed", {"in_service": False}, BLOCK),
    ("agreement lapsed, self-paid", {"in_service": False, "self_paid": True}, WARN),
    ("agreement lapsed, goods in", {"in_service": False, "kind": "receipt"}, WARN),
    ("not registered, goods in", {"institution": UNKNOWN, "kind": "receipt"}, WARN),
)
def test_an_institution_without_an_agreement(told: dict[str, Any], said: str) -> None:
    """Pins that only sales are refused, and self-paid ones not for a lapsed agreement."""
    assert weigh(find(tell_document(**told))) == said


def test_the_reason_is_told() -> None:
    """Pins the evidence: which of the two it is."""
    assert fact(find(tell_document(in_service=False))[0], "institution") == "not_in_service"
    assert fact(find(tell_document(institution=UNKNOWN))[0], "institution") == "not_registered"
