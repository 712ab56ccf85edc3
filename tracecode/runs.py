"""Long runs over a ledger, such as screenings and reports, each in a folder of its own.

A record in the folder says what was asked for and how it ended; as long as it says `running` somebody should
go on with it, however often whoever did so died. What came of it lies beside the record.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from tracecode.errors import NotFound

Request = TypeVar("Request")
Result = TypeVar("Result")

_NAME = re.compile(r"[0-9]+(?:Q[1-4])?(?:-[0-9]+)*-([0-9]+)", re.ASCII)
NAME_BYTES_MAX = 64


class RunState(StrEnum):
    """How far it is."""

    RUNNING = "running"
    """It waits for its turn, is under way, or was broken off."""
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Run(Generic[Request, Result]):
    """One run: its name, what was asked for, and what came of it."""

    name: str
    request: Request
    state: RunState
    started: datetime
    ended: datetime | None = None
    error: str = ""
    result: Result | None = None
    """Once it is done."""


class Runs(Generic[Request, Result]):
    """The runs of one kind in a data folder. Requests and results are dataclasses."""

    def __init__(
        self,
        folder: Path,
        kind: str,
        read_request: Callable[[dict[str, Any]], Request],
        read_result: Callable[[dict[str, Any]], Result],
        clean: Callable[[Path, RunState], None],
    ) -> None:
        """`folder` holds all of them. `kind` is the word for one, and names its record. The readers make of
        JSON what was written; `clean` takes from a run that ends what nobody needs any more."""
        self._folder = folder
        self._kind = kind
        self._read_request = read_request
        self._read_result = read_result
        self._clean = clean

    def folder_of(self, name: str) -> Path:
        """Where a run has its files."""
        return self._folder / name

    def create(self, stem: Iterable[str], request: Request, now: datetime) -> Run[Request, Result]:
        """Note a run to be executed. Its name is `stem`, without what is empty, and a number."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        serials = [int(found[1]) for path in self._folder.iterdir() if (found := _NAME.fullmatch(path.name))]
        name = "-".join([*filter(None, stem), str(max(serials, default=0) + 1)])
        run: Run[Request, Result] = Run(name, request, RunState.RUNNING, now)
        self.folder_of(name).mkdir(mode=0o700)
        self._write(run)
        return run

    def read(self, name: str) -> Run[Request, Result]:
        """A run by its name. Raises NotFound."""
        if len(name) > NAME_BYTES_MAX or not _NAME.fullmatch(name):
            raise NotFound(f"there is no {self._kind} {name[:80]!r}")
        try:
            row = json.loads(self._record_of(name).read_text("utf-8"))
        except FileNotFoundError:
            raise NotFound(f"there is no {self._kind} {name!r}") from None
        return Run(
            name=name,
            request=self._read_request(row["request"]),
            state=RunState(row["state"]),
            started=datetime.fromisoformat(row["started"]),
            ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
            error=row["error"],
            result=None if row["result"] is None else self._read_result(row["result"]),
        )

    def list_all(self) -> list[Run[Request, Result]]:
        """All runs, the newest first."""
        if not self._folder.is_dir():
            return []
        found = []
        for path in self._folder.iterdir():
            if (name := _NAME.fullmatch(path.name)) and self._record_of(path.name).exists():
                found.append((int(name[1]), path.name))
        return [self.read(name) for _, name in sorted(found, reverse=True)]

    def find_results(self, name: str) -> Path:
        """The folder with the results of a run. Raises NotFound where it is not done."""
        run = self.read(name)
        if run.state is not RunState.DONE:
            raise NotFound(f"the {self._kind} {name} has no results: it is {run.state}")
        return self.folder_of(name)

    def end(
        self, name: str, state: RunState, now: datetime, *, error: str = "", result: Result | None = None
    ) -> Run[Request, Result]:
        """Note how a run ended, if it is not over yet; how it stands then."""
        run = self.read(name)
        if run.state is not RunState.RUNNING:
            return run
        # First what nobody needs any more: who is told of the end would else still see it.
        self._clean(self.folder_of(name), state)
        ended = replace(run, state=state, ended=now, error=error, result=result)
        self._write(ended)
        return ended

    def drop_old(self, kept_max: int) -> None:
        """Remove the oldest of those that have ended, but for so many."""
        ended = [run for run in self.list_all() if run.state is not RunState.RUNNING]
        for run in ended[kept_max:]:
            shutil.rmtree(self.folder_of(run.name), ignore_errors=True)

    def _record_of(self, name: str) -> Path:
        return self.folder_of(name) / f"{self._kind}.json"

    def _write(self, run: Run[Request, Result]) -> None:
        path = self._record_of(run.name)
        begun = path.with_suffix(".new")
        begun.write_text(json.dumps(asdict(run), ensure_ascii=False, indent=1, default=_say), "utf-8")
        begun.replace(path)


def _say(value: object) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
