"""Who sells: pharmacies and clinics in several pooling areas, some of them chains, each with its shelves."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random

from tracecode.city.products import Box, Pack
from tracecode.v1 import catalogue_pb2

__all__ = ["DIVISIONS", "Institution", "list_institutions", "make_institutions"]

DIVISIONS = (
    ("370202", "青岛市市南区"),
    ("440402", "珠海市香洲区"),
    ("370203", "青岛市市北区"),
    ("350102", "福州市鼓楼区"),
    ("440403", "珠海市斗门区"),
    ("360802", "吉安市吉州区"),
    ("350103", "福州市台江区"),
    ("371402", "德州市德城区"),
    ("130705", "张家口市宣化区"),
    ("150902", "乌兰察布市集宁区"),
    ("510104", "成都市锦江区"),
    ("510105", "成都市青羊区"),
    ("610702", "汉中市汉台区"),
    ("130502", "邢台市襄都区"),
)
"""Administrative divisions; the first four digits are the pooling area 统筹区."""

SALES_PER_DAY = 60
"""Sales of an average institution on one day (ours)."""

BOXES_PER_DAY = 165
"""Boxes of an average institution that they take."""

PACKS_PER_INSTITUTION = 90
FAVOURITES = 1.7
"""Exponent of how much more the first packs of an assortment are sold than the last."""


@dataclass(slots=True, eq=False)
class Institution:
    """One designated institution, its clock, and what stands on its shelves."""

    code: str
    name: str
    division: str
    uploads: bool
    """It uploads the codes it receives."""
    clock_seconds: int
    """How far its clock is ahead of the true time."""
    factor: float
    """Its size; 1 is the average."""
    group: str = ""
    closed: tuple[int, int] | None = None
    """Days of the city, first and last, on which its service agreement is suspended."""
    assortment: list[Pack] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    """How many boxes of each pack of the assortment the shelf holds when full."""
    stock: dict[int, deque[Box]] = field(default_factory=dict)
    """Boxes on the shelf by the pack's index, the oldest first."""
    opening: list[Box] = field(default_factory=list)
    """Boxes that are there from the first day but not for sale in the ordinary way."""
    herbs: list[str] = field(default_factory=list)
    """Drug codes of the herbal slices it sells by weight."""
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def area(self) -> str:
        """The pooling area 统筹区."""
        return self.division[:4]

    def pick(self, rng: Random) -> int:
        """A place in the assortment, favourites more often."""
        return int(len(self.assortment) * rng.random() ** FAVOURITES)

    def number(self, prefix: str, day: str) -> str:
        """The next document number: prefix, day and a count, as every till of the country makes them."""
        head = prefix + day
        count = self.numbers.get(head, 0) + 1
        self.numbers[head] = count
        return f"{head}{count:04d}"

    def related(self, other: Institution) -> bool:
        """Itself or of its chain."""
        return self is other or (bool(self.group) and self.group == other.group)


def make_institutions(
    rng: Random,
    packs: Sequence[Pack],
    count: int,
    days: int,
    regions: int | None = None,
    busyness: float = 1.0,
) -> list[Institution]:
    """The city's institutions. At least six, so that every kind of them is there.

    `regions` is in how many divisions they lie; None lets their number decide. `busyness` multiplies what
    all of them sell.
    """
    divisions = DIVISIONS[: regions or max(3, min(len(DIVISIONS), count // 6))]
    institutions = []
    for number in range(count):
        division, place = divisions[number % len(divisions)]
        letter = "H" if number % 10 == 9 else "P"
        institutions.append(
            Institution(
                code=f"{letter}{division}{number + 101:05d}",
                name=f"{place}{'社区医院' if letter == 'H' else '药房'}{number + 1}",
                division=division,
                # One in five does not upload codes it received.
                uploads=number % 5 != 3,
                clock_seconds=_set_clock(rng, number),
                factor=(0.6 + 0.8 * rng.random()) * busyness,
            )
        )
    for here in institutions:
        _stock_assortment(rng, here, packs)
    _form_groups(institutions)
    _suspend(rng, institutions, days)
    return institutions


def _set_clock(rng: Random, number: int) -> int:
    if number % 25 == 5:
        # Too far ahead to be possible: the ledger must take the receive time instead.
        return rng.randrange(330, 700)
    if number % 12 == 7:
        return rng.randrange(-240, 240)
    return 0


def _stock_assortment(rng: Random, here: Institution, packs: Sequence[Pack]) -> None:
    wanted = rng.randrange(PACKS_PER_INSTITUTION * 3 // 4, PACKS_PER_INSTITUTION * 5 // 4)
    size = min(len(packs) * 2 // 3, wanted)
    here.assortment = rng.sample(packs, size)
    here.herbs = [f"T{number:09d}" for number in rng.sample(range(1, 900), 5)]
    for place in range(size):
        # The share of sales of this place, from the distribution that `pick` draws from.
        share = ((place + 1) / size) ** (1 / FAVOURITES) - (place / size) ** (1 / FAVOURITES)
        daily = share * BOXES_PER_DAY * here.factor
        here.targets.append(max(5, math.ceil(daily * 2.6) + 2))


def _form_groups(institutions: list[Institution]) -> None:
    """Every other run of four institutions of one pooling area that upload their codes is a chain."""
    by_area: dict[str, list[Institution]] = {}
    for here in institutions:
        if here.uploads:
            by_area.setdefault(here.area, []).append(here)
    for area, members in by_area.items():
        for start in range(0, len(members) - 1, 8):
            for here in members[start : start + 4]:
                here.group = f"G{area}{start // 8 + 1:02d}"


def _suspend(rng: Random, institutions: list[Institution], days: int) -> None:
    """One institution in forty, one at least, has its agreement suspended for a tenth of the time."""
    single = [here for here in institutions if not here.group]
    wanted = max(1, len(institutions) // 40)
    step = max(1, len(single) // wanted)
    for here in single[step // 2 :: step][:wanted]:
        length = max(1, days // 10)
        first = rng.randrange(1, days - length)
        here.closed = (first, first + length - 1)


def list_institutions(
    institutions: Sequence[Institution], start: date
) -> Iterator[catalogue_pb2.Institution]:
    """The rows of the register; a suspended institution has a gap between its periods of service."""
    for here in institutions:
        periods = []
        if here.closed is not None:
            first, last = (start + timedelta(days=day) for day in here.closed)
            periods = [
                catalogue_pb2.ServicePeriod(
                    start_date="2024-01-01", end_date=(first - timedelta(days=1)).isoformat()
                ),
                catalogue_pb2.ServicePeriod(start_date=(last + timedelta(days=1)).isoformat()),
            ]
        yield catalogue_pb2.Institution(
            institution_code=here.code,
            name=here.name,
            division_code=here.division,
            group_code=here.group,
            uploads_receipt_codes=here.uploads,
            service_periods=periods,
        )
