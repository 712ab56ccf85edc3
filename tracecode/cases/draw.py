"""A random draw that anybody can repeat with sha256sum.

Every institution has as many tickets as its weight. A ticket's number is the SHA-256 of the text
"SEED/CODE/N", N = 1, 2, ... its weight; an institution counts by its least number, and the institutions with
the least numbers are drawn, in that order. So an institution of weight 3 is three times as likely to come
first as one of weight 1, and no order of the list, no clock and no program's generator has a part in it.
Inspectors go by the SHA-256 of "SEED/CODE/NAME" in the same way, the least two to each institution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tracecode.v1 import inspection_pb2

WEIGHT_MAX = 100
INSPECTORS_EACH = 2
"""The law asks for two on site."""


def ticket(seed: str, code: str, ending: str) -> str:
    """The number of a ticket, 64 hex digits."""
    return hashlib.sha256(f"{seed}/{code}/{ending}".encode()).hexdigest()


def draw(
    seed: str,
    candidates: Sequence[inspection_pb2.DrawCandidate],
    count: int,
    inspectors: Sequence[str],
) -> list[inspection_pb2.DrawnInstitution]:
    """The institutions drawn, the first first, each with those who inspect it."""

    def least(candidate: inspection_pb2.DrawCandidate) -> str:
        tickets = range(1, max(candidate.weight, 1) + 1)
        return min(ticket(seed, candidate.institution_code, str(number)) for number in tickets)

    drawn = []
    for candidate in sorted(candidates, key=least)[:count]:
        code = candidate.institution_code
        going = sorted((ticket(seed, code, name), name) for name in inspectors)[:INSPECTORS_EACH]
        drawn.append(inspection_pb2.DrawnInstitution(institution_code=code, inspectors=[n for _, n in going]))
    return drawn
