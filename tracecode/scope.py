"""Which rows of a rule base fit a line of an institution on a day, however many rows there are.

A row names drugs, products, institutions and divisions, each by pattern, prefix or whole; what it leaves out
it does not ask for. Rows are entered under the fixed beginnings of what they name, so that a lookup costs one
dictionary look-up for each combination of lengths that occurs. Files use a handful of those.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from itertools import pairwise, product
from typing import Generic, NamedTuple, TypeVar

_Row = TypeVar("_Row")


class RowPlace(NamedTuple):
    """Where and when rows are asked for. Empty texts = not known, or not of one drug or product."""

    institution_code: str
    division: str
    """Of the institution, six digits."""
    day: date
    """The business day in China."""
    drug_code: str = ""
    """As billed."""
    identifier: str = ""
    """Of the product that the code itself names."""


class Scope(NamedTuple):
    """For whom a row holds. In `drug_codes` and `institution_codes` a `?` stands for one character and a `*`
    at the end for any rest; `divisions` are prefixes, `identifiers` are whole; each empty = any. Both days
    belong to it, None = open."""

    drug_codes: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()
    institution_codes: tuple[str, ...] = ()
    divisions: tuple[str, ...] = ()
    start_date: date | None = None
    end_date: date | None = None

    @property
    def combinations(self) -> int:
        """How many combinations of drug, product, institution and division it names."""
        count = 1
        for names in self[:4]:
            count *= len(names) or 1
        return count

    def meets(
        self,
        institution_code: str,
        divisions: Iterable[str],
        day: date | None,
        drug_codes: Iterable[str],
        identifiers: Iterable[str],
    ) -> bool:
        """Whether it may hold for one of several drugs and products, in one of several divisions; day None =
        on whatever day."""
        return (
            (day is None or (self.start_date or date.min) <= day <= (self.end_date or date.max))
            and (not self.divisions or any(each.startswith(self.divisions) for each in divisions))
            and (
                not self.institution_codes
                or any(_fits(pattern, institution_code) for pattern in self.institution_codes)
            )
            and (
                not self.drug_codes
                or any(_fits(pattern, code) for code in drug_codes for pattern in self.drug_codes)
            )
            and (not self.identifiers or any(each in self.identifiers for each in identifiers))
        )

    @property
    def names_nobody(self) -> bool:
        """It says at most on which days, so everybody is meant."""
        return not any(self[:4])


class _Candidate(NamedTuple, Generic[_Row]):
    """A row under one of its keys; the patterns are empty where the key says all."""

    number: int
    row: _Row
    start_date: date
    end_date: date
    drug_pattern: str
    institution_pattern: str
    split: bool


class ScopeIndex(Generic[_Row]):
    """Rows by their scopes; the first of the file that fits holds."""

    __slots__ = ("_candidates", "_shapes")

    def __init__(self) -> None:
        self._candidates: dict[tuple[str, str, str, str], list[_Candidate[_Row]]] = {}
        self._shapes: tuple[tuple[int, bool, int, int], ...] = ()

    def add(self, number: int, row: _Row, scope: Scope, *, split: bool = False) -> None:
        """Enter a row under each of the combinations it names, rows in the order of their numbers."""
        start, end = scope.start_date or date.min, scope.end_date or date.max
        for drug_code, identifier, institution_code, division in product(
            scope.drug_codes or ("*",),
            scope.identifiers or ("",),
            scope.institution_codes or ("*",),
            scope.divisions or ("",),
        ):
            drug_prefix, drug_pattern = split_pattern(drug_code)
            institution_prefix, institution_pattern = split_pattern(institution_code)
            self._candidates.setdefault((drug_prefix, identifier, institution_prefix, division), []).append(
                _Candidate(number, row, start, end, drug_pattern, institution_pattern, split)
            )

    def seal(self) -> None:
        """Note the shapes, once all rows are in."""
        self._shapes = tuple(
            sorted(
                {(len(drug), bool(each), len(code), len(area)) for drug, each, code, area in self._candidates}
            )
        )

    def first(self, place: RowPlace, *, split: bool = False) -> tuple[int, _Row] | None:
        """The first row of the file that fits, with its number; `split` is the line's own mark."""
        best: _Candidate[_Row] | None = None
        institution_code, division, day, drug_code, identifier = place
        for drug_length, of_product, institution_length, division_length in self._shapes:
            key = (
                drug_code[:drug_length],
                identifier if of_product else "",
                institution_code[:institution_length],
                division[:division_length],
            )
            for candidate in self._candidates.get(key, ()):
                if best is not None and candidate.number >= best.number:
                    break
                if candidate.split and not split:
                    continue
                if not candidate.start_date <= day <= candidate.end_date:
                    continue
                if candidate.drug_pattern and not _fits(candidate.drug_pattern, drug_code):
                    continue
                pattern = candidate.institution_pattern
                if pattern and not _fits(pattern, institution_code):
                    continue
                best = candidate
                break
        return (best.number, best.row) if best is not None else None


def split_pattern(pattern: str) -> tuple[str, str]:
    """The fixed beginning of a pattern, and the pattern unless its fixed beginning is all it asks for."""
    prefix = re.split(r"[*?]", pattern, maxsplit=1)[0]
    return prefix, "" if pattern == prefix + "*" else pattern


def find_overlap(scopes: Iterable[Scope]) -> tuple[int, int] | None:
    """The numbers of two scopes that name one combination for one day, the later one of the file second.

    Only names that are written alike are told: a pattern may well hold what another row names whole.
    """
    named: dict[tuple[str, str, str, str], list[tuple[date, date, int]]] = {}
    for number, scope in enumerate(scopes):
        start, end = scope.start_date or date.min, scope.end_date or date.max
        for combination in product(
            scope.drug_codes or ("",),
            scope.identifiers or ("",),
            scope.institution_codes or ("",),
            scope.divisions or ("",),
        ):
            named.setdefault(combination, []).append((start, end, number))
    for periods in named.values():
        periods.sort()
        for before, after in pairwise(periods):
            if after[0] <= before[1]:
                first, second = sorted((before[2], after[2]))
                return first, second
    return None


def _fits(pattern: str, code: str) -> bool:
    """The code is what the pattern says: ? is any character, * at the end any rest."""
    if pattern.endswith("*"):
        pattern = pattern[:-1]
        code = code[: len(pattern)]
    return len(code) == len(pattern) and all(
        asked in ("?", given) for asked, given in zip(pattern, code, strict=True)
    )
