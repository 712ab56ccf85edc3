"""Sharing: whoever asks for little is served, however much others ask for."""

from __future__ import annotations

import pytest

from tracecode.fair_share import SHARES_MAX, FairShare, TimeShare, Turns


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


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_who_takes_most_of_the_time_waits_and_who_takes_little_does_not() -> None:
    """Pins that one alone may have all, that what some leave over is for the others, and that it passes."""
    clock = Clock()
    share = TimeShare(0.6, clock)
    for _ in range(10):
        clock.now += 0.1
        share.charge("gateway", 0.08)
    clock.now += 0.1
    assert not share.is_spent("gateway")

    share.charge("till", 0.01)
    share.charge("chain", 0.2)
    clock.now += 0.1

    assert [share.is_spent(source) for source in ("gateway", "chain", "till", "new")] == [
        True,
        False,
        False,
        False,
    ]
    clock.now += 1
    assert not share.is_spent("gateway")


def test_who_has_gone_is_not_waited_for() -> None:
    """Pins that one who is alone again may have all of the time, however much the other took."""
    clock = Clock()
    share = TimeShare(0.6, clock)
    share.charge("gone", 0.6)
    for _ in range(15):
        clock.now += 0.1
        share.charge("gateway", 0.09)
    assert share.is_spent("gateway")

    clock.now += 0.2
    share.charge("gateway", 0.18)

    assert not share.is_spent("gateway")


def test_who_asks_for_what_takes_long_is_there_while_it_takes_so_long() -> None:
    """Pins that work which is charged at its end does not look like absence meanwhile."""
    clock = Clock()
    share = TimeShare(0.3, clock)
    for _ in range(40):
        clock.now += 0.1
        share.charge("till", 0.001)
        if round(clock.now * 10) % 20 == 0:
            share.charge("histories", 2.0)
        if 3.2 < clock.now < 3.8:
            assert share.is_spent("histories")
        assert not share.is_spent("till")


def test_those_who_ask_for_all_of_the_time_share_it_evenly() -> None:
    """Pins that two floods wait and neither takes what is left for the one that asks for little."""
    clock = Clock()
    share = TimeShare(0.6, clock)
    for _ in range(20):
        clock.now += 0.1
        for flood in ("one", "other"):
            if not share.is_spent(flood):
                share.charge(flood, 0.1)
        share.charge("till", 0.002)
        assert not share.is_spent("till")
    assert share.is_spent("one")
    assert share.is_spent("other")


def test_sources_that_are_away_are_forgotten() -> None:
    """Pins that what is known of time that was used does not grow without end."""
    clock = Clock()
    share = TimeShare(0.6, clock)
    for number in range(100):
        share.charge(str(number), 0.01)

    clock.now += 20
    share.is_spent("0")

    assert not share._used


def test_a_source_that_has_to_wait_keeps_its_items_and_lets_others_pass() -> None:
    """Pins whose turn it is while some wait, and that what is put back comes first again."""
    turns: Turns[str] = Turns()
    for item in ("a1", "a2", "b1"):
        turns.put(item[0], item)

    assert turns.find_source(lambda source: True) is None
    assert turns.find_source(lambda source: source == "a") == "b"
    assert turns.take() == "b1"
    assert turns.find_source(lambda source: False) == "a"
    turns.put_back("a", turns.take())
    assert [turns.take(), turns.take()] == ["a1", "a2"]
