"""RETURN_NO_SALE. Goal: a return that finds no sale anywhere, and says so once. Method: a table."""

from scenes import SILENT, WARN, cases, names, tell_chain, weigh

from tracecode.rules.return_no_sale import find


@cases(
    ("nothing sold", "0h receive A\n> 1d return A", WARN),
    ("nothing known", "> 0h return A", WARN),
    ("split, nothing sold", "> 0h splitreturn A units=2", WARN),
    ("sold", "0h sale A\n> 1d return A", SILENT),
    ("sold elsewhere", "0h sale B\n> 1d return A", SILENT),
    ("the sale was deleted", "0h sale A deleted\n> 1d return A", WARN),
    ("the sale was refused", "0h sale A refused\n> 1d return A", WARN),
    ("sold afterwards", "> 0h return A\n1d sale A", WARN),
    ("returned before", "0h sale A\n1h return A\n> 1d return A", WARN),
    ("another report of one return", "0h sale A\n1h return A settle=s\n> 2h return A settle=s", SILENT),
    ("only the split mark differs", "0h split A units=1\n> 1d return A", SILENT),
    (
        "units in two parts",
        "0h split A units=4\n1h splitreturn A units=1\n> 2h splitreturn A units=3",
        SILENT,
    ),
    (
        "more units than were sold",
        "0h split A units=4\n1h splitreturn A units=4\n> 2h splitreturn A units=1",
        WARN,
    ),
    ("a deleted return", "> 0h return A deleted", WARN),
    ("inside a package", "> 0h return A inside", SILENT),
    ("a sale", "> 0h sale A", SILENT),
)
def test_a_return_without_a_sale(told: str, said: str) -> None:
    """Pins what counts as a standing sale."""
    assert weigh(find(tell_chain(told))) == said


def test_an_earlier_return_is_named() -> None:
    """Pins the evidence that explains most of these: it was returned before."""
    assert names(find(tell_chain("0h sale A\n1h return A\n> 1d return A"))[0]) == ["earlier_return"]
