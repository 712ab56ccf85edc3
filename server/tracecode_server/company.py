"""Documents of unary calls that come together go to the ledger together.

A commit costs the processor more than judging a document does, so a burst of calls is worth gathering. No
call waits for company by the clock: what is there is handed over as soon as a few turns of the event loop,
some microseconds each, bring nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

# Handed over at once when so many, or so much, came together.
DOCUMENTS_MAX = 64
BYTES_MAX = 1024 * 1024
# Turns without a newcomer after which nobody is waited for. gRPC's threads hand calls over between turns, one
# at a time: after a single turn a burst of 64 would still make thirty commits.
QUIET_TURNS = 8

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

    def add(self, request: bytes) -> asyncio.Future[Reply]:
        """The reply to a request as it stands in a message, or None if it needs another way."""
        loop = asyncio.get_running_loop()
        if not self._looking:
            self._looking = True
            loop.call_soon(self._look)
        future: asyncio.Future[Reply] = loop.create_future()
        self._requests.append(request)
        self._waiting.append(future)
        self._bytes += len(request)
        if len(self._requests) >= DOCUMENTS_MAX or self._bytes >= BYTES_MAX:
            self._hand_over()
        return future

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
            replies.add_done_callback(lambda done: land(done, waiting))
        elif len(requests) == 1:
            answer(waiting, [None])
        else:
            # One of them needs another way; the others need not go it.
            for request, future in zip(requests, waiting, strict=True):
                self._hand_over_together([request], [future])


def land(done: asyncio.Future[list[bytes | Exception]], waiting: list[asyncio.Future[Reply]]) -> None:
    """Answer each with its reply, or all with what became of all."""
    error = done.exception()
    answer(waiting, done.result() if error is None else [error] * len(waiting))


def answer(waiting: Sequence[asyncio.Future[Reply]], replies: Sequence[Reply]) -> None:
    """Answer each who still waits."""
    for future, reply in zip(waiting, replies, strict=True):
        if not future.done():
            future.set_result(reply)
