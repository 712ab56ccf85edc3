"""Screenings of a ledger, each in a folder of its own under `<data>/screening`.

`screening.json` in the folder says what was asked for and how it ended; as long as it says `running` somebody
should go on with it, however often whoever did so died. The results lie beside it (run.py).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path

from tracecode.errors import FieldInvalid, NotFound
from tracecode.screening.models import MODELS
from tracecode.screening.run import MEMORY_LIMIT, Progress, RunSummary, run_screening
from tracecode.screening.snapshot import drop_snapshot, snapshot_sequence, take_snapshot
from tracecode.screening.thresholds import Thresholds

__all__ = [
    "Run",
    "RunRequest",
    "RunState",
    "create_run",
    "end_run",
    "execute_run",
    "find_results",
    "list_runs",
    "read_run",
]

DIRECTORY = "screening"
"""The folder of all of them in the data folder."""
RECORD = "screening.json"

_NAME = re.compile(r"[0-9]{8}-[0-9]{8}(-[0-9]{1,6})?-([0-9]+)")


class RunState(StrEnum):
    """How far it is."""

    RUNNING = "running"
    """It waits for its turn, is under way, or was broken off."""
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is asked for."""

    first: date
    last: date
    division: str = ""
    models: tuple[str, ...] = ()
    """Empty = all."""


@dataclass(frozen=True, slots=True)
class Run:
    """One screening: its name, what was asked for, and what came of it."""

    name: str
    request: RunRequest
    state: RunState
    started: datetime
    ended: datetime | None = None
    error: str = ""
    leads: int = 0
    until_sequence: int = 0


def create_run(directory: Path, request: RunRequest, now: datetime) -> Run:
    """Note a screening of the ledger in a data folder, to be executed. Raises FieldInvalid."""
    _check(request)
    division = f"-{request.division}" if request.division else ""
    folder = directory / DIRECTORY
    folder.mkdir(mode=0o700, exist_ok=True)
    serials = [int(found[2]) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))]
    name = f"{request.first:%Y%m%d}-{request.last:%Y%m%d}{division}-{max(serials, default=0) + 1}"
    run = Run(name, request, RunState.RUNNING, now)
    (folder / name).mkdir(mode=0o700)
    _write(directory, run)
    return run


def read_run(directory: Path, name: str) -> Run:
    """A screening by its name. Raises NotFound."""
    if not _NAME.fullmatch(name):
        raise NotFound(f"there is no screening {name[:80]!r}")
    try:
        row = json.loads((directory / DIRECTORY / name / RECORD).read_text("utf-8"))
    except FileNotFoundError:
        raise NotFound(f"there is no screening {name!r}") from None
    asked = row["request"]
    return Run(
        name=name,
        request=RunRequest(
            date.fromisoformat(asked["first"]),
            date.fromisoformat(asked["last"]),
            asked["division"],
            tuple(asked["models"]),
        ),
        state=RunState(row["state"]),
        started=datetime.fromisoformat(row["started"]),
        ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
        error=row["error"],
        leads=row["leads"],
        until_sequence=row["until_sequence"],
    )


def list_runs(directory: Path) -> list[Run]:
    """All screenings, the newest first."""
    folder = directory / DIRECTORY
    if not folder.is_dir():
        return []
    names = [
        path.name for path in folder.iterdir() if (path / RECORD).exists() and _NAME.fullmatch(path.name)
    ]
    return [read_run(directory, name) for name in sorted(names, key=_serial, reverse=True)]


def find_results(directory: Path, name: str) -> Path:
    """The folder with the results of a screening. Raises NotFound where it is not done."""
    run = read_run(directory, name)
    if run.state is not RunState.DONE:
        raise NotFound(f"the screening {name} has no results: it is {run.state}")
    return directory / DIRECTORY / name


def execute_run(
    directory: Path,
    name: str,
    *,
    thresholds: Thresholds | None = None,
    care_homes: Path | None = None,
    memory_limit: str = MEMORY_LIMIT,
    threads: int | None = None,
    progress: Progress | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunSummary:
    """Do what was asked for, or go on with it, and note that it is done.

    Raises what `take_snapshot` and `run_screening` raise; then it is still to be done.
    """
    run = read_run(directory, name)
    out = directory / DIRECTORY / name
    asked, limits = run.request, thresholds or Thresholds.default()
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
        threads=threads,
        progress=progress,
    )
    done = replace(run, leads=len(summary.leads), until_sequence=snapshot_sequence(out))
    _end(directory, done, RunState.DONE, clock())
    return summary


def end_run(directory: Path, name: str, state: RunState, now: datetime, error: str = "") -> Run:
    """Note that a screening was cancelled or failed, if it is not over yet; how it stands then."""
    run = read_run(directory, name)
    if run.state is RunState.RUNNING:
        run = _end(directory, replace(run, error=error), state, now)
    return run


def _end(directory: Path, run: Run, state: RunState, now: datetime) -> Run:
    ended = replace(run, state=state, ended=now)
    # First what nobody needs any more: who is told of the end would else still see it.
    out = directory / DIRECTORY / run.name
    drop_snapshot(out)
    for name in ("spill", "models"):
        shutil.rmtree(out / name, ignore_errors=True)
    _write(directory, ended)
    return ended


def _check(request: RunRequest) -> None:
    if request.last < request.first:
        raise FieldInvalid("last_day", f"is {request.last}, before the first day, {request.first}")
    division = request.division
    if division and not (division.isascii() and division.isdigit() and len(division) <= 6):
        raise FieldInvalid("division_prefix", "is up to six digits")
    known = {model.name for model in MODELS}
    for name in request.models:
        if name not in known:
            raise FieldInvalid("models", f"there is no model {name!r}; there are {', '.join(sorted(known))}")


def _serial(name: str) -> int:
    return int(name.rpartition("-")[2])


def _write(directory: Path, run: Run) -> None:
    path = directory / DIRECTORY / run.name / RECORD
    begun = path.with_suffix(".new")
    row = asdict(run)
    begun.write_text(json.dumps(row, ensure_ascii=False, indent=1, default=_say), "utf-8")
    begun.replace(path)


def _say(value: object) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
