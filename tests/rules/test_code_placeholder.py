"""CODE_PLACEHOLDER. Goal: what stands for no code is known as that, and normal on split lines.

Method: a table.
"""

from scenes import CODE, INFO, SILENT, WARN, cases, make_line, tell_line, weigh

from tracecode.evidence import LineEvidence
from tracecode.rules.code_placeholder import find

NINES = "9" * 20


@cases(
    ("twenty nines", tell_line("sale", make_line(NINES)), WARN),
    ("twenty nines, split", tell_line("sale", make_line(NINES, split=True)), INFO),
    ("a word", tell_line("sale", make_line("无")), WARN),
    ("on goods in", tell_line("receipt", make_line("-")), WARN),
    ("a code", tell_line("sale", make_line(CODE)), SILENT),
    ("nothing scanned", tell_line("sale", make_line("")), SILENT),
)
def test_a_placeholder(told: LineEvidence, said: str) -> None:
    """Pins WARN, and INFO where the line is split."""
    assert weigh(find(told)) == said
