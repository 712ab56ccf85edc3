"""What one stream has read and not yet answered: bounded, and answered in order."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Taken(Generic[Item]):
    """What stands for one message, and what it takes up in the window."""

    item: Item
    documents: int
    bytes: int


class Window(Generic[Item]):
    """A queue between a stream's reader and its writer, full when it holds too many documents or bytes.

    A message counts until its answer was taken by the client, so a client that does not read its answers
    is not read from either. One message always fits, whatever its size.
    """

    def __init__(self, documents_max: int, bytes_max: int) -> None:
        self._documents_max = documents_max
        self._bytes_max = bytes_max
        self._queue: deque[Taken[Item]] = deque()
        # Of all that was put and not released.
        self._messages = 0
        self._documents = 0
        self._bytes = 0
        self._ended = False
        self._changed = asyncio.Event()

    async def wait_for_room(self, documents: int, size: int) -> None:
        """Returns when a message of so many documents and bytes may be put."""
        while self._messages and (
            self._documents + documents > self._documents_max or self._bytes + size > self._bytes_max
        ):
            self._changed.clear()
            await self._changed.wait()

    def put(self, item: Item, documents: int, size: int) -> None:
        """Append what stands for a message."""
        self._queue.append(Taken(item, documents, size))
        self._messages += 1
        self._documents += documents
        self._bytes += size
        self._changed.set()

    def end(self) -> None:
        """Say that nothing will follow."""
        self._ended = True
        self._changed.set()

    async def take(self) -> Taken[Item] | None:
        """What stands for the next message, or None after the last."""
        while not self._queue:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft()

    def release(self, taken: Taken[Item]) -> None:
        """A message that was taken is done with."""
        self._messages -= 1
        self._documents -= taken.documents
        self._bytes -= taken.bytes
        self._changed.set()
