"""CODE_AMBIGUOUS. Goal: what has two readings is said, never guessed. Method: a table of scans."""

from scenes import CODE, SILENT, WARN, cases, fact, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.code_ambiguous import find

CAPS_LOCK = "]D2010690123456789221abc"


@cases(
    ("letters in doubt", tell_line("sale", make_line(CAPS_LOCK)), WARN),
    ("two codes and one spoilt", tell_line("sale", make_line(f"{CODE},8206233")), WARN),
    ("on goods in", tell_line("receipt", make_line(CAPS_LOCK)), WARN),
    ("digits are never in doubt", tell_line("sale", make_line("]D20106901234567892211234")), SILENT),
    ("a code", tell_line("sale", make_line(CODE)), SILENT),
)
def test_a_scan_with_two_readings(told: LineEvidence, said: str) -> None:
    """Pins that doubt is a WARN on every document."""
    assert weigh(find(told)) == said


def test_the_clerk_is_told_what_to_do() -> None:
    """Pins the hint."""
    assert fact(find(tell_line("sale", make_line(CAPS_LOCK)))[0], "hint") == "CAPS_LOCK"
