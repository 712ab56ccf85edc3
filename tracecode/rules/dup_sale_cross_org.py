"""DUP_SALE_CROSS_ORG: the box stands sold at two institutions.

Fires on both whole sales. Custody decides which is odd: the sale of lower custody (the box was received
there, nothing is known, somebody else had it), at equal custody the later. The odd one carries it at
BLOCK, also when it is the earlier; the other at WARN when it is the later (somebody else typed the code
of a box that is here), at INFO when it is the earlier, and its evidence names the odd report. Within one
group the odd one is WARN: a sister shop forgot to upload the transfer.

Not when the other sale was returned or deleted before, when the earlier seller sent the box on in between
(102), or when one report repeats the other.

Source: 医保发〔2025〕7号: one box is paid once. Custody is ours.
"""

from __future__ import annotations

from tracecode.custody import find_rivals, show_rivals
from tracecode.evidence import ChainEvidence
from tracecode.finding import Finding, FindingType, Severity


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A whole sale beside a standing whole sale elsewhere."""
    rivals = find_rivals(evidence)
    if not rivals:
        return ()
    stronger = [rival for rival in rivals if not rival.odd]
    if stronger:
        severity = Severity.WARN if all(rival.same_group for rival in stronger) else Severity.BLOCK
        facts = show_rivals(evidence, stronger)
    else:
        severity = Severity.WARN if any(rival.earlier for rival in rivals) else Severity.INFO
        facts = evidence.show("odd_sale", [rival.event for rival in rivals])
    return (evidence.found(FindingType.DUP_SALE_CROSS_ORG, severity, *facts),)
