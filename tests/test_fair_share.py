"""Sharing: whoever asks for little is served, however much others ask for."""

from __future__ import annotations

import pytest

from tracecode.fair_share import SHARES_MAX, FairShare, Turns


def test_one_source_alone_may_have_all_of_it() -> None:
    """Pins that nothing is kept back for those who do not come."""
    share = FairShare(10)

    taken = [share.take("a", 1) for _ in range(11)]

    assert taken == [True] * 10 + [False]
    share.give_back("a", 4)
    assert share.take("a", 3)
    assert share.total == 9


def test_a_source_gets_in_beside_one_that_has_taken_all() -> None:
    """Pins that it gets an even share and no more, and that who has more than that gets nothing."""
    share = FairShare(10)
    assert all(share.take("greedy", 1) for _ in range(10))

    taken = [share.take("modest", 1) for _ in range(6)]

    assert taken == [True] * 5 + [False]
    assert not share.take("greedy", 1)


def test_what_is_larger_than_all_of_it_fits_once() -> None:
    """Pins that a large thing is not refused for ever, and is counted."""
    share = FairShare(10)

    assert share.take("a", 50)
    assert not share.take("a", 1)
    share.give_back("a", 50)
    assert share.take("a", 1)


def test_ever_more_sources_cannot_hold_without_end() -> None:
    """Pins the bound over all, which takes thousands of sources to reach."""
    share = FairShare(1000)

    for number in range(5000):
        while share.take(str(number), 1) and share._held[str(number)] < 1000:
            pass

    assert share.total == SHARES_MAX * 1000


def test_nothing_held_leaves_nothing_behind() -> None:
    """Pins that sources that went away are forgotten, those of nothing included."""
    share = FairShare(10)

    assert share.take("a", 0)
    assert share.take("b", 2)
    share.give_back("b", 2)
    share.give_back("a", 0)

    assert (share.total, share._held) == (0, {})


def test_sources_take_turns_and_each_keeps_its_order() -> None:
    """Pins that the second source waits for one item of the first, not for all."""
    turns: Turns[str] = Turns()
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        turns.put(item[0], item)

    taken = []
    while turns:
        taken.append(turns.take())

    assert taken == ["a1", "b1", "c1", "a2", "b2", "a3"]
    with pytest.raises(KeyError):
        turns.take()


def test_a_turn_is_so_much_and_not_one_item() -> None:
    """Pins that a source of small items is not starved by one whose items are large."""
    turns: Turns[str] = Turns(10)
    for number in range(3):
        turns.put("gateway", f"large {number}", 10)
    for number in range(4):
        turns.put("tills", f"small {number}", 4)

    order = [turns.take() for _ in range(7)]

    assert order == ["large 0", "small 0", "small 1", "small 2", "large 1", "small 3", "large 2"]
    assert not turns
