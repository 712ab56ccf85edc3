"""DUP_IN_DOC. Goal: a code that stands twice on a document is said once, whatever the software did.

Method: a table of documents, every line of each told to the rule.
"""

from scenes import CODE, INFO, OTHER_CODE, SILENT, WARN, cases, fact, make_line, tell_line

from tracecode.rules.dup_in_doc import find
from tracecode.v1.document_pb2 import Line

SPLIT = {"split": True, "quantity": "6"}


@cases(
    ("two lines", [make_line(CODE), make_line(CODE)], WARN),
    ("twice on a line", [make_line(CODE, CODE)], WARN),
    ("the same box by two forms", [make_line(CODE), make_line(f"8206233-{CODE[7:]}")], WARN),
    ("every line gets it", [make_line(CODE)] * 4, WARN),
    ("two split lines", [make_line(CODE, **SPLIT), make_line(CODE, **SPLIT)], INFO),
    ("a split and a whole line", [make_line(CODE, **SPLIT), make_line(CODE)], WARN),
    ("two boxes", [make_line(CODE), make_line(OTHER_CODE)], SILENT),
    ("two placeholders", [make_line("无"), make_line("无")], SILENT),
    ("two codes twice", [make_line(CODE, OTHER_CODE), make_line(OTHER_CODE, CODE)], f"{WARN} {WARN}"),
)
def test_a_code_twice_on_a_document(told: list[Line], said: str) -> None:
    """Pins that it is said once for a code, on the line of its second appearance."""
    findings = [
        finding for judged in range(len(told)) for finding in find(tell_line("sale", *told, judged=judged))
    ]

    assert " ".join(finding.severity.name for finding in findings) == said
    assert {finding.line_number for finding in findings} <= {2 if len(told) > 1 else 1}


def test_its_lines_are_told() -> None:
    """Pins the evidence."""
    (finding,) = find(tell_line("sale", make_line(CODE), make_line(CODE, CODE), judged=1))

    assert fact(finding, "lines") == "1,2,2"
