"""Whether a recorded history of one code can have happened one operation at a time (Wing and Gong).

An operation has a moment at which it was called and one at which it was answered, and took effect at one
point between them; one without an answer did so somewhere after its call, or never. A history is linearizable
if there is an order of such points in which every answer is right.

What is right is what the service promises, in two markets. Among institutions that keep no receipts a sale
asked before settlement is refused if the box is sold at another one, at its place in the chain or when it is
asked. At one institution boxes also come in and are sent back: what is gone may not be sold unless it came in
again, and what is sold may not be sent back. The place in the chain is business time, goods in first, then
institution, kind and number; so the state is the set of documents kept, and not their order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

NEVER = float("inf")
"""When the answer came that never came."""


class Kind(IntEnum):
    """What a client did to a code; documents of one second and institution in the order of the chain."""

    RECEIVE = 0
    """Goods in. Answer: its state allowed it."""
    SELL = 1
    """Asked before settlement. Answer: it was accepted."""
    RETURN = 2
    """Took back the sale of the same institution. Answer: there was one."""
    SEND_BACK = 3
    """Out, to the supplier. Answer: its state allowed it."""
    LOOK = 4
    """Asked for the code's state now. Answer: a sale of it is in force."""
    FIND = 5
    """Asked for the code's state now. Answer: it is on hand."""


QUESTIONS = frozenset({Kind.LOOK, Kind.FIND})

Place = tuple[int, bool, str, int, str]
"""In the chain: second, whether it is not goods in, institution, kind, document number."""


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
        return (self.second, self.kind is not Kind.RECEIVE, self.institution, self.kind, self.number)


State = tuple[Place, ...]
"""The documents that move the code, in the order of its chain."""

Market = Callable[[State, Operation], list[State]]
"""The states that an operation may leave behind; none if its answer is wrong in this state."""


def trade(state: State, operation: Operation) -> list[State]:
    """Where institutions that keep no receipts sell the same boxes, and take them back."""
    if operation.kind is Kind.LOOK:
        return [state] if operation.answer in (None, bool(find_sellers(state))) else []
    active = find_sellers(state, operation.place)
    if operation.kind is Kind.RETURN:
        right = operation.institution in active
        return [_keep(state, operation)] if operation.answer in (None, right) else []
    now = find_sellers(state)
    right = not any(there[shop] for there in (active, now) for shop in there if shop != operation.institution)
    if operation.answer not in (None, right):
        return []
    return [_keep(state, operation) if right else state]


def find_sellers(state: State, before: Place | None = None) -> dict[str, bool]:
    """The institutions whose sale is in force, at a place of the chain or after all of it; and whether it
    is founded: nobody else had a founded one before it. An unfounded sale speaks against nobody."""
    found: dict[str, bool] = {}
    for place in state:
        if before is not None and place >= before:
            break
        _, _, institution, kind, _ = place
        if kind == Kind.SELL:
            found[institution] = not any(found[shop] for shop in found if shop != institution)
        else:
            found.pop(institution, None)
    return found


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is known of a box at its only institution."""

    sales: int = 0
    """In force; while there are any, the box is sold."""
    on_hand: bool = False
    gone: bool = False
    """Sent back. What is neither sold, on hand nor gone was never heard of."""
    received: bool = False
    """At some time before."""


def shelve(state: State, operation: Operation) -> list[State]:
    """Where one institution receives boxes, sells them, takes them back, and sends them back."""
    if operation.kind in QUESTIONS:
        now = follow_shelf(state)
        told = bool(now.sales) if operation.kind is Kind.LOOK else now.on_hand
        return [state] if operation.answer in (None, told) else []
    there = follow_shelf(state, operation.place)
    match operation.kind:
        case Kind.RECEIVE:
            right = not (there.sales and there.received)
        case Kind.RETURN:
            right = bool(there.sales)
        case Kind.SEND_BACK:
            right = not there.sales
        case _:
            came_back = any(place > operation.place and place[3] == Kind.RECEIVE for place in state)
            right = not there.gone or came_back
            if not right:
                return [state] if operation.answer in (None, False) else []
    return [_keep(state, operation)] if operation.answer in (None, right) else []


def follow_shelf(state: State, before: Place | None = None) -> Shelf:
    """The box at a place of its chain, or after all of it."""
    shelf = Shelf()
    for place in state:
        if before is not None and place >= before:
            break
        match place[3]:
            case Kind.RECEIVE:
                shelf = Shelf(shelf.sales, on_hand=not shelf.sales, received=True)
            case Kind.SELL:
                shelf = Shelf(shelf.sales + 1, received=shelf.received)
            case Kind.RETURN:
                left = max(0, shelf.sales - 1)
                shelf = Shelf(left, not left and not shelf.gone, shelf.gone, shelf.received)
            case _:
                shelf = shelf if shelf.sales else Shelf(gone=True, received=shelf.received)
    return shelf


def _keep(state: State, operation: Operation) -> State:
    return tuple(sorted((*state, operation.place)))


def is_linearizable(history: Iterable[Operation], market: Market = trade) -> bool:
    """Whether there is an order of points that explains the history of one code, which begins unsold.

    Depth first over what has taken effect and the state it left, each met once.
    """
    operations = sorted(
        (one for one in history if one.kind not in QUESTIONS or one.end != NEVER), key=lambda one: one.begin
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
            waiting += _next(operations, market, done, state)
    return False


def _next(
    operations: Sequence[Operation], market: Market, done: int, state: State
) -> list[tuple[int, State]]:
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
        found += [(done | 1 << place, after) for after in market(state, one)]
    # The one that was answered first is tried first: it is nearly always right.
    return found[::-1]


def follows_sequences(operations: Iterable[Operation]) -> bool:
    """Whether what began after another's answer became the later entry, and each document one of its own."""
    kept = [one for one in operations if one.sequence]
    ended = sorted(kept, key=lambda one: one.end)
    highest = at = 0
    for one in sorted(kept, key=lambda one: one.begin):
        while ended[at].end < one.begin:
            highest = max(highest, ended[at].sequence)
            at += 1
        if one.sequence <= highest:
            return False
    pairs = {(one.sequence, one.place) for one in kept}
    return len({one.sequence for one in kept}) == len({one.place for one in kept}) == len(pairs)
