"""What one stream has read and not yet answered: bounded, and answered in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Window(Generic[Item]):
    """A queue between a stream's reader and its writer, full when it holds too many items or bytes.

    An item counts until its answer was taken by the client, so a client that does not read its answers
    is not read from either. One item always fits, whatever its size.
    """

    def __init__(self, items_max: int, bytes_max: int) -> None:
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._queue: deque[tuple[Item, int]] = deque()
        self._items = 0
        self._bytes = 0
        self._ended = False
        self._changed = asyncio.Event()

    async def wait_for_room(self, size: int) -> None:
        """Returns when an item of that many bytes may be put."""
        while self._items and (self._items >= self._items_max or self._bytes + size > self._bytes_max):
            self._changed.clear()
            await self._changed.wait()

    def put(self, item: Item, size: int) -> None:
        """Append an item."""
        self._queue.append((item, size))
        self._items += 1
        self._bytes += size
        self._changed.set()

    def end(self) -> None:
        """Say that no item will follow."""
        self._ended = True
        self._changed.set()

    async def take(self) -> tuple[Item, int] | None:
        """The next item and its size, or None after the last."""
        while not self._queue:
            if self._ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._queue.popleft()

    def release(self, size: int) -> None:
        """An item that was taken is done with."""
        self._items -= 1
        self._bytes -= size
        self._changed.set()
