"""What many ask for and there is not enough of: shared by source, so that nobody can use up all of it.

A bound over all would be a weapon of whoever fills it. Here whoever has less than an even share always gets
in, and waits behind one turn of each other source, not behind all that one of them has sent.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

# Even shares grow fewer as sources come, yet what was taken is not taken back: two thousand sources that each
# fill their share hold eight times what one may. Beyond that there is no room for anybody.
SHARES_MAX = 8

# For how long work counts: what was done so long ago has faded to a third.
FADING_SECONDS = 1.0
# Who gets how much is reckoned anew so often.
SETTLE_SECONDS = 0.02
# Who has done less than this lately is forgotten.
TRACE_SECONDS = 1e-4
# Who has asked for nothing for so long is not there to be waited for.
PRESENT_SECONDS = 1.0


class FairShare:
    """How much each source holds. Not safe to share between threads without a lock."""

    def __init__(self, amount_max: int) -> None:
        """Beyond `amount_max` in all, a source gets no more than an even share of it."""
        self.total = 0
        self._amount_max = amount_max
        self._held: dict[str, int] = {}

    def held(self, source: str) -> int:
        """How much this source holds."""
        return self._held.get(source, 0)

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

    def put_back(self, source: str, item: Item, amount: int = 1) -> None:
        """Let what was taken, or what is left of it, be the first of this source again."""
        queue = self._queues.get(source)
        if queue is None:
            queue = self._queues[source] = deque()
        queue.appendleft((item, amount))

    def find_source(self, has_to_wait: Callable[[str], bool]) -> str | None:
        """The source whose turn it is, of those that need not wait; None if there is none.

        Those before it keep their place, behind the others.
        """
        for _ in range(len(self._queues)):
            source = next(iter(self._queues))
            if not has_to_wait(source):
                return source
            self._queues.move_to_end(source)
            self._taken = 0
        return None

    def end_turn(self, source: str) -> None:
        """Let all others that wait have their turn before this source has its next one."""
        if source in self._queues:
            self._queues.move_to_end(source)
            self._taken = 0

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


class TimeShare:
    """Whose turn it is to wait, by the time that was spent on each source lately. Threads need a lock.

    While all of them take less than there is, or one is alone, nobody has to wait. Else those wait that take
    more than the others leave over when each of them has what it asks for, or an even share.
    """

    def __init__(self, seconds_per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        """There are so many seconds of work in a second."""
        self._budget = seconds_per_second * FADING_SECONDS
        self._clock = clock
        self._settled_at = clock()
        self._used: dict[str, float] = {}
        self._present_until: dict[str, float] = {}
        self._level = math.inf

    def charge(self, source: str, seconds: float) -> bool:
        """So much was spent on this source; whether it has to wait for others."""
        self._settle()
        used = self._used[source] = self._used.get(source, 0.0) + seconds
        # What took long is charged when it has ended, and the next of its kind is under way by then.
        self._present_until[source] = self._settled_at + PRESENT_SECONDS + seconds
        return used > self._level

    def is_spent(self, source: str) -> bool:
        """Whether this source has to wait for others."""
        self._settle()
        return self._used.get(source, 0.0) > self._level

    def _settle(self) -> None:
        now = self._clock()
        passed = now - self._settled_at
        if passed < SETTLE_SECONDS:
            return
        self._settled_at = now
        left = math.exp(-passed / FADING_SECONDS)
        self._used = {
            source: used * left for source, used in self._used.items() if used * left > TRACE_SECONDS
        }
        self._present_until = {source: self._present_until[source] for source in self._used}
        self._level = math.inf
        present = [used for source, used in self._used.items() if now <= self._present_until[source]]
        if len(present) < 2 or sum(present) <= self._budget:
            return
        budget = self._budget
        for waiting, used in zip(range(len(present), 0, -1), sorted(present), strict=True):
            if used > budget / waiting:
                self._level = budget / waiting
                return
            budget -= used
