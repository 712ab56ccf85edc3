"""A city as a screening sees it: people shop near their homes, doctors prescribe, boxes have prices.

An ordinary City draws persons from everywhere, which is enough to judge single documents. Models compare
habits, so here persons, prescribers and shelves have some; what a document looks like does not change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tracecode.city.city import City, Line, Sold
from tracecode.city.institutions import Institution
from tracecode.city.products import Box

__all__ = ["PERSONS_PER_INSTITUTION", "Region"]

PERSONS_PER_INSTITUTION = 400
AWAY_SHARE = 0.06
"""Sales to somebody who lives near another institution of the division (ours)."""

DOCTORS_OF_HOSPITAL = 6
DOCTORS_OF_DIVISION = 40
PRESCRIBED_SHARE = 0.35
"""Sales of a pharmacy that are on prescription (ours)."""


class Region(City):
    """The city at one moment of its time, with homes, doctors and prices."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._place = {here.code: place for place, here in enumerate(self.institutions)}
        self._neighbours: dict[str, list[Institution]] = defaultdict(list)
        for here in self.institutions:
            self._neighbours[here.division].append(here)
        self._own_doctors: dict[str, int] = {}
        self._persons = len(self.institutions) * PERSONS_PER_INSTITUTION
        self.care_homes: list[tuple[str, str]] = []
        """Registered care homes and who lives there: a name and the token of a person."""

    def keep_doctors(self, here: Institution, count: int) -> None:
        """Let an institution have so many doctors of its own."""
        self._own_doctors[here.code] = count

    def mark_subject(
        self, level: str, token: str, label: str, expected: Sequence[str] = (), related: Sequence[str] = ()
    ) -> None:
        """Label an institution or person as a whole; it is a fraud where a model must point there."""
        fraud = bool(expected or related)
        self._labels.add_subject(level, token, label, fraud=fraud, expected=expected, related=related)

    def resident(self, here: Institution, *but: str) -> str:
        """The token of somebody who lives near an institution, other than those named."""
        while True:
            number = self._place[here.code] * PERSONS_PER_INSTITUTION
            token = f"psn-{number + self.rng.randrange(PERSONS_PER_INSTITUTION):07d}"
            if token not in but:
                return token

    def newcomer(self) -> str:
        """The token of a person whom no ordinary sale knows."""
        self._persons += 1
        return f"psn-{self._persons:07d}"

    def doctor(self, here: Institution) -> str:
        """Who prescribed a sale here; empty when nobody did."""
        rng = self.rng
        own = self._own_doctors.get(here.code, DOCTORS_OF_HOSPITAL if here.code[0] == "H" else 0)
        if own:
            return f"doc-{here.code}-{rng.randrange(own)}"
        if rng.random() < PRESCRIBED_SHARE:
            return f"doc-{here.division}-{rng.randrange(DOCTORS_OF_DIVISION)}"
        return ""

    def sell(self, here: Institution, time: int, lines: Sequence[Line], **options: Any) -> Sold:
        """A sale to somebody near, unless the person is given."""
        if not options.get("person"):
            near = here
            if self.rng.random() < AWAY_SHARE:
                near = self.rng.choice(self._neighbours[here.division])
            options["person"] = self.resident(near)
        options.setdefault("prescriber", self.doctor(here))
        return super().sell(here, time, lines, **options)

    def line(self, boxes: Sequence[Box], **changes: Any) -> Line:
        """A line with a price."""
        return super().line(boxes, **{"unitPrice": boxes[0].pack.price, **changes})

    def shelve(self, here: Institution, boxes: Iterable[Box]) -> None:
        """Put boxes up for sale in no particular order: nobody sells them as they stood in the carton."""
        shuffled = list(boxes)
        self.rng.shuffle(shuffled)
        super().shelve(here, shuffled)
