"""CODE_ALIASED. Goal: a replaced code is judged under its new one and says so.

Method: one table, one look.
"""

from scenes import CODE, INFO, OTHER_CODE, SILENT, cases, fact, make_line, tell_line, weigh

from tracecode.code import read_scan
from tracecode.evidence import LineEvidence
from tracecode.rules.code_aliased import find

REPLACED = {read_scan(CODE)[0].key: OTHER_CODE}


@cases(
    ("the old code", tell_line("sale", make_line(CODE), replaced=REPLACED), INFO),
    ("the new code", tell_line("sale", make_line(OTHER_CODE), replaced=REPLACED), SILENT),
    ("nothing replaced", tell_line("sale", make_line(CODE)), SILENT),
    ("on goods in", tell_line("receipt", make_line(CODE), replaced=REPLACED), INFO),
    ("twice on a line is said once", tell_line("sale", make_line(CODE, CODE), replaced=REPLACED), INFO),
)
def test_a_replaced_code(told: LineEvidence, said: str) -> None:
    """Pins that only the old code carries it."""
    assert weigh(find(told)) == said


def test_the_finding_stands_under_the_new_code() -> None:
    """Pins code and evidence."""
    (finding,) = find(tell_line("sale", make_line(CODE), replaced=REPLACED))

    assert (finding.code, fact(finding, "old_code")) == (OTHER_CODE, CODE)
