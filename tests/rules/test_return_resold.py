"""RETURN_RESOLD. Goal: once is legitimate, a cycle is not. Method: a table, cycles built by a loop."""

from scenes import ALERT, INFO, SILENT, WARN, cases, fact, tell_chain, weigh

from tracecode.rule_base import Thresholds
from tracecode.rules.return_resold import find


def cycle(times: int, days: int, institution: str = "A") -> str:
    """So many sales and returns, so many days apart, and one more sale, which is judged."""
    rows = [
        row
        for number in range(times)
        for row in (f"{number * days}d sale {institution}", f"{number * days}d1h return {institution}")
    ]
    return "\n".join([*rows, f"> {times * days}d sale A"])


@cases(
    ("never returned", cycle(0, 1), SILENT),
    ("once", cycle(1, 1), INFO),
    ("twice", cycle(2, 10), WARN),
    ("three times in 90 days", cycle(3, 30), ALERT),
    ("three times, the first longer ago", cycle(3, 31), WARN),
    ("ten times in years", cycle(10, 60), WARN),
    ("returned elsewhere", cycle(3, 1, "B"), SILENT),
    ("split after a return", "0h sale A\n1h return A\n> 2h split A units=1", INFO),
    ("the next split sale", "0h sale A\n1h return A\n2h split A units=1\n> 3h split A units=1", SILENT),
    ("units given back", "0h split A units=1\n1h splitreturn A units=1\n> 2h split A units=1", SILENT),
    ("sold twice after one return", "0h sale A\n1h return A\n2h sale A\n> 3h sale A", SILENT),
    ("a return without a sale", "0h return A\n> 1h sale A", INFO),
    ("a deleted return", "0h sale A\n1h return A deleted\n> 2h sale A", SILENT),
    ("a refused attempt", "0h sale A\n1h return A\n> 2h sale A refused", INFO),
    ("after a refused attempt", "0h sale A\n1h return A\n2h sale A refused\n> 3h sale A", INFO),
    ("another report of one sale", "0h sale A settle=s\n1h return A\n> 2h sale A settle=s", SILENT),
    ("other in after a sale", "0h sale A\n1h receive A otherin\n> 2h sale A", INFO),
    (
        "other in, twice",
        "0h sale A\n1h receive A otherin\n2h sale A\n3h receive A otherin\n> 4h sale A",
        WARN,
    ),
    (
        "other in and sale return by turns",
        "0h sale A\n1h receive A otherin\n2h sale A\n3h return A\n4h sale A\n5h receive A otherin\n"
        "> 6h sale A",
        ALERT,
    ),
    ("one return told twice", "0h sale A\n1h receive A otherin\n2h return A\n> 1d sale A", INFO),
    ("one return told twice, otherwise", "0h sale A\n1h return A\n2h receive A otherin\n> 1d sale A", INFO),
    ("two returns two days apart", "0h sale A\n1h receive A otherin\n2d return A\n> 3d sale A", WARN),
    ("other in of what was never sold here", "0h receive A otherin\n> 1h sale A", SILENT),
    ("other in elsewhere", "0h sale A\n1h receive B otherin\n> 2h sale A", SILENT),
    ("inside a package", "0h sale A\n1h return A\n> 2h sale A inside", SILENT),
)
def test_sold_again(told: str, said: str) -> None:
    """Pins the three weights and what is no cycle."""
    assert weigh(find(tell_chain(told))) == said


def test_the_numbers_are_thresholds() -> None:
    """Pins that a region may be stricter, and the evidence."""
    strict = Thresholds(return_cycles_warn=1, return_cycles_alert=1)

    (finding,) = find(tell_chain(cycle(1, 1), thresholds=strict))

    assert (finding.severity.name, fact(finding, "returns")) == (ALERT, "1")
