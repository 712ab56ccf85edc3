"""CODE_EMPTY. Goal: only an insured sale line without any scan. Method: a table of lines."""

from scenes import BLOCK, CODE, SILENT, cases, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.code_empty import find


@cases(
    ("no scan", tell_line("sale", make_line()), BLOCK),
    ("blank scans", tell_line("sale", make_line("", " ")), BLOCK),
    ("one blank, one code", tell_line("sale", make_line("", CODE)), SILENT),
    ("a code", tell_line("sale", make_line(CODE)), SILENT),
    ("a placeholder is said by its own finding", tell_line("sale", make_line("无")), SILENT),
    ("self-paid", tell_line("sale", make_line(), self_paid=True), SILENT),
    ("goods in", tell_line("receipt", make_line()), SILENT),
    ("split", tell_line("sale", make_line(split=True)), BLOCK),
)
def test_an_insured_line_bears_a_code(told: LineEvidence, said: str) -> None:
    """Pins who is asked for codes: the fund's sales, nothing else."""
    assert weigh(find(told)) == said
