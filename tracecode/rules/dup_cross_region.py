"""DUP_CROSS_REGION: the box stands sold in two pooling areas.

Fires at ALERT beside DUP_SALE_CROSS_ORG on the odd sale, when the pooling areas of the two institutions
(first four digits of the division) differ; WARN within one group. An institution without a known division
is taken to be where its code says (digits 1 to 6 of fixmedins_code). A person of another area is normal;
only the code is looked at.

Source: ours; pooling areas 统筹区 are the insurance's.
"""

from __future__ import annotations

from tracecode.custody import find_rivals, show_rivals
from tracecode.evidence import ChainEvidence
from tracecode.finding import Finding, FindingType, Severity
from tracecode.life_cycle import InstitutionFacts


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """An odd sale whose counterpart lies in another pooling area."""
    here = _area(evidence.institution)
    far = [
        rival
        for rival in find_rivals(evidence)
        if not rival.odd and _area(evidence.registry(rival.event.institution)) != here
    ]
    if not far:
        return ()
    severity = Severity.WARN if all(rival.same_group for rival in far) else Severity.ALERT
    facts = show_rivals(evidence, far)
    return (evidence.found(FindingType.DUP_CROSS_REGION, severity, *facts),)


def _area(institution: InstitutionFacts) -> str:
    return (institution.division or institution.code[1:7])[:4]
