"""RETURN_OTHER_ORG. Goal: who takes back what somebody else sold. Method: a table."""

from scenes import ALERT, SILENT, WARN, cases, names, tell_chain, weigh

from tracecode.rules.return_other_org import find


@cases(
    ("sold elsewhere", "0h sale B\n> 1d return A", ALERT),
    ("sold by a sister shop", "0h sale D\n> 1d return A", WARN),
    ("sold here", "0h sale A\n> 1d return A", SILENT),
    ("sold here and elsewhere", "0h sale A\n1h sale B\n> 1d return A", SILENT),
    ("sold nowhere", "> 0h return A", SILENT),
    ("units sold elsewhere", "0h split B units=2\n> 1d splitreturn A units=2", ALERT),
    ("a deleted return", "0h sale B\n> 1d return A deleted", ALERT),
    ("inside a package", "0h sale B\n> 1d return A inside", SILENT),
)
def test_taken_back_by_another_shop(told: str, said: str) -> None:
    """Pins that a sale here goes before, and the group."""
    assert weigh(find(tell_chain(told))) == said


def test_the_sale_is_named() -> None:
    """Pins the evidence."""
    assert names(find(tell_chain("0h sale B\n> 1d return A"))[0]) == ["sale"]
