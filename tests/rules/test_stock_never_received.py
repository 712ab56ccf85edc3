"""STOCK_NEVER_RECEIVED. Goal: no receipt is told where it means something, and only there. Method: a table.

U uploads the codes it receives, A does not.
"""

from scenes import ALERT, INFO, SILENT, cases, fact, tell_chain, weigh

from tracecode.rules.stock_never_received import find


@cases(
    ("uploads and has none", "> 0h sale U", ALERT),
    ("does not upload", "> 0h sale A", INFO),
    ("split", "> 0h split U units=1", ALERT),
    ("received", "0h receive U\n> 1d sale U", SILENT),
    ("opening stock", "0h opening U\n> 1d sale U", SILENT),
    ("counted first", "0h count U\n> 1d sale U", SILENT),
    ("taken in", "0h in U\n> 1d sale U", SILENT),
    ("received in its package", "0h receive U inside\n> 1d sale U", SILENT),
    ("received much later", "> 0h sale U\n30d receive U", SILENT),
    ("received elsewhere", "0h receive A\n1h supplier A\n> 1d sale U", ALERT),
    ("the receipt was deleted", "0h receive U deleted\n> 1d sale U", ALERT),
    ("somebody else holds it", "0h receive A\n> 1d sale U", SILENT),
    ("on its way here", "0h receive A\n1h out A to=U\n> 1d sale U", SILENT),
    ("on its way, nobody said where", "0h receive A\n1h out A\n> 1d sale U", SILENT),
    ("sent away from here", "0h out U to=A\n> 1d sale U", SILENT),
    ("sent back from here", "0h supplier U\n> 1d sale U", SILENT),
    ("given out from here", "0h issue U\n> 1d sale U", ALERT),
    ("sold elsewhere", "0h sale A\n> 1d sale U", ALERT),
    ("before the cut-off day", "> -74d sale U", SILENT),
    ("on the cut-off day", "> -73d sale U", ALERT),
    ("another report of one sale", "0h sale U settle=s\n> 1h sale U settle=s", SILENT),
    ("refused", "> 0h sale U refused", ALERT),
    ("inside a package", "> 0h sale U inside", SILENT),
    ("a return", "> 0h return U", SILENT),
)
def test_a_box_without_a_receipt(told: str, said: str) -> None:
    """Pins every way to come in, who else may have it, and the cut-off day 2026-01-01."""
    assert weigh(find(tell_chain(told))) == said


def test_it_says_whether_the_absence_means_something() -> None:
    """Pins the evidence."""
    assert fact(find(tell_chain("> 0h sale U"))[0], "receipt_codes") == "uploaded"
    assert fact(find(tell_chain("> 0h sale A"))[0], "receipt_codes") == "not_uploaded"
