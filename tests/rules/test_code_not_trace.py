"""CODE_NOT_TRACE. Goal: the other barcodes of a box are told apart from bad scans.

Method: a table of scans.
"""

from scenes import CODE, SILENT, WARN, cases, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.code_not_trace import find


@cases(
    ("69 code", tell_line("sale", make_line("6924561884074")), WARN),
    ("本位码", tell_line("sale", make_line("86900000000003")), WARN),
    ("GS1 without a serial", tell_line("sale", make_line("(01)06901234567892(17)270630")), WARN),
    ("a leaflet's address", tell_line("sale", make_line("https://example.com/a")), WARN),
    ("69 code on goods in", tell_line("receipt", make_line("6924561884074")), WARN),
    ("a misread 69 code is malformed", tell_line("sale", make_line("6924561884075")), SILENT),
    ("a code", tell_line("sale", make_line(CODE)), SILENT),
    ("nothing scanned", tell_line("sale", make_line()), SILENT),
)
def test_another_barcode_of_the_box(told: LineEvidence, said: str) -> None:
    """Pins what is a barcode of the product and not of the box."""
    assert weigh(find(told)) == said
