"""Which of two sales is odd: the question that several rules share, answered once. Ours.

When a box stands sold at two institutions, custody decides (`Step.custody`, found by the fold): the sale of
lower custody is odd, at equal custody the later one. So a pharmacy that can show how it got the box is not
accused because somebody else typed its code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tracecode.document import Operation
from tracecode.evidence import ChainEvidence
from tracecode.life_cycle import INBOUND, Event, Step, fold


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


def find_rivals(evidence: ChainEvidence) -> tuple[Rival, ...]:
    """The whole sales elsewhere that stand beside the judged whole sale; none for any other event.

    None where the other sale was returned or deleted before the later of the two, or where the institution
    of the earlier sale sent the box on between them. A refused attempt and a deleted sale are judged as if
    they counted, so that what was said of them keeps standing; since others do not see them, they have no
    odd rivals among later sales.
    """
    if not evidence.is_sale or evidence.event.operation is not Operation.SALE:
        return ()
    return tuple(_earlier_rivals(evidence)) + tuple(_later_rivals(evidence))


def _earlier_rivals(evidence: ChainEvidence) -> Iterator[Rival]:
    step = evidence.step
    for sale in step.before.sales:
        if _elsewhere(sale.event, step.event) and not was_sent_on(evidence, sale.event, step.event):
            yield Rival(sale.event, True, sale.custody < step.custody, _same_group(evidence, sale.event))


def _later_rivals(evidence: ChainEvidence) -> Iterator[Rival]:
    later = [step for step in evidence.later if _elsewhere(step.event, evidence.event)]
    if not later:
        return
    judged = evidence.step
    if not judged.event.counted:
        judged, later = _as_counted(evidence)
    for step in later:
        beside = _stands(judged.event, step.before.sales) and _stands(step.event, step.after.sales)
        if not beside or was_sent_on(evidence, judged.event, step.event):
            continue
        odd = step.custody <= judged.custody
        if evidence.event.counted or not odd:
            yield Rival(step.event, False, odd, _same_group(evidence, step.event))


def _as_counted(evidence: ChainEvidence) -> tuple[Step, list[Step]]:
    """The judged step, and the later sales elsewhere, in the chain in which the judged event counts."""
    counted = replace(evidence.event, refused=False, deleted_by=0)
    events = (counted if step.event is evidence.event else step.event for step in evidence.steps)
    steps = fold(events, evidence.registry)
    judged = next(step for step in steps if step.event is counted)
    later = [step for step in steps if step.event.order > counted.order and step.event.counted]
    return judged, [step for step in later if _elsewhere(step.event, counted)]


def _elsewhere(sale: Event, judged: Event) -> bool:
    return sale.operation is Operation.SALE and sale.institution != judged.institution


def _stands(event: Event, sales: tuple[Step, ...]) -> bool:
    return any(sale.event.order == event.order for sale in sales)


def was_sent_on(evidence: ChainEvidence, earlier: Event, later: Event) -> bool:
    """The seller of the earlier sale sent the box on before the later one: it says itself it still had it."""
    return any(
        step.event.counted
        and step.event.operation is Operation.TRANSFER_OUT
        and step.event.institution == earlier.institution
        and step.event.counterparty in ("", later.institution)
        and earlier.order < step.event.order < later.order
        for step in evidence.steps
    )


def _same_group(evidence: ChainEvidence, event: Event) -> bool:
    return evidence.institution.same_group(evidence.registry(event.institution))


def find_receipt(evidence: ChainEvidence, until: int | None = None) -> Event | None:
    """The first counted event by which the box came in here, also inside a package, or None.

    `until` in seconds since 1970 UTC is the latest that is looked at, None = any time.
    """
    here = evidence.event.institution
    return next(
        (
            step.event
            for step in evidence.steps
            if step.event.counted
            and step.event.operation in INBOUND
            and step.event.institution == here
            and (until is None or step.event.time <= until)
        ),
        None,
    )


def find_return(evidence: ChainEvidence, sale: Event, until: int) -> Event | None:
    """The counted return, after the judged event and up to `until`, that takes back it or `sale`."""
    wanted = (sale.order, evidence.event.order)
    return next(
        (
            step.event
            for step in evidence.later
            if step.event.time <= until and step.returned is not None and step.returned.event.order in wanted
        ),
        None,
    )
