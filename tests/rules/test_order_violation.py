"""ORDER_VIOLATION. Goal: what the life cycle does not allow and no other finding says.

Method: a table.
"""

from scenes import SILENT, WARN, cases, fact, tell_chain, weigh

from tracecode.rules.order_violation import find


@cases(
    ("in order", "0h receive A\n> 1h out A to=B", SILENT),
    ("sent away after it was sold", "0h receive A\n1h sale A\n> 2h out A to=B", WARN),
    ("sent back after it was sold", "0h receive A\n1h sale A\n> 2h supplier A", WARN),
    ("destroyed after it was sold", "0h receive A\n1h sale A\n> 2h destroy A", WARN),
    ("still on the shelf after it was sold", "0h receive A\n1h sale A\n> 2h count A", WARN),
    ("given out beside the sale", "0h receive A\n1h sale A\n> 1h5m issue A", SILENT),
    ("101 for dispensing", "0h receive A\n1h sale A\n> 2h in A", WARN),
    ("102 for a return", "0h receive A\n1h sale A\n> 2h out A", WARN),
    ("sent away by one who uploads and never had it", "> 0h out U to=B", WARN),
    ("sent away by one who does not upload", "> 0h out A to=B", SILENT),
    ("an open pack sent away", "0h receive A\n1h split A units=1\n> 2h out A to=B", WARN),
    ("an open pack destroyed", "0h receive A\n1h split A units=1\n> 2h destroy A", SILENT),
    ("an open pack received again", "0h receive A\n1h split A units=1\n> 2h receive A", WARN),
    ("late paperwork of an open pack", "0h split A units=1\n> 2h receive A", SILENT),
    ("late paperwork of a sale", "0h sale A\n> 2h receive A", SILENT),
    ("received a second time after its sale", "0h receive A\n1h sale A\n> 2h receive A", WARN),
    ("received after it was sold elsewhere", "0h receive B\n1h sale B\n> 2h receive A", WARN),
    ("went to somebody else", "0h receive A\n1h out A to=B\n> 2h in C", WARN),
    ("received after it was destroyed", "0h receive A\n1h destroy A\n> 2h receive A", WARN),
    ("received although held elsewhere is said elsewhere", "0h receive B\n> 1h receive A", SILENT),
    ("sent by one who does not hold it", "0h receive B\n> 1h out A to=C", WARN),
    ("sent an hour after it arrived", "0h receive A\n1h in B\n> 2h out A to=B", SILENT),
    ("sent two days after it arrived", "0h receive A\n1h in B\n> 49h2m out A to=B", WARN),
    ("a return without a sale is said elsewhere", "> 0h return A", SILENT),
    ("a return elsewhere is said elsewhere", "0h sale B\n> 1h return A", SILENT),
    ("a return whose split mark differs", "0h split A units=1\n> 1h return A", WARN),
    ("a sale is never out of order", "0h receive A\n1h destroy A\n> 2h sale A", SILENT),
    ("a deleted document", "0h receive A\n1h sale A\n> 2h destroy A deleted", WARN),
    ("a deletion", "0h sale A deleted\n> 1h delete A", SILENT),
    ("inside a package", "0h sale A\n> 2h destroy A inside", SILENT),
)
def test_out_of_order(told: str, said: str) -> None:
    """Pins one weight for all, and that each oddity has one finding."""
    assert weigh(find(tell_chain(told))) == said


def test_the_state_before_is_told() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_chain("0h receive A\n1h sale A\n> 2h destroy A"))

    assert (fact(finding, "operation"), fact(finding, "state_before")) == ("DESTROY", "SOLD")
