"""Threads for questions that may take longer than the event loop can be away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from tracecode.errors import Overloaded

Answer = TypeVar("Answer")

# Questions that wait for a thread, for each thread. More would only be answered after their deadline.
WAITING_PER_THREAD_MAX = 64


class ReadPool:
    """A few threads and a bounded queue before them."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tracecode-read")
        self._open_max = threads * (1 + WAITING_PER_THREAD_MAX)
        self._open = 0
        self._open_lock = Lock()

    async def run(self, ask: Callable[..., Answer], *arguments: object) -> Answer:
        """The answer of `ask(*arguments)`, given by a thread. Raises Overloaded when the queue is full.

        A caller that gives up takes its question out of the queue, unless a thread has begun with it.
        """
        with self._open_lock:
            if self._open >= self._open_max:
                raise Overloaded(f"{self._open} questions are waiting already; ask again later")
            self._open += 1
        future = self._pool.submit(ask, *arguments)
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _future: Future[Answer]) -> None:
        # Called by the thread, or by the event loop for a question that was taken back.
        with self._open_lock:
            self._open -= 1

    def close(self) -> None:
        """Wait for what runs and drop what waits."""
        self._pool.shutdown(cancel_futures=True)
