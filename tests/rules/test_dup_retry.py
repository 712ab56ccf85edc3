"""DUP_RETRY. Goal: one sale sent again under another number counts once and says so.

Method: a table.
"""

from scenes import INFO, SILENT, cases, tell_chain, weigh

from tracecode.rules.dup_retry import find


@cases(
    ("one settlement", "0h sale A settle=s channel=2\n> 1h sale A settle=s channel=2", INFO),
    ("the other channel", "0h sale A settle=s channel=1\n> 1h sale A settle=s channel=2", SILENT),
    ("a common visit is no retry", "0h sale A visit=v channel=2\n> 1h sale A visit=v channel=2", SILENT),
    ("two settlements", "0h sale A settle=s channel=2\n> 1h sale A settle=t channel=2", SILENT),
    ("no settlement known", "0h sale A\n> 1h sale A", SILENT),
    ("the first report", "> 0h sale A settle=s\n1h sale A settle=s", SILENT),
    ("a return", "0h sale A\n1h return A settle=s\n> 2h return A settle=s", INFO),
)
def test_sent_again(told: str, said: str) -> None:
    """Pins that the same channel is a retry, and only with a common settlement."""
    assert weigh(find(tell_chain(told))) == said
