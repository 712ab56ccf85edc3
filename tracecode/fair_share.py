"""What many ask for and there is not enough of: shared by source, so that nobody can use up all of it.

A bound over all would be a weapon of whoever fills it. Here whoever has less than an even share always gets
in, and waits behind one turn of each other source, not behind all that one of them has sent.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Even shares grow fewer as sources come, yet what was taken is not taken back: two thousand sources that each
# fill their share hold eight times what one may. Beyond that there is no room for anybody.
SHARES_MAX = 8


class FairShare:
    """How much each source holds. Not safe to share between threads without a lock."""

    def __init__(self, amount_max: int) -> None:
        """Beyond `amount_max` in all, a source gets no more than an even share of it."""
        self.total = 0
        self._amount_max = amount_max
        self._held: dict[str, int] = {}

    def take(self, source: str, amount: int) -> bool:
        """Hold so much more, and say so; or say that there is no room. Who holds nothing has room for one."""
        if not amount:
            return True
        held = self._held.get(source, 0)
        crowded = self.total + amount > self._amount_max
        if self.total + amount > SHARES_MAX * self._amount_max:
            return False
        if held and crowded and held + amount > self._amount_max // len(self._held):
            return False
        self._held[source] = held + amount
        self.total += amount
        return True

    def give_back(self, source: str, amount: int) -> None:
        """So much is not held any more."""
        if not amount:
            return
        self.total -= amount
        left = self._held[source] - amount
        if left:
            self._held[source] = left
        else:
            del self._held[source]


class Turns(Generic[Item]):
    """A queue for each source, and the sources take turns of so much. Threads that share it need a lock."""

    def __init__(self, amount_of_turn: int = 1) -> None:
        self._amount_of_turn = amount_of_turn
        self._taken = 0
        self._queues: OrderedDict[str, deque[tuple[Item, int]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def put(self, source: str, item: Item, amount: int = 1) -> None:
        """Append to what waits of this source an item that is so much."""
        queue = self._queues.get(source)
        if queue is None:
            queue = self._queues[source] = deque()
        queue.append((item, amount))

    def discard(self, source: str, item: Item) -> None:
        """Take this very item out, if it still waits."""
        queue = self._queues.get(source, deque())
        for waiting in queue:
            if waiting[0] is item:
                queue.remove(waiting)
                break
        if not queue:
            self._queues.pop(source, None)

    def take(self) -> Item:
        """The oldest item of the source whose turn it is. Raises KeyError if nothing waits."""
        source, queue = next(iter(self._queues.items()), ("", None))
        if queue is None:
            raise KeyError("nothing waits")
        item, amount = queue.popleft()
        self._taken += amount
        if not queue:
            del self._queues[source]
            self._taken = 0
        elif self._taken >= self._amount_of_turn:
            self._queues.move_to_end(source)
            self._taken = 0
        return item
