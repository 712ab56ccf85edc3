"""The quantity ledger of one drug at one institution: what moved on which day, in packs.

Purchases often carry no codes, so beside the life of each box there is a sum for each drug. Sums are not
part of any document's verdict; they are a view over the journal with its own `as_of`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum

from tracecode.rule_base import Thresholds


class Movement(IntEnum):
    """Why a quantity changed; the order in which one day's movements are summed."""

    OPENING = 1
    RECEIVED = 2
    TRANSFERRED_IN = 3
    OTHER_IN = 4
    SALE_RETURNED = 5
    SOLD = 6
    PURCHASE_RETURNED = 7
    TRANSFERRED_OUT = 8
    OTHER_OUT = 9
    COUNTED = 10


SMALLEST = Decimal("0.0001")
"""Quantities have 4 decimals (N16,4); what units of a pack leave behind these is not stock."""

OUT = frozenset({Movement.SOLD, Movement.PURCHASE_RETURNED, Movement.TRANSFERRED_OUT, Movement.OTHER_OUT})


@dataclass(frozen=True, slots=True)
class QuantityEvent:
    """One line's effect on the quantity. `day` counts from 1970-01-01 in China; quantity in packs."""

    day: int
    time: int
    movement: Movement
    quantity: Decimal
    sequence: int
    correction: bool = False
    """A stock change that books a counted difference (103, 104)."""


@dataclass(frozen=True, slots=True)
class StockDay:
    """The balance at the end of a day, in packs."""

    day: int
    balance: Decimal


@dataclass(frozen=True, slots=True)
class StockCountDifference:
    """A count that met a computed balance."""

    day: int
    sequence: int
    counted: Decimal
    computed: Decimal
    corrected: bool
    """The difference was booked on the same or the next day."""


@dataclass(frozen=True, slots=True)
class StockEvidence:
    """What a stock rule is shown."""

    institution_code: str
    drug_code: str
    totals: dict[Movement, Decimal]
    days: tuple[StockDay, ...]
    counts: tuple[StockCountDifference, ...]
    thresholds: Thresholds

    def total(self, *movements: Movement) -> Decimal:
        """Sum over movements, in packs."""
        return round_quantity(
            sum((self.totals.get(movement, Decimal(0)) for movement in movements), Decimal(0))
        )


def round_quantity(quantity: Decimal) -> Decimal:
    """To 4 decimals, where there are more: 24 twenty-fourths of a pack are a pack."""
    return quantity if quantity % SMALLEST == 0 else quantity.quantize(SMALLEST)


@dataclass(slots=True)
class _Running:
    balance: Decimal = Decimal(0)
    totals: dict[Movement, Decimal] = field(default_factory=dict)


def sum_stock(
    institution_code: str, drug_code: str, events: Iterable[QuantityEvent], thresholds: Thresholds
) -> StockEvidence:
    """Add up a drug's movements in the order in which they happened.

    A count does not change the balance: differences are booked by 103/104, or stand as STOCKTAKE_DIFF.
    """
    ordered = sorted(events, key=lambda event: (event.day, event.movement, event.time, event.sequence))
    corrections = {event.day for event in ordered if event.correction}
    running = _Running()
    days: list[StockDay] = []
    counts: list[StockCountDifference] = []
    for event in ordered:
        running.totals[event.movement] = running.totals.get(event.movement, Decimal(0)) + event.quantity
        if event.movement is Movement.COUNTED:
            corrected = bool(corrections & {event.day, event.day + 1})
            computed = round_quantity(running.balance)
            counts.append(
                StockCountDifference(event.day, event.sequence, event.quantity, computed, corrected)
            )
            continue
        running.balance += -event.quantity if event.movement in OUT else event.quantity
        if days and days[-1].day == event.day:
            days.pop()
        days.append(StockDay(event.day, round_quantity(running.balance)))
    return StockEvidence(institution_code, drug_code, running.totals, tuple(days), tuple(counts), thresholds)
