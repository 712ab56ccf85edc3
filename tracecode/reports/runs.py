"""Reports that a service makes, each in a folder of its own under `<data>/reports` (tracecode/runs.py); the
files lie in `files` beside the record.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tracecode.errors import FieldInvalid, NotFound
from tracecode.reports.export import FORMATS, LANGUAGES, export_report
from tracecode.reports.period import Period
from tracecode.reports.report import MEMORY_LIMIT, make_report
from tracecode.runs import Run, Runs, RunState
from tracecode.spill import SPILL_BYTES_MAX

DIRECTORY = "reports"
"""The folder of all of them in the data folder."""
FILES, SPILL = "files", "spill"
PERIOD_BYTES_MAX = 7
DIVISION_DIGITS_MAX = 6

Progress = Callable[[int, int, str], object]


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What is asked for."""

    period: str
    division: str = ""
    formats: tuple[str, ...] = ()
    """Empty = all."""
    language: str = "zh"
    as_of: int = 0
    """0 = the last entry."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, and by whom: others that ask for the same get the same."""

    report: ReportRequest
    actor: str


@dataclass(frozen=True, slots=True)
class MadeFile:
    """One file of a report."""

    name: str
    format: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it."""

    as_of: int
    files: tuple[MadeFile, ...]


ReportRun = Run[Asked, Made]
ReportRuns = Runs[Asked, Made]


def open_runs(directory: Path) -> ReportRuns:
    """The reports of the ledger in a data folder."""
    return Runs(directory / DIRECTORY, "report", _read_asked, _read_made, _clean)


def check_request(request: ReportRequest) -> None:
    """Raises FieldInvalid for what no report can be made of."""
    if len(request.period) > PERIOD_BYTES_MAX:
        raise FieldInvalid("period", "is a month such as 2026-03 or a quarter such as 2026Q1")
    try:
        Period.parse(request.period)
    except ValueError as error:
        raise FieldInvalid("period", str(error)) from None
    division = request.division
    if division and not (division.isascii() and division.isdigit() and len(division) <= DIVISION_DIGITS_MAX):
        raise FieldInvalid("division_prefix", "is up to six digits")
    if request.language not in LANGUAGES:
        raise FieldInvalid("language_code", f"is {' or '.join(LANGUAGES)}")


def create_run(directory: Path, request: ReportRequest, actor: str, now: datetime) -> ReportRun:
    """Note a report of the ledger in a data folder, to be made. Raises FieldInvalid."""
    check_request(request)
    return open_runs(directory).create((request.period, request.division), Asked(request, actor), now)


def execute_run(
    directory: Path,
    name: str,
    *,
    memory_limit: str = MEMORY_LIMIT,
    spill_bytes_max: int = SPILL_BYTES_MAX,
    threads: int | None = None,
    progress: Progress = lambda _done, _total, _step: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Made:
    """Make what was asked for, from the beginning, and note that it is done.

    Raises what `make_report` and `export_report` raise; then it is still to be done.
    """
    runs = open_runs(directory)
    asked, folder = runs.read(name).request.report, runs.folder_of(name)
    formats = [name for name in FORMATS if not asked.formats or name in asked.formats]
    for part in (FILES, SPILL):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(mode=0o700)
    files: list[MadeFile] = []
    progress(0, 1 + len(formats), "count")
    with make_report(
        directory,
        Period.parse(asked.period),
        division=asked.division,
        as_of=asked.as_of,
        memory_limit=memory_limit,
        spill_bytes_max=spill_bytes_max,
        threads=threads,
        scratch=folder / SPILL,
    ) as report:
        for done, format_name in enumerate(formats, 1):
            progress(done, 1 + len(formats), format_name)
            for path in export_report(report, folder / FILES, [format_name], language=asked.language):
                files.append(_describe(path, format_name))
        made = Made(report.as_of, tuple(files))
    runs.end(name, RunState.DONE, clock(), result=made)
    return made


def find_file(directory: Path, name: str, file_name: str) -> tuple[MadeFile, Path]:
    """A file of a report that is done, and where it lies. Raises NotFound."""
    runs = open_runs(directory)
    folder, result = runs.find_results(name), runs.read(name).result
    for file in result.files if result is not None else ():
        if file.name == file_name:
            return file, folder / FILES / file.name
    raise NotFound(f"the report {name} has no file {file_name[:80]!r}")


def _describe(path: Path, format_name: str) -> MadeFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return MadeFile(path.name, format_name, path.stat().st_size, digest)


def _clean(folder: Path, state: RunState) -> None:
    shutil.rmtree(folder / SPILL, ignore_errors=True)
    if state is not RunState.DONE:
        shutil.rmtree(folder / FILES, ignore_errors=True)


def _read_asked(row: dict[str, Any]) -> Asked:
    report = row["report"]
    return Asked(ReportRequest(**{**report, "formats": tuple(report["formats"])}), row["actor"])


def _read_made(row: dict[str, Any]) -> Made:
    return Made(row["as_of"], tuple(MadeFile(**file) for file in row["files"]))
