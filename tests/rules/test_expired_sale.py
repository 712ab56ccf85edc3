"""EXPIRED_SALE. Goal: the day in China against the expiry that is trusted most. Method: a table.

Noon of the base day is 2026-03-15 in China.
"""

from scenes import BLOCK, SILENT, WARN, cases, fact, tell_chain, weigh

from tracecode.rules.expired_sale import find


@cases(
    ("past, as the line says", "> 0h sale A expiry=2026-03-14", BLOCK),
    ("the day itself", "> 0h sale A expiry=2026-03-15", SILENT),
    ("the last second of the day in China", "> 11h59m59s sale A expiry=2026-03-15", SILENT),
    ("the first second of the next", "> 12h sale A expiry=2026-03-15", BLOCK),
    ("past, as the code says", "> 0h sale A codeexpiry=2026-02-28", BLOCK),
    ("past, as received here", "-90d receive A expiry=2026-02-28\n> 0h sale A", BLOCK),
    ("past, as received a day late", "> 0h sale A\n1d receive A expiry=2026-02-28", BLOCK),
    ("past, as received elsewhere", "-90d receive B expiry=2026-02-28\n> 0h sale A", SILENT),
    ("the code knows better than the line", "> 0h sale A expiry=2026-02-28 codeexpiry=2028-02-28", WARN),
    ("the code knows worse than the line", "> 0h sale A expiry=2028-02-28 codeexpiry=2026-02-28", BLOCK),
    (
        "the code as received knows better",
        "-90d receive A codeexpiry=2028-02-28 expiry=2026-02-28\n> 0h sale A",
        WARN,
    ),
    (
        "the line knows better than the receipt",
        "-90d receive A expiry=2026-02-28\n> 0h sale A expiry=2028-02-28",
        WARN,
    ),
    (
        "the line knows better than receipt and code",
        "-90d receive A expiry=2026-02-28 codeexpiry=2026-02-28\n> 0h sale A expiry=2028-02-28",
        BLOCK,
    ),
    ("line and receipt agree", "-90d receive A expiry=2026-02-28\n> 0h sale A expiry=2026-02-28", BLOCK),
    ("split", "> 0h split A units=1 expiry=2026-03-14", BLOCK),
    ("a refused attempt", "> 0h sale A expiry=2026-03-14 refused", BLOCK),
    ("nothing said", "> 0h sale A", SILENT),
    ("a return", "> 0h return A expiry=2026-03-14", SILENT),
    ("destroyed", "> 0h destroy A expiry=2026-03-14", SILENT),
    ("inside a package", "> 0h sale A expiry=2026-03-14 inside", SILENT),
)
def test_sold_after_its_expiry(told: str, said: str) -> None:
    """Pins the day, its zone, and whom to believe."""
    assert weigh(find(tell_chain(told))) == said


def test_the_expiry_is_told() -> None:
    """Pins the evidence."""
    assert fact(find(tell_chain("> 0h sale A expiry=2026-03-14"))[0], "expiry_of_line") == "2026-03-14"
