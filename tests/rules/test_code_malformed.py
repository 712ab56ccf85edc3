"""CODE_MALFORMED. Goal: what is no code blocks insured sales only, and never for the scanner's doing.

Method: real scans through the reader, in a table.
"""

from scenes import BLOCK, CODE, SILENT, WARN, cases, fact, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.code_malformed import find

CUT = "8206233000000131123"
GLUED = CODE + "8206233" * 20
SHIFTED = "*@)^@##)))))!#!!@#$%"


@cases(
    ("half a scan", tell_line("sale", make_line(CUT)), BLOCK),
    ("half a scan, self-paid", tell_line("sale", make_line(CUT), self_paid=True), WARN),
    ("half a scan, goods in", tell_line("receipt", make_line(CUT)), WARN),
    ("half a scan, returned", tell_line("sale_return", make_line(CUT)), WARN),
    ("another keyboard layout", tell_line("sale", make_line(SHIFTED)), WARN),
    ("a drug code typed instead", tell_line("sale", make_line("XJ01CAA040A001010102699")), BLOCK),
    ("a code", tell_line("sale", make_line(CODE)), SILENT),
    ("a leaflet's address", tell_line("sale", make_line("https://example.com/a")), SILENT),
    ("an ambiguous scan", tell_line("sale", make_line("]D2010690123456789221abc")), SILENT),
    ("each bad scan", tell_line("sale", make_line(CUT, CODE, "82")), f"{BLOCK} {BLOCK}"),
)
def test_what_is_no_code(told: LineEvidence, said: str) -> None:
    """Pins the three weights, and that other classes have findings of their own."""
    assert weigh(find(told)) == said


def test_the_clerk_is_told_which_scan_and_what_to_do() -> None:
    """Pins the evidence, and that the scan itself, which may be anything, is not repeated."""
    (finding,) = find(tell_line("sale", make_line(CODE, CUT)))

    assert (fact(finding, "scan_number"), fact(finding, "hint")) == ("2", "WRONG_LENGTH")
    assert CUT not in repr(finding)
