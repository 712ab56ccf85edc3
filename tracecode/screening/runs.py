"""Screenings of a ledger, each in a folder of its own under `<data>/screening` (tracecode/runs.py); the
results lie beside the record (run.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tracecode.errors import FieldInvalid
from tracecode.runs import Run, Runs, RunState
from tracecode.screening.models import MODELS
from tracecode.screening.run import MEMORY_LIMIT, Progress, RunSummary, run_screening
from tracecode.screening.snapshot import drop_snapshot, snapshot_sequence, take_snapshot
from tracecode.screening.thresholds import Thresholds
from tracecode.spill import SPILL_BYTES_MAX

__all__ = [
    "Found",
    "RunRequest",
    "Screening",
    "Screenings",
    "check_request",
    "create_run",
    "execute_run",
    "open_runs",
]

DIRECTORY = "screening"
"""The folder of all of them in the data folder."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is asked for."""

    first: date
    last: date
    division: str = ""
    models: tuple[str, ...] = ()
    """Empty = all."""


@dataclass(frozen=True, slots=True)
class Found:
    """How much came of it."""

    leads: int
    until_sequence: int


Screening = Run[RunRequest, Found]
Screenings = Runs[RunRequest, Found]


def open_runs(directory: Path) -> Screenings:
    """The screenings of the ledger in a data folder."""
    return Runs(directory / DIRECTORY, "screening", _read_request, lambda row: Found(**row), _clean, _renew)


def create_run(directory: Path, request: RunRequest, now: datetime) -> Screening:
    """Note a screening of the ledger in a data folder, to be executed. Raises FieldInvalid."""
    check_request(request)
    stem = (f"{request.first:%Y%m%d}", f"{request.last:%Y%m%d}", request.division)
    return open_runs(directory).create(stem, request, now)


def execute_run(
    directory: Path,
    name: str,
    *,
    thresholds: Thresholds | None = None,
    care_homes: Path | None = None,
    memory_limit: str = MEMORY_LIMIT,
    spill_bytes_max: int = SPILL_BYTES_MAX,
    threads: int | None = None,
    progress: Progress | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunSummary:
    """Do what was asked for, or go on with it, and note that it is done.

    Raises what `take_snapshot` and `run_screening` raise; then it is still to be done.
    """
    runs = open_runs(directory)
    asked, out = runs.read(name).request, runs.folder_of(name)
    limits = thresholds or Thresholds.default()
    relations = take_snapshot(
        directory,
        out,
        asked.first,
        asked.last,
        lookback_days=limits.lookback_days,
        division=asked.division,
        care_homes=care_homes,
    )
    summary = run_screening(
        relations,
        out,
        asked.first,
        asked.last,
        division=asked.division,
        thresholds=limits,
        models=[model for model in MODELS if not asked.models or model.name in asked.models],
        memory_limit=memory_limit,
        spill_bytes_max=spill_bytes_max,
        threads=threads,
        progress=progress,
    )
    found = Found(leads=len(summary.leads), until_sequence=snapshot_sequence(out))
    runs.end(name, RunState.DONE, clock(), result=found)
    return summary


def _clean(out: Path, _state: RunState) -> None:
    drop_snapshot(out)
    for name in ("spill", "models"):
        shutil.rmtree(out / name, ignore_errors=True)


def _renew(row: dict[str, Any]) -> dict[str, Any]:
    """A record from before results had a place of their own: they stood beside the request."""
    if "result" in row:
        return row
    found = {"leads": row["leads"], "until_sequence": row["until_sequence"]}
    return {**row, "result": found if row["state"] == RunState.DONE else None}


def _read_request(row: dict[str, Any]) -> RunRequest:
    return RunRequest(
        date.fromisoformat(row["first"]),
        date.fromisoformat(row["last"]),
        row["division"],
        tuple(row["models"]),
    )


def check_request(request: RunRequest) -> None:
    """Raises FieldInvalid for what cannot be screened."""
    if request.last < request.first:
        raise FieldInvalid("last_day", f"is {request.last}, before the first day, {request.first}")
    division = request.division
    if division and not (division.isascii() and division.isdigit() and len(division) <= 6):
        raise FieldInvalid("division_prefix", "is up to six digits")
    known = {model.name for model in MODELS}
    for name in request.models:
        if name not in known:
            raise FieldInvalid(
                "models", f"there is no model {name[:80]!r}; there are {', '.join(sorted(known))}"
            )
