"""Documents of unary calls that come together go to the ledger together.

A commit costs the processor more than judging a document does, so calls are worth gathering. None waits by
the clock: who comes while documents are away at the ledger goes with the next ones, as soon as those are
back; when none are away, what is there is handed over once two turns of the event loop, some microseconds
each, bring nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

# Handed over at once when so many, or so much, came together.
DOCUMENTS_MAX = 64
BYTES_MAX = 1024 * 1024
# Turns without a newcomer after which nobody is waited for: gRPC's threads hand calls over between turns, one
# at a time.
QUIET_TURNS = 2

Reply = bytes | BaseException | None


class Company:
    """Gathers requests of one kind. Belongs to one event loop."""

    def __init__(
        self, submit: Callable[[bytes, int], asyncio.Future[list[bytes | Exception]] | None]
    ) -> None:
        """`submit` takes a message of so many documents; it gives None for one that needs another way."""
        self._submit = submit
        self._requests: list[bytes] = []
        self._waiting: list[asyncio.Future[Reply]] = []
        self._bytes = 0
        self._seen = 0
        self._quiet_turns = 0
        self._looking = False
        self._away = 0

    def add(self, request: bytes) -> asyncio.Future[Reply]:
        """The reply to a request as it stands in a message, or None if it needs another way."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._requests.append(request)
        self._waiting.append(future)
        self._bytes += len(request)
        if len(self._requests) >= DOCUMENTS_MAX or self._bytes >= BYTES_MAX:
            self._hand_over()
        else:
            self._begin_to_look()
        return future

    def _begin_to_look(self) -> None:
        if self._requests and not self._away and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        if self._seen == len(self._requests):
            self._quiet_turns += 1
        else:
            self._seen = len(self._requests)
            self._quiet_turns = 0
        if self._requests and self._quiet_turns < QUIET_TURNS:
            asyncio.get_running_loop().call_soon(self._look)
            return
        self._looking = False
        if self._requests:
            self._hand_over()

    def _hand_over(self) -> None:
        requests, waiting = self._requests, self._waiting
        self._requests, self._waiting, self._bytes = [], [], 0
        self._seen = self._quiet_turns = 0
        self._hand_over_together(requests, waiting)

    def _hand_over_together(self, requests: list[bytes], waiting: list[asyncio.Future[Reply]]) -> None:
        try:
            replies = self._submit(b"".join(requests), len(requests))
        except Exception as error:
            answer(waiting, [error] * len(waiting))
            return
        if replies is not None:
            self._away += 1
            replies.add_done_callback(lambda done: self._land(done, waiting))
        elif len(requests) == 1:
            answer(waiting, [None])
        else:
            # One of them needs another way; the others need not go it.
            for request, future in zip(requests, waiting, strict=True):
                self._hand_over_together([request], [future])

    def _land(
        self, done: asyncio.Future[list[bytes | Exception]], waiting: list[asyncio.Future[Reply]]
    ) -> None:
        # Each gets its reply, or all of them what became of all.
        error = done.exception()
        answer(waiting, done.result() if error is None else [error] * len(waiting))
        self._away -= 1
        self._begin_to_look()


def answer(waiting: Sequence[asyncio.Future[Reply]], replies: Sequence[Reply]) -> None:
    """Answer each who still waits."""
    for future, reply in zip(waiting, replies, strict=True):
        if not future.done():
            future.set_result(reply)
