"""Whether a recorded history of one code can have happened one operation at a time (Wing and Gong).

An operation has a moment at which it was called and one at which it was answered; it took effect at one point
between them. One without an answer took effect somewhere after its call, or never. A history is linearizable
if there is an order of such points in which every answer is what the code's states allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

NEVER = float("inf")
"""The answer never came."""


class Kind(IntEnum):
    """What a client did to a code."""

    SELL = 1
    """Asked before settlement: sold, or refused because it is sold."""
    RETURN = 2
    """Gave it back: answered whether there was a sale to take back."""
    LOOK = 3
    """Asked without changing anything: sold or not."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client did to one code, what it was told, and when, by one clock for all clients."""

    kind: Kind
    begin: float
    end: float
    answer: bool | None
    """SELL: it was accepted. RETURN: there was a sale. LOOK: it is sold. None without an answer."""
    sequence: int = 0
    """The entry it became; 0 = none is known."""


def step(sold: bool, operation: Operation) -> bool | None:
    """The state of the code after the operation, or None if this state does not allow its answer."""
    answer = operation.answer
    match operation.kind:
        case Kind.SELL:
            return True if answer is None or answer is not sold else None if not sold else sold
        case Kind.RETURN:
            return False if answer is None or answer is sold else None
        case Kind.LOOK:
            return sold if answer is None or answer is sold else None


def is_linearizable(history: Iterable[Operation]) -> bool:
    """Whether there is an order of points that explains the history of one code, which begins unsold.

    Depth first over (operations that have taken effect, state), each met once.
    """
    # What was only asked and never answered explains nothing.
    operations = sorted(
        (one for one in history if one.kind is not Kind.LOOK or one.end != NEVER), key=lambda one: one.begin
    )
    needed = sum(1 << at for at, one in enumerate(operations) if one.end != NEVER)
    seen: set[tuple[int, bool]] = set()
    waiting: list[tuple[int, bool]] = [(0, False)]
    while waiting:
        done, sold = waiting.pop()
        if done & needed == needed:
            return True
        if (done, sold) in seen:
            continue
        seen.add((done, sold))
        waiting += _next(operations, done, sold)
    return not needed


def _next(operations: Sequence[Operation], done: int, sold: bool) -> list[tuple[int, bool]]:
    """What may take effect next: what began before the first answer that is still to be explained."""
    found = []
    first = min((one.end for at, one in enumerate(operations) if not done >> at & 1), default=NEVER)
    for at, one in enumerate(operations):
        if one.begin > first:
            break
        if done >> at & 1:
            continue
        after = step(sold, one)
        if after is not None:
            found.append((done | 1 << at, after))
    return found


def cut(history: Sequence[Operation]) -> list[list[Operation]]:
    """A long history in pieces between which nothing was on its way: each is searched by itself."""
    pieces: list[list[Operation]] = []
    until = -NEVER
    for one in sorted(history, key=lambda one: one.begin):
        if one.begin > until or not pieces:
            pieces.append([])
        pieces[-1].append(one)
        until = max(until, one.end)
    return pieces


def follows_sequences(operations: Iterable[Operation]) -> bool:
    """Whether what began after another's answer has the greater sequence."""
    answered = sorted((one for one in operations if one.sequence), key=lambda one: one.begin)
    ended = sorted(answered, key=lambda one: one.end)
    highest = at = 0
    for one in answered:
        while ended[at].end < one.begin:
            highest = max(highest, ended[at].sequence)
            at += 1
        if one.sequence <= highest:
            return False
    return True
