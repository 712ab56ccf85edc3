"""From the engine's thread to the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Crossing:
    """Brings what the engine's thread has finished into the event loop, a whole commit at one wake.

    asyncio's own way wakes the loop for each future, and waking it costs both threads more than the rest
    of a call. Belongs to the event loop that first uses it.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._finished: deque[tuple[Future[Any], asyncio.Future[Any], Callable[[Future[Any]], None]]] = (
            deque()
        )
        self._woken = False

    def bring(
        self, source: Future[Answer], count: Callable[[Future[Answer]], None]
    ) -> asyncio.Future[Answer]:
        """A future of the event loop that ends as the source does.

        Giving it up leaves the source alone: its end is told to `count` in the event loop all the same.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        target: asyncio.Future[Answer] = self._loop.create_future()
        source.add_done_callback(lambda finished: self._finish(finished, target, count))
        return target

    def _finish(
        self, source: Future[Any], target: asyncio.Future[Any], count: Callable[[Future[Any]], None]
    ) -> None:
        # Called in the engine's thread. What is finished is there before the flag is read, and the loop
        # lowers the flag before it looks: whichever comes first, nothing stays behind.
        self._finished.append((source, target, count))
        if not self._woken:
            self._woken = True
            assert self._loop is not None
            # A loop that is closed has nobody left who waits.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._land)

    def _land(self) -> None:
        self._woken = False
        while self._finished:
            source, target, count = self._finished.popleft()
            count(source)
            if target.done():
                continue
            error = source.exception()
            if error is None:
                target.set_result(source.result())
            else:
                target.set_exception(error)
                # It was counted; a stream that is given up leaves it unread, and that is nothing to log.
                target.exception()
