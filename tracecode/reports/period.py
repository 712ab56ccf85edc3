"""What a report is about: a month or a quarter of business days in China."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)
_QUARTER = re.compile(r"([0-9]{4})Q([1-4])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """Days from `first` to `last`, both counted."""

    name: str
    """2026-03 or 2026Q1."""
    first: date
    last: date

    @classmethod
    def parse(cls, text: str) -> Period:
        """The period of `2026-03` or `2026Q1`. Raises ValueError."""
        if month := _MONTH.fullmatch(text):
            return cls._of(text, int(month[1]), int(month[2]), 1)
        if quarter := _QUARTER.fullmatch(text):
            return cls._of(text, int(quarter[1]), 3 * int(quarter[2]) - 2, 3)
        raise ValueError(f"{text!r} is neither a month such as 2026-03 nor a quarter such as 2026Q1")

    @classmethod
    def _of(cls, name: str, year: int, month: int, months: int) -> Period:
        if not 1970 < year < 9999:
            raise ValueError(f"{name!r} is no year of a ledger")
        years, rest = divmod(month - 1 + months, 12)
        return cls(name, date(year, month, 1), date(year + years, rest + 1, 1) - timedelta(days=1))
