"""Whether a recorded history of one code can have happened one operation at a time (Wing and Gong).

An operation has a moment at which it was called and one at which it was answered, and took effect at one
point between them; one without an answer did so somewhere after its call, or never. A history is linearizable
if there is an order of such points in which every answer is right.

What is right is what the service promises: a sale that is asked before settlement is refused if the box is
sold at another institution, at its place in the chain or when it is asked. The place in the chain is business
time, then institution, kind and number; so the state is the set of documents kept, and not their order of
arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

NEVER = float("inf")
"""When the answer came that never came."""


class Kind(IntEnum):
    """What a client did to a code; sales before returns of one second, as in the chain."""

    SELL = 1
    """Asked before settlement. Answer: it was accepted."""
    RETURN = 2
    """Took back the sale of the same institution. Answer: there was one."""
    LOOK = 3
    """Asked for the code's state now. Answer: a sale of it is in force."""


Place = tuple[int, str, int, str]
"""In the chain: second, institution, kind, document number."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client did to one code, what it was told, and when, by one clock for all clients."""

    kind: Kind
    begin: float
    end: float
    answer: bool | None
    """None without an answer."""
    second: int = 0
    """Business time."""
    institution: str = ""
    number: str = ""
    sequence: int = 0
    """The entry it became; 0 = none, or none is known."""

    @property
    def place(self) -> Place:
        """Where it stands in the chain."""
        return (self.second, self.institution, self.kind, self.number)


State = tuple[Place, ...]
"""The documents that move the code, in the order of its chain."""


def sellers(state: State, before: Place | None = None) -> dict[str, bool]:
    """The institutions whose sale is in force, at a place of the chain or after all of it; and whether it
    is founded: nobody else had a founded one before it. An unfounded sale speaks against nobody."""
    found: dict[str, bool] = {}
    for place in state:
        if before is not None and place >= before:
            break
        if place[2] == Kind.SELL:
            found[place[1]] = not any(found[shop] for shop in found if shop != place[1])
        else:
            found.pop(place[1], None)
    return found


def steps(state: State, operation: Operation) -> list[State]:
    """The states that the operation may leave behind; none if its answer is wrong in this state."""
    if operation.kind is Kind.LOOK:
        return [state] if operation.answer in (None, bool(sellers(state))) else []
    active = sellers(state, operation.place)
    kept = tuple(sorted((*state, operation.place)))
    if operation.kind is Kind.RETURN:
        return [kept] if operation.answer in (None, operation.institution in active) else []
    now = sellers(state)
    right = not any(there[shop] for there in (active, now) for shop in there if shop != operation.institution)
    if operation.answer not in (None, right):
        return []
    return [kept if right else state]


def is_linearizable(history: Iterable[Operation]) -> bool:
    """Whether there is an order of points that explains the history of one code, which begins unsold.

    Depth first over what has taken effect and the state it left, each met once.
    """
    operations = sorted(
        (one for one in history if one.kind is not Kind.LOOK or one.end != NEVER), key=lambda one: one.begin
    )
    needed = sum(1 << at for at, one in enumerate(operations) if one.end != NEVER)
    seen: set[tuple[int, State]] = set()
    waiting: list[tuple[int, State]] = [(0, ())]
    while waiting:
        done, state = waiting.pop()
        if done & needed == needed:
            return True
        if (done, state) not in seen:
            seen.add((done, state))
            waiting += _next(operations, done, state)
    return False


def _next(operations: Sequence[Operation], done: int, state: State) -> list[tuple[int, State]]:
    """What may take effect next: what began before the first answer that is still to be explained."""
    at = (~done & (done + 1)).bit_length() - 1
    found = []
    first = NEVER
    for place in range(at, len(operations)):
        one = operations[place]
        if one.begin > first:
            break
        if done >> place & 1:
            continue
        first = min(first, one.end)
        found += [(done | 1 << place, after) for after in steps(state, one)]
    # The one that was answered first is tried first: it is nearly always right.
    return found[::-1]


def follows_sequences(operations: Iterable[Operation]) -> bool:
    """Whether what began after another's answer became the later entry."""
    kept = [one for one in operations if one.sequence]
    ended = sorted(kept, key=lambda one: one.end)
    highest = at = 0
    for one in sorted(kept, key=lambda one: one.begin):
        while ended[at].end < one.begin:
            highest = max(highest, ended[at].sequence)
            at += 1
        if one.sequence <= highest:
            return False
    return len({one.sequence for one in kept}) == len(kept)
