"""SWAP_ATTR: the lot or the expiry on the sale line is not that of the box.

Fires at WARN on a sale line whose lot or expiry differs from what the GS1 code itself says or, where it
says nothing, from what was received here under the code. INFO when they differ by at most
`slip_characters` (1), or when the expiry differs within one month: many papers give only the month.

Blanks, letter case and signs such as - and / do not count; a lot written as 无 or - says nothing.

Source: ours.
"""

from __future__ import annotations

from tracecode.custody import find_receipt
from tracecode.document import day_date
from tracecode.evidence import ChainEvidence
from tracecode.finding import Evidence, Finding, FindingType, Severity

_SAYS_NOTHING = frozenset(("", "无", "0", "NA", "NULL", "无批号"))


def find(evidence: ChainEvidence) -> tuple[Finding, ...]:
    """Lot or expiry of a sale line that differs from the box."""
    event, thresholds = evidence.event, evidence.thresholds
    if not evidence.is_sale or (not event.lot_number and event.expiry_day is None):
        return ()
    until = event.time + thresholds.receipt_late_hours * 3600
    receipt = evidence.step.before.received_at(event.institution) or find_receipt(evidence, until)
    facts: list[Evidence] = []
    slips: list[bool] = []

    box_lot = event.scan_lot_number
    if not box_lot and receipt is not None:
        box_lot = receipt.scan_lot_number or receipt.lot_number
    line_lot, known_lot = _fold(event.lot_number), _fold(box_lot)
    if line_lot and known_lot and line_lot != known_lot:
        facts += [Evidence("lot", event.lot_number), Evidence("lot_of_box", box_lot)]
        slips.append(_is_slip(line_lot, known_lot, thresholds.slip_characters))

    box_day = event.scan_expiry_day
    if box_day is None and receipt is not None:
        box_day = receipt.expiry_day if receipt.scan_expiry_day is None else receipt.scan_expiry_day
    if event.expiry_day is not None and box_day is not None and event.expiry_day != box_day:
        line, box = (day_date(day).isoformat() for day in (event.expiry_day, box_day))
        facts += [Evidence("expiry", line), Evidence("expiry_of_box", box)]
        slips.append(line[:7] == box[:7] or _is_slip(line, box, thresholds.slip_characters))

    if not facts:
        return ()
    severity = Severity.INFO if all(slips) else Severity.WARN
    return (evidence.found(FindingType.SWAP_ATTR, severity, *facts),)


def _fold(lot: str) -> str:
    folded = "".join(character for character in lot.upper() if character.isalnum())
    return "" if folded in _SAYS_NOTHING else folded


def _is_slip(one: str, other: str, characters: int) -> bool:
    """Whether at most so many characters were changed, left out or added (edit distance)."""
    if abs(len(one) - len(other)) > characters:
        return False
    row = list(range(len(other) + 1))
    for place, character in enumerate(one, 1):
        before, row[0] = row[0], place
        for column, against in enumerate(other, 1):
            changed = before + (character != against)
            before, row[column] = row[column], min(changed, row[column] + 1, row[column - 1] + 1)
    return row[-1] <= characters
