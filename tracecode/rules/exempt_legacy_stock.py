"""EXEMPT_LEGACY_STOCK: a box without a receipt that may be stock from before the codes.

Fires at INFO, in place of STOCK_NEVER_RECEIVED, on a sale before `legacy_stock_until` (2026-01-01).

Source: 医保发〔2025〕7号: stock bought before it bore codes may be settled for now.
"""

from __future__ import annotations

from tracecode.evidence import ChainEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity
from tracecode.rules.stock_never_received import is_legacy, lacks_receipt


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """A sale of a box without any receipt, before the cut-off date."""
    if not is_legacy(evidence) or not lacks_receipt(evidence):
        return ()
    until = Evidence("legacy_stock_until", evidence.thresholds.legacy_stock_until.isoformat())
    return (evidence.found(FindingType.EXEMPT_LEGACY_STOCK, Severity.INFO, until),)
