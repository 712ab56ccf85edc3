"""DUP_IN_DOC: a code stands twice on one document.

Fires once for each such code, on the line where it stands for the second time: WARN, or INFO when all its
lines are split (part of a pack on each is normal). Usually the till's software appends a code to every line
of a drug; the code counts once all the same. No exception.

Source: ours.
"""

from __future__ import annotations

from tracecode.evidence import LineEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity


def find(evidence: LineEvidence) -> tuple[Finding, ...]:
    """Codes that stand on the document a second time."""
    found = []
    for reading in evidence.codes:
        lines = evidence.lines_of_code.get(reading.key, ())
        if len(lines) < 2 or lines[1].number != evidence.line.number:
            continue
        found.append(
            evidence.found(
                FindingType.DUP_IN_DOC,
                Severity.INFO if all(line.split for line in lines) else Severity.WARN,
                Evidence("lines", ",".join(str(line.number) for line in lines)),
                code=reading.text,
            )
        )
    return tuple(found)
