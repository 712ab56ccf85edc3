"""Which of two sales is odd: the answer must be the same from both sides.

Goal: no pair of sales in which both, or neither, are accused. Method: hypothesis over chains of all kinds.
"""

from hypothesis import given
from rules.scenes import tell_chain
from strategies import CHAIN_INSTITUTIONS, chains

from tracecode.custody import find_receipt, find_return, find_rivals
from tracecode.evidence import Chain, ChainEvidence
from tracecode.life_cycle import Event, InstitutionFacts, fold
from tracecode.rule_base import Thresholds


def facts(code: str) -> InstitutionFacts:
    """The institutions of the chains that hypothesis makes."""
    return CHAIN_INSTITUTIONS[code]


def tell_steps(events: list[Event]) -> list[ChainEvidence]:
    """The evidence of each step of a chain."""
    steps = fold(events, facts)
    chain = Chain(steps)
    return [
        ChainEvidence(step, chain, "code", None, facts(step.event.institution), facts, (), Thresholds())
        for step in steps
    ]


@given(chains())
def test_two_sales_see_each_other_and_exactly_one_is_odd(events: list[Event]) -> None:
    """Pins the symmetry for every pair of counted sales that the rules judge."""
    judged = {
        evidence.event.order: {rival.event.order: rival for rival in find_rivals(evidence)}
        for evidence in tell_steps([event for event in events if not event.package])
        if evidence.event.counted
    }

    for one, rivals in judged.items():
        for other, rival in rivals.items():
            back = judged[other][one]
            assert rival.odd != back.odd
            assert rival.earlier != back.earlier
            assert rival.same_group == back.same_group


@given(chains())
def test_a_rival_is_a_counted_whole_sale_elsewhere(events: list[Event]) -> None:
    """Pins what may be held against a sale: nothing refused, deleted, split, or of the same shop."""
    for evidence in tell_steps(events):
        for rival in find_rivals(evidence):
            assert rival.event.counted
            assert rival.event.operation.name == "SALE"
            assert rival.event.institution != evidence.event.institution
            assert rival.earlier == (rival.event.order < evidence.event.order)


def test_the_first_receipt_here_is_found() -> None:
    """Pins that only counted inbound events here are receipts, and the limit in time."""
    told = tell_chain("0h receive B\n1h receive A deleted\n2h receive A\n3h receive A\n> 4h sale A")

    receipt = find_receipt(told)
    assert receipt is not None
    assert receipt.sequence == 3
    assert find_receipt(told, receipt.time - 1) is None


def test_the_return_that_takes_a_sale_back_is_found() -> None:
    """Pins that a later return of the sale or of the judged one is found, up to the limit."""
    told = tell_chain("0h sale A doc=x\n> 1h sale A\n2h return A of=x\n3h return A")
    sale = told.steps[0].event

    back = find_return(told, sale, told.event.time + 3600)
    assert back is not None
    assert back.sequence == 3
    assert find_return(told, sale, told.event.time + 3599) is None
