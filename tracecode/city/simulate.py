"""The city's files out of one number: catalogue, register, holds, documents and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from random import Random

from tracecode.catalogue import write_holds, write_institutions, write_products
from tracecode.city.city import DAY, City
from tracecode.city.days import open_shelves, plan_day
from tracecode.city.documents import Arrivals, Labels
from tracecode.city.frauds import plan_frauds
from tracecode.city.honest import plan_habits, prepare_habits
from tracecode.city.institutions import list_institutions, make_institutions
from tracecode.city.products import Drugs, list_products, make_drugs, make_packs, read_drugs
from tracecode.city.region import Region
from tracecode.city.schemes import plan_schemes

__all__ = ["CitySummary", "Frauds", "simulate"]

START = date(2026, 3, 1)
"""After 2026-01-01, since when all institutions collect all codes: no stock is exempt any more."""

INSTITUTIONS_MIN = 6
DAYS_MIN = 3

YEAR_END = date(2026, 12, 31)
YEAR_END_SHARE = 0.7
"""How much of a city with frauds of institutions lies before the last day of the year (ours)."""

REGIONS = 2
"""Divisions of a city with frauds of institutions: in different pooling areas."""


class Frauds(StrEnum):
    """What is wrong in a city: single lines, or what institutions and persons do for weeks."""

    LINE = "line"
    INSTITUTION = "institution"


@dataclass(frozen=True, slots=True)
class CitySummary:
    """What was written. `frauds` and `honest` count labels; documents include retries."""

    directory: Path
    institutions: int
    days: int
    products: int
    documents: int
    lines: int
    frauds: Mapping[str, int]
    honest: Mapping[str, int]


def simulate(
    seed: int,
    institutions: int,
    days: int,
    out: Path,
    catalogue: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    frauds: Frauds = Frauds.LINE,
    busyness: float = 1.0,
) -> CitySummary:
    """Write a city into the directory `out`: the same seed gives the same bytes.

    `catalogue` is a CSV file of drug codes (med_list_codg, generic_name); None makes them up. About 170
    lines an institution and day come out. `progress` is told (days done, days). Writes products.csv,
    institutions.csv, holds.csv, documents.jsonl and labels.jsonl. With frauds of institutions the year
    ends within the city, labels speak of institutions and persons, and care_homes.csv lists who is cared
    for. `busyness` multiplies how much is sold.

    Raises ValueError for a city too small to live, ImportInvalid for a catalogue that cannot be used,
    OSError when a file cannot be read or written.
    """
    if institutions < INSTITUTIONS_MIN or days < DAYS_MIN:
        raise ValueError(
            f"a city of {institutions} institutions and {days} days is too small; "
            f"it needs at least {INSTITUTIONS_MIN} institutions and {DAYS_MIN} days"
        )
    if institutions > 99_000:
        raise ValueError(f"{institutions} institutions are too many; a city has at most 99,000")
    rng = Random(seed)
    drugs = Drugs(read_drugs(catalogue) if catalogue is not None else make_drugs(rng))
    packs = make_packs(rng, drugs, 250 + 12 * institutions)
    by_institution = frauds is Frauds.INSTITUTION
    start = YEAR_END - timedelta(days=int(days * YEAR_END_SHARE)) if by_institution else START
    places = make_institutions(rng, packs, institutions, days, REGIONS if by_institution else None, busyness)
    out.mkdir(parents=True, exist_ok=True)
    products = write_products(out / "products.csv", list_products(packs))
    write_institutions(out / "institutions.csv", list_institutions(places, start))
    with Arrivals(out / "documents.jsonl") as arrivals, Labels(out / "labels.jsonl") as labels:
        city: City
        if by_institution:
            region = Region(rng, start, days, drugs, packs, places, arrivals, labels)
            plan_schemes(region)
            _write_care_homes(out / "care_homes.csv", region)
            city = region
        else:
            city = City(rng, start, days, drugs, packs, places, arrivals, labels)
            plan_frauds(city)
        prepare_habits(city)
        open_shelves(city)
        for day in range(days):
            plan_day(city, day)
            plan_habits(city, day)
            city.run(city.begin + (day + 1) * DAY)
            if progress is not None:
                progress(day + 1, days)
        city.run(city.end + 400 * DAY)
        write_holds(out / "holds.csv", city.holds)
        return CitySummary(
            directory=out,
            institutions=institutions,
            days=days,
            products=products,
            documents=arrivals.documents,
            lines=arrivals.lines,
            frauds=dict(sorted(labels.counts[True].items())),
            honest=dict(sorted(labels.counts[False].items())),
        )


def _write_care_homes(path: Path, region: Region) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("name,person_token\n")
        file.writelines(f"{name},{person}\n" for name, person in region.care_homes)
