"""The runs of one kind, executed one after another, each in a process; what is under way is known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from tracecode.errors import Overloaded
from tracecode.runs import Run, Runs, RunState

Request = TypeVar("Request")
Result = TypeVar("Result")

WAITING_MAX = 10
"""Runs of a kind that wait for their turn; each takes a core and its memory for minutes."""
WAITING_RETRY_SECONDS = 60.0
ERROR_BYTES_MAX = 4_000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, as its process says."""

    done: int = 0
    total: int = 0
    step: str = ""


class RunQueue(Generic[Request, Result]):
    """Belongs to one event loop. A run that is under way when it ends is executed again when it begins."""

    def __init__(self, runs: Runs[Request, Result], arguments: Callable[[str], list[str]]) -> None:
        """`arguments` are the module that executes a run, by its name, and what it is told. It says on
        stdout how far it is, as run_process.py has it."""
        self.runs = runs
        self._arguments = arguments
        self._worker: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._current = ""
        self._cancelled = ""
        self._process: asyncio.subprocess.Process | None = None
        self._said: dict[str, object] = {}

    def start(self) -> None:
        """Go on with what was under way, and do what is asked for."""
        self._wake.set()
        self._worker = asyncio.create_task(self._work())

    def stop(self) -> None:
        """End the process of the run under way; it goes on at the next start. Safe to call twice."""
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None
        self._end_process()

    def put(
        self, is_same: Callable[[Request], bool], create: Callable[[], Run[Request, Result]]
    ) -> Run[Request, Result]:
        """The run under way that is the same, or one that is created. Raises Overloaded."""
        # Nothing in between gives way, so that of two equal questions at once the second finds the first.
        under_way = self._list_under_way()
        run = next((run for run in under_way if is_same(run.request)), None)
        if run is None:
            if len(under_way) >= WAITING_MAX:
                raise Overloaded(
                    f"{len(under_way)} others are waiting; cancel one or wait", WAITING_RETRY_SECONDS
                )
            run = create()
        self._wake.set()
        return run

    async def cancel(self, name: str) -> Run[Request, Result]:
        """End a run, if it has not ended; how it stands then. Raises NotFound."""
        run = self.runs.read(name)
        if run.state is not RunState.RUNNING:
            return run
        if self._current == name:
            self._cancelled = name
            process = self._process
            self._end_process()
            if process is not None:
                await process.wait()
        return self.runs.end(name, RunState.CANCELLED, datetime.now(UTC))

    def progress(self, run: Run[Request, Result]) -> Progress:
        """How far a run is; nothing of one that is not being executed."""
        if run.name != self._current or run.state is not RunState.RUNNING:
            return Progress()
        said = self._said
        return Progress(
            int(str(said.get("done", 0))), int(str(said.get("total", 0))), str(said.get("step", ""))
        )

    def _list_under_way(self) -> list[Run[Request, Result]]:
        return [run for run in self.runs.list_all() if run.state is RunState.RUNNING]

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while waiting := self._list_under_way():
                # The oldest first.
                await self._execute(waiting[-1].name)

    async def _execute(self, name: str) -> None:
        """Let a process do it, and note why it failed if it did."""
        self._current, self._said, self._process = name, {}, None
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", *self._arguments(name)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
            if name == self._cancelled:
                # It was cancelled while its process was made.
                self._end_process()
            assert process.stdout is not None
            async for line in process.stdout:
                # What a library says there is not for us.
                if line.startswith(b"{"):
                    self._said = json.loads(line)
            status = await process.wait()
            error = str(self._said.get("error", f"its process ended with status {status}"))
        except OSError as problem:
            error = str(problem)
        finally:
            self._current = ""
        # Where it did what it was asked, it noted that itself.
        if name == self._cancelled:
            self.runs.end(name, RunState.CANCELLED, datetime.now(UTC))
        else:
            self.runs.end(name, RunState.FAILED, datetime.now(UTC), error=error[:ERROR_BYTES_MAX])

    def _end_process(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # It keeps what it has at every step, or begins anew, and asks nobody when it ends.
                self._process.kill()
