"""Long runs over a ledger, such as screenings and reports, each in a folder of its own.

A record in the folder says what was asked for and how it ended; as long as it says `running` somebody should
go on with it, however often whoever did so died. What came of it lies beside the record.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from tracecode.errors import DataLoss, NotFound

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
        renew: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row,
    ) -> None:
        """`folder` holds all of them. `kind` is the word for one, and names its record. The readers make of
        JSON what was written; `clean` takes from a run that ends what nobody needs any more; `renew` makes of
        a record as it was written once what is written now."""
        self._folder = folder
        self._kind = kind
        self._read_request = read_request
        self._read_result = read_result
        self._clean = clean
        self._renew = renew
        self._ending = threading.Lock()

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
        _sync_directory(self._folder)
        self._write(run)
        return run

    def read(self, name: str) -> Run[Request, Result]:
        """A run by its name. Raises NotFound, DataLoss."""
        if len(name) > NAME_BYTES_MAX or not _NAME.fullmatch(name):
            raise NotFound(f"there is no {self._kind} {name[:80]!r}")
        try:
            row = self._renew(json.loads(self._record_of(name).read_text("utf-8")))
            return Run(
                name=name,
                request=self._read_request(row["request"]),
                state=RunState(row["state"]),
                started=datetime.fromisoformat(row["started"]),
                ended=datetime.fromisoformat(row["ended"]) if row["ended"] else None,
                error=row["error"],
                result=None if row["result"] is None else self._read_result(row["result"]),
            )
        except FileNotFoundError:
            raise NotFound(f"there is no {self._kind} {name!r}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss(
                f"{self._record_of(name)} is no record of a {self._kind} ({type(error).__name__}); "
                f"remove its folder and ask for the {self._kind} again"
            ) from error

    def list_all(
        self, skip: Callable[[DataLoss | OSError], object] = lambda _error: None
    ) -> list[Run[Request, Result]]:
        """All runs that can be read, the newest first; `skip` is told of those that cannot."""
        if not self._folder.is_dir():
            return []
        found = []
        for path in self._folder.iterdir():
            if (name := _NAME.fullmatch(path.name)) and self._record_of(path.name).exists():
                found.append((int(name[1]), path.name))
        runs = []
        for _, each in sorted(found, reverse=True):
            try:
                runs.append(self.read(each))
            except NotFound:
                # It was removed meanwhile, for its age.
                pass
            except (DataLoss, OSError) as error:
                skip(error)
        return runs

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
        # Of two that end it at once, the second finds how the first did.
        with self._ending:
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
        with begun.open("w", encoding="utf-8") as file:
            json.dump(asdict(run), file, ensure_ascii=False, indent=1, default=_say)
            # Else the name may be durable before the content, and the record is empty after a power cut.
            file.flush()
            os.fsync(file.fileno())
        begun.replace(path)
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _say(value: object) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
