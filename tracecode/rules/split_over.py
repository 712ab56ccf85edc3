"""SPLIT_OVER: more units were split from one pack than it holds.

Fires on a split sale when the units of the standing split sales of the code up to it, less those
returned, exceed the pack's splittable units by more than `split_tolerance_units` (0): ALERT. Where a drug
condition says how many units may be split, that counts instead of the catalogue; where it says 0 the
sale is SPLIT_NOT_ALLOWED, and here the catalogue counts. Where the
catalogue does not know how many units the pack holds: WARN from more than `split_unknown_sales` (3)
standing split sales; and WARN where a line with several codes had its units divided equally among them,
because how they lay is not known.

A sale elsewhere of lower custody than this one is not counted: somebody else's slip must not use up the
pack of the one who has it. A second report of one sale counts once.

Source: ours.
"""

from __future__ import annotations

from tracecode.document import Operation
from tracecode.evidence import ChainEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.life_cycle import WHOLE
from tracecode.product import can_split


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A split sale beyond what the pack holds."""
    event, step, thresholds = evidence.event, evidence.step, evidence.thresholds
    if event.operation is not Operation.SPLIT_SALE or not evidence.is_sale:
        return ()
    earlier = [
        sale.event
        for sale in step.before.sales
        if sale.event.operation is Operation.SPLIT_SALE
        and (sale.event.institution == event.institution or sale.custody >= step.custody)
    ]
    units = event.units + sum((sale.units for sale in earlier), WHOLE)
    product = evidence.product
    units_max = evidence.split_units_max
    if not units_max and product is not None and can_split(product):
        units_max = product.splittable_units
    if units_max:
        if units <= units_max + thresholds.split_tolerance_units:
            return ()
        divided = event.divided or any(sale.divided for sale in earlier)
        severity = Severity.WARN if divided else Severity.ALERT
        holds = str(units_max)
    else:
        if len(earlier) + 1 <= thresholds.split_unknown_sales:
            return ()
        severity, holds = Severity.WARN, "unknown"
    facts = [Evidence("units_split", str(units)), Evidence("units_of_pack", holds)]
    facts += evidence.show("earlier_sale", earlier, lambda sale: str(sale.units))
    return (evidence.found(FindingType.SPLIT_OVER, severity, *facts),)
