"""When a finding is more than a lead: two independent signals, or several codes. Numbers are ours.

One finding about one code is a lead: most come from cashiers and clients, not from fraud. Two findings that
rest on different facts, or one that comes back on several codes, are a suspicion: somebody should look at it.
What is suspected is arithmetic on what stands; it confirms nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tracecode.finding import FindingType

SEVERAL_CODES = 3
"""So many codes of one institution with one finding are a suspicion,"""
SEVERAL_CODES_DAYS = 30
"""within so many business days."""

_FAMILIES = {
    # The box was sold before.
    "resale": (
        FindingType.DUP_SALE_SAME_ORG,
        FindingType.DUP_SALE_CROSS_ORG,
        FindingType.DUP_CROSS_REGION,
        FindingType.RESALE_AFTER_SETTLE,
        FindingType.STOCK_ALREADY_OUT,
    ),
    # More was taken out of a pack than is in it, or where none may be split.
    "split": (
        FindingType.SPLIT_OVER,
        FindingType.SPLIT_CROSS_ORG,
        FindingType.SPLIT_NOT_ALLOWED,
        FindingType.SPLIT_AFTER_WHOLE,
    ),
    # Another drug is billed than the code's.
    "swap": (
        FindingType.SWAP_PACK,
        FindingType.SWAP_MAKER,
        FindingType.SWAP_FORM,
        FindingType.SWAP_PRODUCT,
        FindingType.SWAP_ATTR,
    ),
    # The institution never had the box.
    "custody": (FindingType.STOCK_NEVER_RECEIVED, FindingType.STOCK_NOT_HERE),
    "quantity": (
        FindingType.STOCK_NEGATIVE,
        FindingType.SALES_EXCEED_PURCHASE,
        FindingType.STOCKTAKE_DIFF,
        FindingType.QTY_CODE_MISMATCH,
    ),
    # What was scanned is no box's code.
    "scan": (
        FindingType.CODE_EMPTY,
        FindingType.CODE_PLACEHOLDER,
        FindingType.LEVEL_NOT_UNIT,
        FindingType.FORGERY_SUSPECT,
        FindingType.PLATFORM_UNKNOWN,
        FindingType.NOT_ACTIVATED,
    ),
    # The box may not be sold.
    "unfit": (FindingType.EXPIRED_SALE, FindingType.RECALLED),
    "return": (
        FindingType.RETURN_NO_SALE,
        FindingType.RETURN_OTHER_ORG,
        FindingType.RETURN_RESOLD,
    ),
    # A report was taken back after it was flagged.
    "withdrawal": (FindingType.DELETE_AFTER_FLAG,),
    "entitlement": (FindingType.ORG_INVALID,),
    "person": (FindingType.PERSON_OVERBUY, FindingType.PRESCRIBER_CONC),
}

FAMILIES: Mapping[FindingType, str] = MappingProxyType(
    {kind: family for family, kinds in _FAMILIES.items() for kind in kinds}
)
"""Findings that rest on the same kind of fact are of one family; only two families are two signals.

What honest clients cause (late uploads, clocks, malformed scans, a catalogue that lags) has no family: it is
no signal, alone or with others, and however often it comes.
"""
