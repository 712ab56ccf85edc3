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

import structlog

from tracecode.errors import Overloaded, TracecodeError
from tracecode.runs import Run, Runs, RunState
from tracecode_server.log import list_frames

Request = TypeVar("Request")
Result = TypeVar("Result")

WAITING_MAX = 10
"""Runs of a kind that wait for their turn; each takes a core and its memory for minutes."""
WAITING_RETRY_SECONDS = 60.0
ERROR_BYTES_MAX = 4_000
LINE_BYTES_MAX = 2**20
"""Of what a process says; a longer line is none of ours."""
_SAID = ({"done", "total", "step"}, {"error"})


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, as its process says."""

    done: int = 0
    total: int = 0
    step: str = ""


class RunQueue(Generic[Request, Result]):
    """Belongs to one event loop. A run that is under way when it ends is executed again when it begins."""

    def __init__(
        self,
        runs: Runs[Request, Result],
        arguments: Callable[[str], list[str]],
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        """`arguments` are the module that executes a run, by its name, and what it is told. It says on
        stdout how far it is, as run_process.py has it."""
        self.runs = runs
        self._arguments = arguments
        self._log = log
        # By name, the oldest first: the loop does not wait for the disk to know them.
        self._under_way: dict[str, Run[Request, Result]] = {}
        self._filled = asyncio.Event()
        self._putting = asyncio.Lock()
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

    async def put(
        self, is_same: Callable[[Request], bool], create: Callable[[], Run[Request, Result]]
    ) -> Run[Request, Result]:
        """The run under way that is the same, or one that is created. Raises Overloaded."""
        # A caller who leaves meanwhile leaves no run behind that nobody knows.
        return await asyncio.shield(self._put(is_same, create))

    async def _put(
        self, is_same: Callable[[Request], bool], create: Callable[[], Run[Request, Result]]
    ) -> Run[Request, Result]:
        await self._filled.wait()
        # One at a time, so that of two equal questions at once the second finds the first.
        async with self._putting:
            for run in list(self._under_way.values()):
                if is_same(run.request) and await self._is_under_way(run.name):
                    return run
            if len(self._under_way) >= WAITING_MAX:
                raise Overloaded(
                    f"{len(self._under_way)} others are waiting; cancel one or wait", WAITING_RETRY_SECONDS
                )
            run = await asyncio.to_thread(create)
            self._under_way[run.name] = run
            self._wake.set()
            return run

    async def cancel(self, name: str) -> Run[Request, Result]:
        """End a run, if it has not ended; how it stands then. Raises NotFound."""
        run = await asyncio.to_thread(self.runs.read, name)
        if run.state is not RunState.RUNNING:
            return run
        if self._current == name:
            self._cancelled = name
            process = self._process
            self._end_process()
            if process is not None:
                await process.wait()
        else:
            self._under_way.pop(name, None)
        return await self._end(name, RunState.CANCELLED)

    def progress(self, run: Run[Request, Result]) -> Progress:
        """How far a run is; nothing of one that is not being executed."""
        if run.name != self._current or run.state is not RunState.RUNNING:
            return Progress()
        said = self._said
        return Progress(
            int(str(said.get("done", 0))), int(str(said.get("total", 0))), str(said.get("step", ""))
        )

    async def _work(self) -> None:
        await self._fill()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._under_way:
                name = next(iter(self._under_way))
                try:
                    # It may be cancelled while it is looked for.
                    if await self._is_under_way(name) and name in self._under_way:
                        await self._execute(name)
                except Exception as error:
                    # Whatever is wrong with one, the others are executed.
                    self._end_process()
                    await self._give_up(name, error)
                self._under_way.pop(name, None)

    async def _fill(self) -> None:
        """Know what was under way when the service stopped."""
        try:
            runs = await asyncio.to_thread(self.runs.list_all, self._skip)
            self._under_way = {run.name: run for run in reversed(runs) if run.state is RunState.RUNNING}
        except Exception as error:
            self._skip(error)
        self._filled.set()

    def _skip(self, error: Exception) -> None:
        self._log.error("run_not_read", error=type(error).__name__, message=str(error))

    async def _is_under_way(self, name: str) -> bool:
        """Whether it has not ended meanwhile, as its record has it."""
        try:
            return (await asyncio.to_thread(self.runs.read, name)).state is RunState.RUNNING
        except (TracecodeError, OSError) as error:
            self._skip(error)
            return False

    async def _give_up(self, name: str, error: Exception) -> None:
        self._log.error("run_failed", run=name, error=type(error).__name__, frames=list_frames(error))
        try:
            await self._end(name, RunState.FAILED, f"{type(error).__name__}: {error}")
        except Exception as again:
            # It stays as it is noted, and is tried again at the next start.
            self._log.error("run_not_ended", run=name, error=type(again).__name__, frames=list_frames(again))

    async def _end(self, name: str, state: RunState, error: str = "") -> Run[Request, Result]:
        # What it has on disk may be gigabytes, and is removed.
        return await asyncio.to_thread(
            self.runs.end, name, state, datetime.now(UTC), error=error[:ERROR_BYTES_MAX]
        )

    async def _execute(self, name: str) -> None:
        """Let a process do it, and note why it failed if it did."""
        self._current, self._said, self._process = name, {}, None
        try:
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", *self._arguments(name)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX,
            )
            if name == self._cancelled:
                # It was cancelled while its process was made.
                self._end_process()
            assert process.stdout is not None
            while not process.stdout.at_eof():
                # What a library says there is not for us, however long it is.
                with contextlib.suppress(ValueError, RecursionError):
                    said = json.loads(await process.stdout.readline())
                    if isinstance(said, dict) and said.keys() in _SAID:
                        self._said = said
            status = await process.wait()
            error = str(self._said.get("error", f"its process ended with status {status}"))
        except OSError as problem:
            error = str(problem)
        finally:
            self._current = ""
        # Where it did what it was asked, it noted that itself.
        if name == self._cancelled:
            await self._end(name, RunState.CANCELLED)
        else:
            await self._end(name, RunState.FAILED, error)

    def _end_process(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # It keeps what it has at every step, or begins anew, and asks nobody when it ends.
                self._process.kill()
