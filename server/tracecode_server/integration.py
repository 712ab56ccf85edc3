"""The service's end of the process that keeps the log: started, started again, told to leave."""

from __future__ import annotations

import asyncio
import sys

import structlog

from tracecode_server.integrator_process import REFUSED
from tracecode_server.settings import Settings

RESTART_SECONDS_MIN = 1.0
RESTART_SECONDS_MAX = 60.0
# What it may take to publish what is left; the next start does what it did not.
LEAVE_SECONDS_MAX = 10.0


class Integration:
    """Keeps the process running beside the service. Without a key there is none."""

    def __init__(self, settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
        self._settings = settings
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._leaving = False

    def start(self) -> None:
        """Start the process, if the settings ask for one; returns at once."""
        if self._settings.proof_folder is not None:
            self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Let it publish what is sequenced, and wait for its end."""
        self._leaving = True
        if self._keeper is None:
            return
        if self._process is None:
            self._keeper.cancel()
        elif self._process.stdin is not None:
            self._process.stdin.close()
        _, late = await asyncio.wait({self._keeper}, timeout=LEAVE_SECONDS_MAX)
        if late:
            if self._process is not None:
                self._process.kill()
            self._keeper.cancel()
            await asyncio.wait({self._keeper})

    async def _keep(self) -> None:
        pause = RESTART_SECONDS_MIN
        while not self._leaving:
            begin = asyncio.get_running_loop().time()
            status = await self._run()
            self._process = None
            if self._leaving:
                return
            self._log.error("integrator_ended", status=status)
            if status == REFUSED:
                return
            lived = asyncio.get_running_loop().time() - begin
            pause = (
                RESTART_SECONDS_MIN if lived > RESTART_SECONDS_MAX else min(2 * pause, RESTART_SECONDS_MAX)
            )
            await asyncio.sleep(pause)

    async def _run(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "tracecode_server.integrator_process"),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self._settings.model_dump_json().encode() + b"\n")
        if self._leaving:
            self._process.stdin.close()
        return await self._process.wait()
