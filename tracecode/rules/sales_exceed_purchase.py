"""SALES_EXCEED_PURCHASE 销大于进: more was sold than was bought.

R = sold / (opening + received + transferred in + other in + sale returns - purchase returns
- transferred out - other out). Fires when more than sales_exceed_units_min packs were sold and R exceeds
sales_exceed_warn (WARN) or sales_exceed_alert (ALERT).
Source: fund supervision asks to compare sales with purchases; formula and thresholds are ours.
"""

from __future__ import annotations

from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.stock import Movement, StockEvidence


def find(evidence: StockEvidence) -> tuple[Finding, ...]:
    """One finding for the drug, or none."""
    thresholds = evidence.thresholds
    sold = evidence.total(Movement.SOLD)
    if sold <= thresholds.sales_exceed_units_min:
        return ()
    had = evidence.total(
        Movement.OPENING,
        Movement.RECEIVED,
        Movement.TRANSFERRED_IN,
        Movement.OTHER_IN,
        Movement.SALE_RETURNED,
    ) - evidence.total(Movement.PURCHASE_RETURNED, Movement.TRANSFERRED_OUT, Movement.OTHER_OUT)
    if sold > had * thresholds.sales_exceed_alert:
        severity = Severity.ALERT
    elif sold > had * thresholds.sales_exceed_warn:
        severity = Severity.WARN
    else:
        return ()
    return (
        Finding(
            FindingType.SALES_EXCEED_PURCHASE,
            severity,
            evidence=(Evidence("sold", str(sold)), Evidence("had", str(had))),
        ),
    )
