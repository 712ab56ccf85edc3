"""The checker of histories, proven on histories made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trust.linearizability import NEVER, Kind, Operation, follows_sequences, is_linearizable

A, B = "P1", "P2"


def sell(begin: float, end: float, answer: bool | None, shop: str = A, sequence: int = 0) -> Operation:
    """A sale asked at the second in which it began."""
    return Operation(Kind.SELL, begin, end, answer, int(begin), shop, f"S{begin}", sequence)


def give_back(begin: float, end: float, answer: bool | None, shop: str = A) -> Operation:
    """A return at the second in which it began."""
    return Operation(Kind.RETURN, begin, end, answer, int(begin), shop, f"T{begin}")


def look(begin: float, end: float, answer: bool | None) -> Operation:
    """A question."""
    return Operation(Kind.LOOK, begin, end, answer)


GOOD = {
    "nothing": [],
    "one sale": [sell(1, 2, True)],
    "one after the other": [sell(1, 2, True), sell(3, 4, False, B)],
    "either of two at once": [replace(sell(1, 9, False, B), second=2), sell(2, 8, True)],
    "sold, returned, sold": [sell(1, 2, True), give_back(3, 4, True), sell(5, 6, True, B)],
    "seen while it happens": [sell(1, 9, True), look(2, 3, False), look(4, 5, True)],
    "kept without an answer": [
        sell(1, NEVER, None),
        look(3, 4, False),
        look(5, 6, True),
        sell(7, 8, False, B),
    ],
    "never kept": [sell(1, NEVER, None), sell(3, 4, True, B)],
    "of an earlier second, later": [sell(2.5, 5, True, B), replace(sell(2.6, 9, True), second=1)],
}
BAD = {
    "sold twice": [sell(1, 2, True), sell(3, 4, True, B)],
    "refused unsold": [sell(1, 2, False)],
    "sale forgotten": [sell(1, 2, True), look(3, 4, False)],
    "seen before it began": [look(1, 2, True), sell(3, 4, True)],
    "seen and gone again": [sell(1, 9, True), look(2, 3, True), look(4, 5, False)],
    "returned twice": [sell(1, 2, True), give_back(3, 4, True), give_back(5, 6, True)],
    "refused after its return": [sell(1, 2, True), give_back(3, 4, True), sell(5, 6, False, B)],
    "lost without an answer": [sell(1, NEVER, None), look(3, 4, True), look(5, 6, False)],
}


@pytest.mark.parametrize("name", GOOD)
def test_histories_that_can_have_happened_are_found_good(name: str) -> None:
    """Pins that the checker accuses nobody."""
    assert is_linearizable(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_histories_that_cannot_have_happened_are_found_bad(name: str) -> None:
    """Pins that the checker sees each way of being wrong."""
    assert not is_linearizable(BAD[name])


def test_sequences_follow_the_clock_of_the_clients() -> None:
    """Pins that entries may change places only where their calls overlapped."""
    first, second = sell(1, 2, True, sequence=7), sell(3, 4, True, sequence=8)
    assert follows_sequences([first, second])
    assert follows_sequences([replace(first, sequence=9, end=3.5), second])
    assert not follows_sequences([replace(first, sequence=9), second])
    assert not follows_sequences([first, replace(second, sequence=7)])
