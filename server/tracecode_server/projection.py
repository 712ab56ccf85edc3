"""The process that keeps the views of the ledger that is served, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

import structlog

# A projector that cannot live is started again after so long, twice as long after each time it soon ends.
RESTART_SECONDS_MIN = 0.5
RESTART_SECONDS_MAX = 30.0
# One that lived for so long began well.
GOOD_LIFE_SECONDS = 60.0
# What it may take to write its files when it is told to end.
LEAVE_SECONDS_MAX = 10.0


class Projection:
    """The projector's process. Belongs to one event loop."""

    def __init__(self, directory: Path, log: structlog.typing.FilteringBoundLogger) -> None:
        self._directory = directory
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Keep views from now on; raises nothing, what goes wrong stands in the log."""
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        wait_seconds = RESTART_SECONDS_MIN
        while True:
            begun = time.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "tracecode_server.projector_process", str(self._directory)),
                stdin=asyncio.subprocess.DEVNULL,
                # Else Ctrl-C in a terminal would reach it before us.
                start_new_session=True,
            )
            status = await self._process.wait()
            if time.monotonic() - begun >= GOOD_LIFE_SECONDS:
                wait_seconds = RESTART_SECONDS_MIN
            self._log.error("projector_ended", status=status, again_seconds=wait_seconds)
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, RESTART_SECONDS_MAX)

    async def stop(self) -> None:
        """Let it write what it has, and end it. Safe to call twice."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        await asyncio.wait({self._keeper})
        self._keeper = None
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(LEAVE_SECONDS_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
