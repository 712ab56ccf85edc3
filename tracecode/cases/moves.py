"""Which state of a case may follow which, what a move asks for, and what it gives time for.

The states are those of 问题销号: 初步核实 → 核查 → 处理 → 整改 (30 days) → 复查 (15 days) → 销号. A case may
end early where nothing was found, or where nothing is left to put right; it may be sent back; and a closed
one may be taken up again (回头看).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

RECTIFICATION_DAYS = 30
RECHECK_DAYS = 15


class CaseState(IntEnum):
    """Where a case stands; numbers equal tracecode.v1.CaseState."""

    PRELIMINARY_REVIEW = 1
    """初步核实."""
    INVESTIGATION = 2
    """核查."""
    DISPOSAL = 3
    """处理."""
    RECTIFICATION = 4
    """整改."""
    RECHECK = 5
    """复查."""
    CLOSED = 6
    """销号."""


class OutcomeType(IntEnum):
    """What came of a case; numbers equal tracecode.v1.CaseOutcomeType."""

    NO_VIOLATION = 1
    WARNING = 2
    RECOVERED = 3
    DEDUCTED = 4
    FINE = 5
    SUSPENSION = 6
    TERMINATION = 7
    POLICE = 8
    DISCIPLINE = 9
    MARKET_SUPERVISION = 10
    TAX = 11


MONEY = frozenset({OutcomeType.RECOVERED, OutcomeType.DEDUCTED, OutcomeType.FINE})
"""Outcomes that are an amount, and say it."""

HANDED_OVER = frozenset(
    {OutcomeType.POLICE, OutcomeType.DISCIPLINE, OutcomeType.MARKET_SUPERVISION, OutcomeType.TAX}
)
"""Outcomes that name whom the case went to."""

ENDING = HANDED_OVER | {OutcomeType.TERMINATION}
"""Outcomes after which the institution has nothing to put right here."""


class Needs(Enum):
    """Of which kind the outcomes of a case must be for a move."""

    NOTHING = "any outcomes or none"
    NO_VIOLATION = "the outcome NO_VIOLATION, and no other"
    VIOLATION = "an outcome other than NO_VIOLATION"
    ENDING = "TERMINATION or a hand-over"

    def met_by(self, outcomes: Sequence[OutcomeType]) -> bool:
        """Whether these outcomes are enough."""
        kinds = set(outcomes)
        match self:
            case Needs.NOTHING:
                return True
            case Needs.NO_VIOLATION:
                return kinds == {OutcomeType.NO_VIOLATION}
            case Needs.VIOLATION:
                return bool(kinds - {OutcomeType.NO_VIOLATION})
            case Needs.ENDING:
                return bool(kinds & ENDING)


@dataclass(frozen=True, slots=True)
class Move:
    """A way from one state to another.

    `approved`: a second person must agree 审定. `noted`: a reason must stand with it. `due_days`: how long
    the state that it leads to may last, 0 = no limit.
    """

    before: CaseState
    after: CaseState
    needs: Needs = Needs.NOTHING
    approved: bool = False
    noted: bool = False
    due_days: int = 0


_S = CaseState

MOVES: tuple[Move, ...] = (
    Move(_S.PRELIMINARY_REVIEW, _S.INVESTIGATION),
    Move(_S.PRELIMINARY_REVIEW, _S.CLOSED, Needs.NO_VIOLATION, approved=True, noted=True),
    Move(_S.INVESTIGATION, _S.DISPOSAL, approved=True, noted=True),
    Move(_S.INVESTIGATION, _S.CLOSED, Needs.NO_VIOLATION, approved=True, noted=True),
    Move(_S.DISPOSAL, _S.INVESTIGATION, noted=True),
    Move(_S.DISPOSAL, _S.RECTIFICATION, Needs.VIOLATION, due_days=RECTIFICATION_DAYS),
    Move(_S.DISPOSAL, _S.CLOSED, Needs.ENDING, approved=True, noted=True),
    Move(_S.RECTIFICATION, _S.RECHECK, noted=True, due_days=RECHECK_DAYS),
    Move(_S.RECHECK, _S.RECTIFICATION, Needs.VIOLATION, noted=True, due_days=RECTIFICATION_DAYS),
    Move(_S.RECHECK, _S.CLOSED, Needs.VIOLATION, approved=True, noted=True),
    Move(_S.CLOSED, _S.INVESTIGATION, approved=True, noted=True),
)

_BY_STATES = {(move.before, move.after): move for move in MOVES}


def find_move(before: int, after: int) -> Move | None:
    """The move from one state to another, or None where there is none."""
    try:
        return _BY_STATES.get((CaseState(before), CaseState(after)))
    except ValueError:
        return None


def list_next(before: int) -> tuple[CaseState, ...]:
    """The states that may follow a state."""
    return tuple(move.after for move in MOVES if move.before == before)
