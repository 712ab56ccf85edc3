"""Which of two sales is odd: the question that several rules share, answered once. Ours.

When a box stands sold at two institutions, custody decides (`Step.custody`, found by the fold): the sale of
lower custody is odd, at equal custody the later one. So a pharmacy that can show how it got the box is not
accused because somebody else typed its code.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tracecode.document import Operation
from tracecode.evidence import SALES_COMPARED, Chain, ChainEvidence
from tracecode.finding import Evidence
from tracecode.life_cycle import INBOUND, Custody, Event, Step, fold

_FOLD_AGAIN_MAX = 20
"""Counted events of a chain that is folded anew for one attempt; no box has more (ours)."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A whole sale at another institution that stands beside the judged one."""

    event: Event
    earlier: bool
    """It comes before the judged sale."""
    odd: bool
    """It is the odd one of the two; False = the judged sale is."""
    same_group: bool
    """Both institutions belong to one chain or one legal person."""


@lru_cache(maxsize=1)
def find_rivals(evidence: ChainEvidence) -> tuple[Rival, ...]:
    """The whole sales elsewhere that stand beside the judged whole sale; none for any other event.

    None where the other sale was returned or deleted before the later of the two, or where the institution
    of the earlier sale sent the box on (see was_sent_on). A refused attempt and a deleted sale are judged as
    if they counted, so that what was said of them keeps standing; since others do not see them, they have no
    odd rivals among later sales.

    Of many earlier sales those of ChainEvidence.standing are looked at, of later ones the nearest
    SALES_COMPARED of each custody.
    """
    if not evidence.is_sale or evidence.event.operation is not Operation.SALE:
        return ()
    here = evidence.event.institution
    if not any(sold is Operation.SALE and there != here for sold, there in evidence.chain.moves):
        return ()
    return tuple(_earlier_rivals(evidence)) + tuple(_later_rivals(evidence))


def _earlier_rivals(evidence: ChainEvidence) -> Iterator[Rival]:
    step = evidence.step
    for sale in evidence.standing(Operation.SALE, here=False):
        if not was_sent_on(evidence, sale.event, step.event):
            yield Rival(sale.event, True, sale.custody < step.custody, _same_group(evidence, sale.event))


def _later_rivals(evidence: ChainEvidence) -> Iterator[Rival]:
    """Those after the judged sale.

    An attempt in a chain longer than any box's is compared with the sales as they stand without it.
    """
    whole_sales: Mapping[Custody, Sequence[Step]] = evidence.chain.whole_sales
    if not any(next(_later_elsewhere(sales, evidence.event), None) for sales in whole_sales.values()):
        return
    judged = evidence.step
    folded_again = judged.event.counted or evidence.chain.counted < _FOLD_AGAIN_MAX
    if not judged.event.counted and folded_again:
        judged, whole_sales = _as_counted(evidence)
    at = len(judged.before.sales)
    found = []
    for custody, sales in whole_sales.items():
        odd = custody <= judged.custody
        if odd and not evidence.event.counted:
            continue
        compared = 0
        for step in _later_elsewhere(sales, judged.event):
            if folded_again and not _stands(judged.event, step.before.sales, at):
                # What was taken back does not come into force again.
                break
            if not was_sent_on(evidence, judged.event, step.event):
                found.append(Rival(step.event, False, odd, _same_group(evidence, step.event)))
            compared += 1
            if compared == SALES_COMPARED:
                break
    yield from sorted(found, key=lambda rival: rival.event.order)


def _later_elsewhere(sales: Sequence[Step], judged: Event) -> Iterator[Step]:
    """The steps after the judged sale that are at another institution."""
    start = bisect_right(sales, judged.order, key=lambda sale: sale.event.order)
    return (sales[at] for at in range(start, len(sales)) if _elsewhere(sales[at].event, judged))


def _as_counted(evidence: ChainEvidence) -> tuple[Step, Mapping[Custody, Sequence[Step]]]:
    """The judged step, and the whole sales by custody, in the chain in which the judged event counts."""
    counted = replace(evidence.event, refused=False, deleted_by=0)
    events = (
        counted if step.event is evidence.event else step.event
        for step in evidence.steps
        if step.event is evidence.event or step.event.counted
    )
    chain = Chain(fold(events, evidence.registry))
    judged = next(step for step in chain.steps if step.event is counted)
    return judged, chain.whole_sales


def _elsewhere(sale: Event, judged: Event) -> bool:
    return sale.institution != judged.institution


def _stands(event: Event, sales: tuple[Step, ...], guess: int) -> bool:
    """Whether a sale is among those in force, which are in the order of the chain; most are at `guess`."""
    if 0 <= guess < len(sales) and sales[guess].event is event:
        return True
    at = bisect_left(sales, event.order, key=lambda sale: sale.event.order)
    return at < len(sales) and sales[at].event.order == event.order


def was_sent_on(evidence: ChainEvidence, earlier: Event, later: Event) -> bool:
    """The seller of the earlier sale sent the box on to the later one: it says itself it still had it.

    By a transfer to there or to where nobody said; or back to its supplier, if the box then came in there.
    Both may be dated up to `receipt_late_hours` (48) after the later sale: a patient's return that was never
    uploaded must not stop the next shop.
    """
    moves = evidence.chain.moves
    sent = moves.get((Operation.TRANSFER_OUT, earlier.institution), ())
    back = moves.get((Operation.SUPPLIER_RETURN, earlier.institution), ())
    if not sent and not back:
        return False
    until = later.time + evidence.thresholds.receipt_late_hours * 3600
    start, end = earlier.order, (until + 1,)
    for event in _between(sent, start, end):
        if event.counterparty in ("", later.institution):
            return True
    first = next(iter(_between(back, start, end)), None)
    return first is not None and any(
        _between(moves.get((operation, later.institution), ()), first.order, end) for operation in INBOUND
    )


def _between(
    events: Sequence[Event], start: tuple[int | str | bytes, ...], end: tuple[int | str | bytes, ...]
) -> Sequence[Event]:
    """The events of a list in effective order that lie between two places of the chain."""
    first = bisect_right(events, start, key=lambda event: event.order)
    return events[first : bisect_left(events, end, key=lambda event: event.order)]


def show_rivals(evidence: ChainEvidence, rivals: Sequence[Rival]) -> list[Evidence]:
    """Evidence that points at rivals, as earlier and as later sales."""
    return [
        fact
        for name, earlier in (("earlier_sale", True), ("later_sale", False))
        for fact in evidence.show(name, [rival.event for rival in rivals if rival.earlier is earlier])
    ]


def _same_group(evidence: ChainEvidence, event: Event) -> bool:
    here = evidence.institution
    return bool(here.group) and here.same_group(evidence.registry(event.institution))


def find_receipt(evidence: ChainEvidence, until: int | None = None) -> Event | None:
    """The first counted event by which the box came in here, also inside a package, or None.

    `until` in seconds since 1970 UTC is the latest that is looked at, None = any time.
    """
    moves, here = evidence.chain.moves, evidence.event.institution
    first = [moves[operation, here][0] for operation in INBOUND if (operation, here) in moves]
    received = [event for event in first if until is None or event.time <= until]
    return min(received, key=lambda event: event.order, default=None)


def find_return(evidence: ChainEvidence, sale: Event, until: int) -> Event | None:
    """The counted return, after the judged event and up to `until`, that takes back it or `sale`."""
    order = evidence.event.order
    back = [evidence.chain.find_return(taken, order, until) for taken in (sale.order, order)]
    return min((event for event in back if event), key=lambda event: event.order, default=None)
