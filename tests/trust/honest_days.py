"""Days at honest institutions, some with a wrong clock, and one box that is sold twice all the same.

A box is received and sold where it was received, whole or in parts, sometimes taken back and sold again, by
a till that sends what it sent before and a gateway that is late. Each institution writes the time of its own
clock on all of its documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from documents import (
    DAY,
    FAR,
    HOUR,
    NOON,
    NS,
    OTHER,
    QUIET,
    SHOP,
    code,
    deletion,
    line,
    receipt,
    sale,
    sale_return,
)

from tracecode.v1 import document_pb2

CLOCKS_OFF_SECONDS = 30 * DAY
FAST_SECONDS_MIN = 300
"""A clock that is ahead by more is not believed."""
DELAY_SECONDS_MAX = 40 * HOUR
"""From what happened to its arrival; with a receipt a day before its sale, all within the 48 hours in which a
missing document accuses nobody for good."""

BOXES_PER_RECEIPT = 12
TWICE = 999_999
"""The box that is sold at two institutions."""


@dataclass(frozen=True, slots=True)
class Happened:
    """A document and when it was really made, seconds since 1970 UTC."""

    time: int
    document: document_pb2.Document

    @property
    def is_fast(self) -> bool:
        """Whether its clock is too far ahead to be believed."""
        return self.document.business_time.seconds > self.time + FAST_SECONDS_MIN


@dataclass(slots=True)
class _Shop:
    institution: str
    clock_off: int
    rng: Random
    told: list[Happened]
    documents: int = 0

    def name(self, prefix: str) -> str:
        self.documents += 1
        return f"{prefix}{self.documents:04d}"

    def tell(self, time: int, document: document_pb2.Document) -> document_pb2.Document:
        """What was made at this time bears that of the shop's clock."""
        document.business_time.seconds = time + self.clock_off
        self.told.append(Happened(time, document))
        return document

    def open_boxes(self, time: int, codes: list[str]) -> None:
        """A receipt, and what becomes of its boxes within the day after."""
        lines = [line(*codes, lot="L1", expiry="2028-01-01")]
        self.tell(time, receipt(self.institution, self.name("R"), 0, *lines))
        waiting = list(codes)
        while waiting:
            some, waiting = waiting[: self.rng.randrange(1, 4)], waiting[3:]
            self.sell(time + DAY // 2 + self.rng.randrange(10 * HOUR), some)

    def sell(self, time: int, codes: list[str]) -> None:
        """A sale; now and then it is taken back, made again, or one of its boxes is sold in parts."""
        if len(codes) == 1 and self.rng.random() < 0.2:
            for part in range(2):
                parts = line(codes[0], quantity="12", split=True)
                self.tell(
                    time + 600 * part, sale(self.institution, self.name("P"), 0, parts, person=f"p{part}")
                )
            return
        lines = [line(each) for each in codes]
        person = f"{self.institution}{self.documents}"
        first = self.tell(time, sale(self.institution, self.name("S"), 0, *lines, person=person))
        chance = self.rng.random()
        if chance < 0.1:
            self.tell(
                time + HOUR,
                sale_return(self.institution, self.name("T"), 0, *lines, of=first.document_number),
            )
            self.tell(time + 2 * HOUR, sale(self.institution, self.name("S"), 0, *lines, person="else"))
        elif chance < 0.15:
            self.tell(
                time + HOUR, deletion(self.institution, self.name("D"), 0, deletes=first.document_number)
            )


def draw_happenings(seed: int) -> list[Happened]:
    """Two days at four institutions: one clock is right, one is slow and one is fast by up to 30 days, and
    one institution uploads no codes that it receives. With every second seed the clock of the one that
    received the box sold twice is fast too. The last document is the second sale of that box, at an
    institution that never had it."""
    rng = Random(seed)
    told: list[Happened] = []
    clocks = {
        SHOP: 0,
        OTHER: -rng.randrange(CLOCKS_OFF_SECONDS),
        FAR: rng.randrange(CLOCKS_OFF_SECONDS),
        QUIET: 0,
    }
    if seed % 2:
        clocks[SHOP] = rng.randrange(FAST_SECONDS_MIN, CLOCKS_OFF_SECONDS)
    for place, (institution, clock_off) in enumerate(clocks.items()):
        shop = _Shop(institution, clock_off, rng, told)
        for day in range(2):
            first = 1_000 * (10 * place + day)
            codes = [code(first + box) for box in range(BOXES_PER_RECEIPT)]
            shop.open_boxes(NOON + day * DAY + 600 * place, codes)
    shop = _Shop(SHOP, clocks[SHOP], rng, told, documents=9_000)
    shop.tell(NOON, receipt(SHOP, shop.name("R"), 0, line(code(TWICE))))
    shop.tell(NOON + DAY, sale(SHOP, shop.name("S"), 0, line(code(TWICE)), person="a"))
    told.append(
        Happened(NOON + 30 * HOUR, sale(QUIET, "TWICE", NOON + 30 * HOUR, line(code(TWICE)), person="b"))
    )
    return told


def draw_arrivals(
    told: list[Happened], seed: int, *, fast_at_once: bool = False
) -> Iterator[tuple[int, document_pb2.Document]]:
    """The receive times (ns) and documents in one order of arrival; every third comes twice.

    `fast_at_once`: what a fast clock wrote comes when it is made, and again later. Its business time is
    impossible and gives way to the time of arrival, which is then that at which it happened.
    """
    rng = Random(seed)
    arrivals = []
    for happened in told:
        for copy in range(1 + (rng.random() < 0.3)):
            delay = rng.randrange(DELAY_SECONDS_MAX)
            if fast_at_once and not copy and happened.is_fast:
                delay = 0
            arrivals.append((happened.time + delay, happened.document))
    arrivals.sort(key=lambda arrival: arrival[0])
    return ((time * NS, document) for time, document in arrivals)
