"""Threads for questions that may take longer than the event loop can be away.

Peers take turns for them, so one that asks for many long histories waits for itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

from tracecode.errors import Overloaded
from tracecode.fair_share import FairShare, TimeShare, Turns
from tracecode_server.method import PEER

Answer = TypeVar("Answer")

# Questions that wait for a thread. More would only be answered after their deadline.
WAITING_MAX = 256
# What threads may take of a processor while several peers ask, before those who take most of it have to wait.
THREADS_SHARE = 0.3
# When they may ask again: so that all that one host may have in flight are few a second.
SPENT_RETRY_SECONDS = 2.0


class ReadPool:
    """A few threads and a queue before them that is bounded and shared fairly."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tracecode-read")
        self._share = FairShare(threads + WAITING_MAX)
        self._turns: Turns[tuple[Future[Any], Callable[[], None]]] = Turns()
        self._work = TimeShare(THREADS_SHARE)
        self._lock = Lock()

    async def run(self, ask: Callable[..., Answer], *arguments: object) -> Answer:
        """The answer of `ask(*arguments)`, given by a thread. Raises Overloaded when this peer has too many
        questions in the queue.

        A question whose caller has given up is not asked, unless a thread has begun with it.
        """
        peer = PEER.get("")
        future: Future[Answer] = Future()

        def answer() -> None:
            begin = time.thread_time()
            try:
                if future.set_running_or_notify_cancel():
                    future.set_result(ask(*arguments))
            except BaseException as error:
                future.set_exception(error)
            finally:
                with self._lock:
                    self._work.charge(peer, time.thread_time() - begin)

        question = (future, answer)

        def leave(_future: Future[Answer]) -> None:
            # Called by the thread, or by the event loop for a question that was taken back.
            with self._lock:
                self._share.give_back(peer, 1)
                if future.cancelled():
                    self._turns.discard(peer, question)

        with self._lock:
            if self._work.is_spent(peer):
                raise Overloaded(
                    "others ask, too, and this host's questions take long; ask later", SPENT_RETRY_SECONDS
                )
            if not self._share.take(peer, 1):
                raise Overloaded(f"{self._share.total} questions are waiting already; ask again later")
            self._turns.put(peer, question)
        future.add_done_callback(leave)
        # Each thread takes whose turn it is when it is free.
        self._pool.submit(self._take_turn)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what runs and drop what waits."""
        self._pool.shutdown(cancel_futures=True)
        while self._turns:
            future, _ = self._turns.take()
            future.cancel()

    def _take_turn(self) -> None:
        with self._lock:
            # As many turns were asked for as questions, also for those that were taken back.
            if not self._turns:
                return
            _, answer = self._turns.take()
        answer()
