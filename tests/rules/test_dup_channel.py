"""DUP_CHANNEL. Goal: one sale by two channels counts once and says so. Method: a table of chains."""

from scenes import INFO, SILENT, cases, fact, tell_chain, weigh

from tracecode.rules.dup_channel import find


@cases(
    ("one settlement", "0h sale A settle=s channel=1\n> 1h sale A settle=s channel=2", INFO),
    ("one visit", "0h sale A visit=v channel=1 settle=s\n> 24h sale A visit=v channel=2", INFO),
    (
        "one visit, a day and more apart",
        "0h sale A visit=v channel=1\n> 24h1s sale A visit=v channel=2",
        SILENT,
    ),
    ("one settlement, days apart", "0h sale A settle=s channel=1\n> 7d sale A settle=s channel=2", INFO),
    ("one settlement, too far apart", "0h sale A settle=s channel=1\n> 9d sale A settle=s channel=2", SILENT),
    ("two settlements", "0h sale A settle=s channel=1\n> 1h sale A settle=t channel=2", SILENT),
    ("the same channel", "0h sale A settle=s channel=1\n> 1h sale A settle=s channel=1", SILENT),
    ("another institution", "0h sale A settle=s channel=1\n> 1h sale B settle=s channel=2", SILENT),
    ("the first report", "> 0h sale A settle=s channel=1\n1h sale A settle=s channel=2", SILENT),
    (
        "a return by both channels",
        """
          0h sale A settle=s channel=1
          1h return A settle=s channel=1
        > 2h return A settle=s channel=2
        """,
        INFO,
    ),
    ("split", "0h split A settle=s units=4 channel=1\n> 1h split A settle=s units=4 channel=2", INFO),
    (
        "split, other units",
        "0h split A settle=s units=4 channel=1\n> 1h split A settle=s units=5 channel=2",
        INFO,
    ),
    (
        "a refused first report is none",
        "0h sale A settle=s channel=1 refused\n> 1h sale A settle=s channel=2",
        SILENT,
    ),
    ("inside a package", "0h sale A settle=s channel=1\n> 1h sale A settle=s channel=2 inside", SILENT),
)
def test_the_second_channel(told: str, said: str) -> None:
    """Pins what joins two reports: settlement, or visit within a day by the other channel."""
    assert weigh(find(tell_chain(told))) == said


def test_the_first_report_is_named() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_chain("0h sale A settle=s channel=1\n> 1h sale A settle=s channel=2"))

    assert [(f.name, f.document_number, f.sequence) for f in finding.evidence] == [("joined_report", "d1", 1)]
    assert fact(finding, "joined_report") == "SALE"
