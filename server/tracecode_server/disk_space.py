"""Watches the room on the disk of the ledger: warns, then stops the writing, and lets it go on.

A write that meets a full disk fails; one that is not tried leaves room for what was begun, for logs, and for
somebody to look. What died while reading is cleared away on the same timer, since it keeps old pages in use.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import structlog

from tracecode.errors import EngineStopped
from tracecode.ledger import Ledger
from tracecode_server.settings import Settings

POLL_SECONDS = 1.0
READERS_EVERY_POLLS = 30
# Room that comes and goes by a little must not open and shut the service each second.
BACK_SHARE = 1.05


def count_free_bytes(directory: Path) -> int:
    """The room on the disk of a folder, for whoever is not root; 0 where it cannot be seen."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return 0


class DiskSpace:
    """The room on the disk of an open ledger, and what follows from it."""

    def __init__(
        self, ledger: Ledger, settings: Settings, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._ledger = ledger
        self._directory = settings.data_directory
        self._low = settings.disk_free_bytes_low
        self._min = settings.disk_free_bytes_min
        self._log = log
        self._warned = False

    async def watch(self) -> None:
        """Look now and then until cancelled; at once for a ledger that keeps nothing on disk."""
        if self._directory is None:
            return
        polls = 0
        while True:
            self.judge(count_free_bytes(self._directory))
            if polls % READERS_EVERY_POLLS == 0:
                await self._free_readers()
            polls += 1
            await asyncio.sleep(POLL_SECONDS)

    async def _free_readers(self) -> None:
        try:
            dead = await asyncio.to_thread(self._ledger.free_dead_readers)
        except EngineStopped:
            return
        except Exception as error:
            # Whatever it is, the room on the disk is looked at all the same.
            self._log.error("readers_not_freed", error=type(error).__name__, message=str(error))
            return
        if dead:
            self._log.warning("dead_readers_freed", readers=dead)

    def judge(self, free_bytes: int) -> None:
        """Warn once below the one bound, refuse to write below the other, and take both back."""
        if free_bytes < self._low and not self._warned:
            self._warned = True
            self._log.warning("disk_space_low", free_bytes=free_bytes, disk_free_bytes_low=self._low)
        elif free_bytes >= self._low * BACK_SHARE:
            self._warned = False
        if free_bytes < self._min and not self._ledger.refusal:
            self._ledger.refusal = (
                f"{free_bytes} bytes are free on the disk of the ledger, {self._min} must be to write;"
                " nothing was kept, free some and send it again"
            )
            self._log.error("writing_refused", free_bytes=free_bytes, disk_free_bytes_min=self._min)
        elif self._ledger.refusal and free_bytes >= self._min * BACK_SHARE:
            self._ledger.refusal = ""
            self._log.info("writing_resumed", free_bytes=free_bytes)
